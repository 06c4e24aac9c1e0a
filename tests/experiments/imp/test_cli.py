"""`python -m tfprune.imp` as a person meets it: exit codes, one line of error, finished work intact."""

import os
import pickle
import resource
import subprocess
import sys
from functools import partial

import pytest

from tfprune.cli import run as runner
from tfprune.experiments.imp.study import layout_of
from tfprune.records.run_folder import RunFolder

INPUT = """
[IO]
save_dir = {folder}
[Data]
dataset = digits
[Network]
arch = f24:f16:x
steps = 40
batch_size = 50
val_size = 150
validate_step = 20
[IMP]
prune = T:T:F
weights_step = 10
max_iterations = {iterations}
"""


def _process(*arguments, **keywords):
    command = [sys.executable, "-m", "tfprune.imp", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **keywords)


@pytest.fixture
def imp(command):
    """`imp("a.ini", "--overwrite", cwd=folder)`: `python -m tfprune.imp` in this process."""
    return partial(command, "imp")


@pytest.fixture
def early(monkeypatch):
    """What is refused is refused before TensorFlow would be loaded."""

    def fail(*_):
        raise AssertionError("TensorFlow was asked for")

    monkeypatch.setattr(runner, "loading_tensorflow", fail)


@pytest.fixture
def ini(tmp_path):
    def write(iterations=2, **changed):
        text = INPUT.format(folder=tmp_path / "run", iterations=iterations)
        for old, new in changed.values():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "run.ini"
        path.write_text(text)
        return path

    return write


def test_help_documents_keys_and_flags(imp):
    result = imp("--help")
    assert result.returncode == 0
    for word in ("rest_weights_file", "batch_norm_beta", "--overwrite", "--plot", "--debug", "checkpoint_step"):
        assert word.removeprefix("--") in result.stdout
    assert "--device: " in result.stdout and "--[no]quiet: " in result.stdout


def test_a_bad_input_file_does_not_wait_for_tensorflow(refused, light):
    refused(_process("none.ini", env=light), "cannot read none.ini: No such file")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "give one input file"),
        (["a.ini", "b.ini"], "give one input file"),
        (["--plots=x"], "unknown flag --plots; the nearest is --plot"),
        (["a.ini", "--prefi=IMP"], "--prefix goes with --plot"),
        (["--overwrite=maybe", "a.ini"], "overwrite"),
        (["--device=tpu", "a.ini"], "--device must be one of auto, cpu, gpu. Received: 'tpu'"),
        (["none.ini"], "cannot read none.ini: No such file"),
        (["/"], "cannot read /: it is a directory"),
        (["--plot=none"], "--plot must name the folder of a run. Received: none"),
        (["--plot=.", "a.ini"], "--plot takes the folder of a run, and no input file"),
        (["--plot=.", "--overwrite"], "nor --overwrite"),
        (["--plot=.", "--device=cpu"], "--device or --quiet"),
        (["--plot=.", "--engine=dense"], "nor --overwrite, --engine"),
        (["--engine=fast", "a.ini"], "--engine must be one of auto, dense, sparse. Received: 'fast'"),
        (["--prefix=IMP", "a.ini"], "--prefix goes with --plot"),
    ],
)
def test_bad_command_lines(arguments, told, imp, refused, early):
    refused(imp(*arguments), told)


def test_debug_shows_the_traceback():
    result = _process("--debug", "none.ini")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "cannot read none.ini" in result.stderr


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("dataset = digits", "dataset = digit"), "digits"),
        (("val_size = 150", "val_size = 361"), "val_size"),
        (("arch = f24", "arch = c9,4:f24"), "layer 1: 'c9,4': a window of 9 does not fit an image of 8x8"),
        (("[Network]", "reclass = f,2,none.dat\n[Network]"), "none.dat"),
        (("[IMP]", "restart = yes\n[IMP]"), "IMP_itdata_0.pkl"),
        (("dataset = digits", "dataset = mnist\ndataloc = none"), "python -m tfprune.data mnist --data_dir=none"),
        (("dataset = digits", "dataset = ImageNet32\ndataloc = none"), "[Data] dataloc = none: no such folder"),
        (("dataset = digits", "dataset = digits\ndata_ratio = 1e-9"), "leaves none of 1437 images"),
    ],
)
def test_bad_input(ini, change, told, imp, refused, early, tmp_path):
    refused(imp(ini(1, change=change)), told)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("few_figures")
