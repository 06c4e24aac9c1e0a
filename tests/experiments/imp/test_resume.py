"""Killed without warning again and again, a run ends with the files of one that was left in peace."""

import pytest
from faults import kill_when_new, killed_until_done, tree

from tfprune.experiments.imp.training import IterationTrainer

INPUT = """
[IO]
save_dir = {folder}
[Data]
dataset = digits
[Network]
arch = {arch}
steps = {steps}
batch_size = 60
val_size = 200
minimizer = Adam
learning_rate = 0.01
validate_step = 30
[IMP]
prune = T:T:F
prune_ratio = 0.4
weights_step = 25
prune_step = 55
max_iterations = 3
[Run]
checkpoint_step = {checkpoint_step}
random_baseline = yes
"""


@pytest.fixture
def imp(command, tmp_path):
    """`imp("whole", **keys)`: the input's run in a folder of this name, in this process."""

    def run(name, **keys):
        result = command("imp", _input(tmp_path / name, **keys))
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


def _input(folder, arch="f12:f8:x", steps=70, checkpoint_step=20):
    path = folder.with_suffix(".ini")
    path.write_text(INPUT.format(folder=folder, arch=arch, steps=steps, checkpoint_step=checkpoint_step))
    return str(path)


def _assert_same(killed, whole):
    """Same names and bytes, but for the folder and the time: a line of the results, the summary's last column."""
    files = [_timeless(tree(folder)) for folder in (killed, whole)]
    assert sorted(files[0]) == sorted(files[1])
    assert not [name for name in files[0] if "checkpoint" in name or "tmp" in name or "drawing" in name]
    assert len([name for name in files[0] if "itdata" in name]) == 3
    assert len([name for name in files[0] if name.endswith((".pkl", ".dat", ".csv")) and "/" not in name]) == 9
    assert [name for name in files[0] if files[0][name] != files[1][name]] == []


def _timeless(files):
    for name, data in files.items():
        lines = data.split(b"\n")
        if name == "IMP_summary.csv":
            assert lines[0].endswith(b",ms_per_step")
            files[name] = [line.rpartition(b",")[0] for line in lines]
        elif name == "IMP_run.json":
            files[name] = [line for line in lines if b'"rest_' not in line]  # files in the folder
        elif "result_" in name:
            files[name] = [line for line in lines if b'"seconds": ' not in line]
            assert len(files[name]) == len(lines) - 1
    return files


@pytest.mark.slow_beyond(1)
@pytest.mark.parametrize("step", [4, 1])
@pytest.mark.usefixtures("few_figures")
def test_killed_at_one_write_after_the_other(tmp_path, imp, monkeypatch, step):
    shared = []

    def trainer(settings, images, folder, watch, sample):
        if not shared:  # compiled once for all starts
            shared.append(IterationTrainer(settings, images, folder, watch, sample))
        shared[0].folder, shared[0].watch = folder, watch
        return shared[0]

    monkeypatch.setattr("tfprune.experiments.imp.recipe.IterationTrainer", trainer)
    imp("whole")
    kills = killed_until_done(lambda: imp("killed"), tmp_path / "killed", step=step)
    assert kills > 16 // step
    assert "is finished; nothing to do" in imp("killed")
    _assert_same(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
def test_a_killed_process_ends_with_the_same_files(tmp_path, imp):
    keys = {"arch": "f48:f24:x", "steps": 900, "checkpoint_step": 100}
    words = ["tfprune.imp", _input(tmp_path / "killed", **keys)]
    imp("whole", **keys)
    assert kill_when_new(words, tmp_path / "killed", "IMP_random_checkpoint.npz")
    imp("killed", **keys)
    _assert_same(tmp_path / "killed", tmp_path / "whole")
