"""Runs that are killed, wherever, end with the files of one that was left in peace."""

import pytest
from faults import kill_when_new, killed_until_done, tree

FLAGS = ("--data=digits", "--pruner=lamp", "--train_dense", "--com_exp=1.5", "--pruning_type=effective")


def _files(folder):
    """Contents by name; of results without the line that tells how long it took."""
    files = tree(folder)
    for name in files:
        if name.endswith("result.json"):
            files[name] = [line for line in files[name].splitlines() if b'"seconds"' not in line]
    return files


@pytest.mark.slow
def test_killed_at_every_change_of_a_name(tmp_path, main):
    def run(name):
        return main(*FLAGS, "--iterations=40", "--checkpoint_step=15", f"--out_path={tmp_path / name}")

    assert run("whole").returncode == 0
    assert killed_until_done(lambda: run("killed"), tmp_path / "killed") > 5
    expected, came = _files(tmp_path / "whole"), _files(tmp_path / "killed")
    assert sorted(came) == sorted(expected)
    assert [name for name in came if came[name] != expected[name]] == []


@pytest.mark.slow
def test_a_process_that_is_killed(tmp_path, main):
    words = [*FLAGS, "--iterations=2300", "--checkpoint_step=130"]
    pattern = "lenet300100/lamp/effective/0_31.6228_*_checkpoint.npz"
    assert kill_when_new(["tfprune.main", *words, f"--out_path={tmp_path / 'killed'}"], tmp_path / "killed", pattern)
    for name in ("killed", "whole"):
        assert main(*words, f"--out_path={tmp_path / name}").returncode == 0
    assert _files(tmp_path / "killed") == _files(tmp_path / "whole")
    assert not [name for name in _files(tmp_path / "killed") if "checkpoint" in name or "tmp" in name]
