"""What the spine gives a system of its own: the toy system of `toy_system.py`, from its flags to its row in a table."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

import tfprune
from tfprune.cli import app
from tfprune.cli.run import flags_command
from tfprune.errors import InputError
from tfprune.records.run_folder import is_finished

SYSTEM = Path(__file__).parent / "toy_system.py"


@pytest.fixture(scope="module")
def toy():
    spec = importlib.util.spec_from_file_location("toy_system", SYSTEM)
    module = importlib.util.module_from_spec(spec)
    sys.modules["toy_system"] = module  # dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def command(toy, capsys):
    def run(*words):
        values, code = flags.FlagValues(), 0
        flags.DEFINE_bool("debug", False, "As that of every entry point.", flag_values=values)
        try:
            app.run_command([flags_command(toy.ToyStudy)], "A toy.", values, list(map(str, words)))
        except SystemExit as end:
            code = end.code
        return subprocess.CompletedProcess(words, code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def finished(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy") / "run"
    return tfprune.run(toy.ToyStudy, out_path=str(folder), quiet=True)


def _files(folder):
    """Contents by name, without what depends on the clock."""
    kept = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "result.json"}
    return kept | {"result": [line for line in (folder / "result.json").open() if '"seconds"' not in line]}


def test_it_is_as_short_as_promised():
    assert len(SYSTEM.read_text().splitlines()) < 80


def test_flags_help_and_refusals(command, tmp_path):
    told = command("--help").stdout
    assert all(text in told for text in ("--steps: Training steps.", "(default: '40')", "--rate: ", "--device: "))
    for word, line in {
        "--steps=0": "--steps must be a whole number in [1, 1000]. Received: 0",
        "--rate=nan": "--rate must be a number above 0",
        "--stps=3": "unknown flag --stps; the nearest is --steps",
        "--device=tpu": "--device must be one of auto, cpu, gpu. Received: 'tpu'",
    }.items():
        result = command(word, f"--out_path={tmp_path}/no")
        assert (result.returncode, result.stdout) == (2, "")
        assert line in result.stderr and "\n" not in result.stderr[:-1]
    assert not (tmp_path / "no").exists()


def test_other_settings_are_refused_and_a_finished_run_does_nothing(command, finished):
    folder, before = finished.folder, _files(finished.folder)
    result = command(f"--out_path={folder}", "--rate=0.2")
    assert result.returncode == 2 and "--rate: 0.1 -> 0.2" in result.stderr
    result = command(f"--out_path={folder}")
    assert result.returncode == 0 and "is finished; nothing to do" in result.stdout
    assert _files(folder) == before


def test_a_killed_run_ends_with_the_same_bytes(toy, finished, tmp_path):
    code = "\n".join(
        [
            "import runpy, sys, tfprune.records.atomic as A",
            "count, write = [0], A.os.replace",
            "def replace(*names):",
            "    count[0] += 1",
            "    if count[0] == 4: A.os.kill(A.os.getpid(), 9)",
            "    write(*names)",
            "A.os.replace = replace",
            f"sys.argv = ['toy', '--out_path={tmp_path}/run']",
            f"runpy.run_path({str(SYSTEM)!r}, run_name='__main__')",
        ]
    )
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == -signal.SIGKILL
    assert (tmp_path / "run" / "checkpoint.npz").exists() and not (tmp_path / "run" / "result.json").exists()
    tfprune.run(toy.ToyStudy, out_path=str(tmp_path / "run"), quiet=True)
    assert _files(tmp_path / "run") == _files(finished.folder)


def test_a_run_without_its_figure_is_repaired(toy, finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    (folder / "accuracy.png").unlink()
    record = folder / "run.json"
    record.write_text(record.read_text().replace("true", "false"))
    tfprune.run(toy.ToyStudy, out_path=str(folder), quiet=True)
    assert _files(folder) == _files(finished.folder)


def test_finished_comes_last(toy, tmp_path, monkeypatch):
    def fails(self, folder):
        raise InputError("no figure")

    monkeypatch.setattr(toy.ToyStudy, "report", fails)
    with pytest.raises(InputError, match="no figure"):
        tfprune.run(toy.ToyStudy, out_path=str(tmp_path / "run"), steps=3, quiet=True)
    assert not is_finished(tmp_path / "run", toy.ToyStudy.layout)


def test_results_and_figures_from_python(finished):
    (row,) = finished.results.to_dict("records")
    assert (row["family"], row["label"], row["steps"]) == ("toy", "dense layer", 40)
    assert finished.text.startswith(f"test accuracy {row['accuracy']:.4f}")
    assert finished.figures["accuracy"]._repr_png_().startswith(b"\x89PNG")
    assert finished.settings.rate == 0.1
