"""Shared paths. `TFPRUNE_SHARED` names the folder with golden files and data sets; tests skip where it is absent."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(Path(__file__).parent))  # for `faults`
SHARED = Path(os.environ.get("TFPRUNE_SHARED", ROOT.parent / "shared"))


def _shared(relative):
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"{path} is absent (set TFPRUNE_SHARED)")
    return path


def pytest_make_parametrize_id(config, val, argname):
    """Names that are the same in every process, or the workers of a parallel run would see other tests."""
    if isinstance(val, bytes):
        return argname
    return getattr(val, "__name__", argname) if callable(val) else None


@pytest.fixture
def golden():
    """Folder of outputs of the original implementations."""
    return _shared("golden")


@pytest.fixture
def tfds_dir():
    """TFDS data_dir with MNIST and CIFAR-10."""
    return _shared("data/tfds")


@pytest.fixture(scope="session")
def light(tmp_path_factory):
    """The environment of a process that ends with another message where it imports TensorFlow or Keras."""
    folder = tmp_path_factory.mktemp("light")
    for name in ("tensorflow", "keras"):
        (folder / f"{name}.py").write_text("raise SystemExit('TensorFlow was imported')")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


@pytest.fixture
def refused():
    """`refused(result, told)`: the process ended with code 2 and one line of error that holds `told`."""

    def check(result, told):
        assert result.returncode == 2, result.stderr
        errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert told in errors[0]
        assert "Traceback" not in result.stderr

    return check


@pytest.fixture
def executed(monkeypatch):
    """`executed(name, **environment)`: runs a notebook; its outputs as a list of {MIME type: data}."""
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    notebooks = ROOT / "notebooks"

    def run(name, **environment):
        for variable, value in {"PYTHONPATH": ROOT, **environment}.items():
            monkeypatch.setenv(variable, str(value))
        notebook = nbformat.read(notebooks / name, as_version=4)
        nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(notebooks)}}).execute()
        outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
        assert not [o for o in outputs if o.output_type == "stream" and o.name == "stderr"]
        return [output.data for output in outputs if "data" in output]

    return run


@pytest.fixture
def lth(capsys, monkeypatch):
    """`lth("train", "--lr=1", ...)`: `python -m tfprune.lth` in this process; gives returncode, stdout and stderr."""
    from absl import flags

    from tfprune.cli import app
    from tfprune.experiments.lottery.flags import commands

    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # entry points change it for good

    def run(*words):
        values = flags.FlagValues()
        flags.DEFINE_bool("debug", False, "As that of every entry point.", flag_values=values)
        code = 0
        try:
            app.run_command(commands(), "", values, list(map(str, words)))
        except SystemExit as end:
            code = end.code
        return subprocess.CompletedProcess(words, code, *capsys.readouterr())

    return run
