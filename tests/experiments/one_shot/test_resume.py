"""Killed without warning again and again, a run ends with the files of one that was left in peace."""

import pytest
from faults import assert_same_files, kill_when_new, killed_until_done

from tfprune.experiments.one_shot.recipe import OneShot
from tfprune.experiments.one_shot.settings import OneShotSpec

FLAGS = ["--data=digits", "--pruner=lamp", "--train_dense", "--com_exp=1.5", "--pruning_type=effective"]


@pytest.fixture
def main(command):
    def run(folder, *words):
        result = command("main", *FLAGS, *words, f"--out_path={folder}")
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


def test_killed_at_one_write_after_the_other(tmp_path, main, monkeypatch):
    shared = OneShot(OneShotSpec(data="digits"))  # compiled once for all starts
    monkeypatch.setattr("tfprune.experiments.one_shot.recipe.OneShot", lambda spec: shared)
    words = ["--iterations=60", "--checkpoint_step=25"]
    main(tmp_path / "whole", *words)
    kills = killed_until_done(lambda: main(tmp_path / "killed", *words), tmp_path / "killed", step=2)
    assert kills > 5
    assert "nothing to do" in main(tmp_path / "killed", *words)
    assert_same_files(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
def test_a_killed_process_ends_with_the_same_files(tmp_path, main):
    words = ["--iterations=2300", "--checkpoint_step=130"]
    command = ["tfprune.main", *FLAGS, *words, f"--out_path={tmp_path / 'killed'}"]
    main(tmp_path / "whole", *words)
    assert kill_when_new(command, tmp_path / "killed", "lenet300100/lamp/effective/0_32_checkpoint.npz")
    main(tmp_path / "killed", *words)
    assert_same_files(tmp_path / "killed", tmp_path / "whole")