def test_a_whole_run_a_changed_input_and_overwrite(ini, imp, tmp_path, refused):
    run = tmp_path / "run"
    # A start that failed does not stand in the way of the corrected input.
    refused(imp(ini(change=("val_size = 150", "val_size = 361"))), "val_size")
    result = _process(ini())
    assert result.returncode == 0, result.stderr
    assert "IMP iteration 1 of 2: best validation error 0." in result.stderr
    assert "ms/step" in result.stdout
    assert "cuInit" not in result.stderr
    assert len(list((run / "IMP_figures").glob("*.png"))) > 10
    assert len(list((run / "IMP_figures").glob("film_*"))) == 2
    before = {path.name: path.read_bytes() for path in run.glob("IMP_itdata_*")}

    refused(imp(ini(change=("validate_step = 20", "validate_step = 10"))), "[Network] validate_step: 20 -> 10")
    assert before == {path.name: path.read_bytes() for path in run.glob("IMP_itdata_*")}
    assert "nothing to do" in imp(ini()).stdout

    result = imp("--overwrite", ini(1, change=("validate_step = 20", "validate_step = 10")))
    assert result.returncode == 0, result.stderr
    assert [path.name for path in run.glob("IMP_itdata_*")] == ["IMP_itdata_0.pkl"]

    first = {path.name for path in (run / "IMP_figures").iterdir()}
    (run / "IMP_figures" / "accuracy.png").unlink()
    result = imp("--plot", run)
    assert result.returncode == 0, result.stderr
    assert {path.name for path in (run / "IMP_figures").iterdir()} == first


@pytest.mark.usefixtures("few_figures")
def test_quiet_says_nothing(ini, imp):
    result = imp("--quiet", ini(1))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_folder_of_the_original_code_is_not_overwritten(ini, imp, tmp_path, golden, refused):
    run = tmp_path / "run"
    run.mkdir()
    theirs = (golden / "imp/original_run/IMP_itdata_1.pkl").read_bytes()
    (run / "IMP_itdata_1.pkl").write_bytes(theirs)
    refused(imp(ini()), "holds results (IMP_itdata_1.pkl) that have no IMP_run.json")
    assert (run / "IMP_itdata_1.pkl").read_bytes() == theirs


@pytest.mark.slow
def test_plot_of_an_original_run(golden, imp, tmp_path):
    for path in (golden / "imp/original_run").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    result = imp("--plot", tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "IMP_figures/locality_maps_iter2.png").stat().st_size > 1000


@pytest.mark.parametrize("content", [b"", b"\x80\x04]", pickle.dumps(os.getcwd), b"<html>"])
def test_hostile_or_broken_files_of_a_run(imp, tmp_path, content, refused):
    (tmp_path / "IMP_itdata_0.pkl").write_bytes(content)
    refused(imp("--plot", tmp_path), "IMP_itdata_0.pkl")


@pytest.mark.slow
def test_a_full_disk_costs_no_finished_iteration(ini, imp, tmp_path, refused):
    """A limit on the size of files stands for the full disk; both are an error of the write."""
    run = tmp_path / "run"
    whole = ini(1, change=("steps = 40", "steps = 4000"))
    # Long lists of steps make the record larger than the checkpoint.
    limited = _process(whole, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)))
    refused(limited, "cannot write")
    assert "finished results are intact" in limited.stderr
    assert not [path for path in run.iterdir() if "tmp" in path.name]
    assert imp(whole).returncode == 0


def test_one_process_at_a_time(ini, imp, tmp_path, refused):
    with RunFolder(tmp_path / "run", layout_of(0), "IMP"):
        refused(imp(ini()), "another process is writing the run 'IMP'")


def test_unwritable_folder(ini, imp, tmp_path, refused):
    (tmp_path / "run").write_text("a file where a folder should be")
    refused(imp(ini()), "[IO] save_dir")


@pytest.mark.usefixtures("few_figures")
def test_plot_tells_which_iterations_are_missing(golden, imp, tmp_path):
    for k in (0, 2):
        name = f"IMP_itdata_{k}.pkl"
        (tmp_path / name).write_bytes((golden / "imp/original_run" / name).read_bytes())
    told = imp("--plot", tmp_path).stderr
    assert f"warning: {tmp_path} has no iteration 1; the figures show the others" in told
    assert "no files of iterations 1: the figures show the others" in (tmp_path / "IMP_figures/notes.txt").read_text()
