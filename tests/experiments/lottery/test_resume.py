"""Killed without warning again and again, runs end with the files of those that were left in peace."""

import subprocess
import sys

import pytest
from faults import assert_same_files, kill_when_new, killed_until_done

HPARAMS = ["--default_hparams=mnist_lenet_20_12", "--dataset_name=digits"]
# Commands one after the other; what is drawn at the end of the last two holds the others' results, too.
STORY = {
    "lottery": ["lottery", "--levels=2"],
    "branch": ["lottery_branch", "randomly_prune", "--levels=1", "--seed=3"],
    "train": ["train"],
    "oneshot": ["branch", "train", "oneshot", "--strategy=snip2", "--prune_fraction=0.8", "--prune_step=last"],
    "another branch": ["lottery_branch", "randomly_prune", "--levels=1", "--seed=4"],
    "another oneshot": ["branch", "train", "oneshot", "--strategy=random", "--prune_fraction=0.8"],
}


@pytest.fixture
def in_peace(lth):
    """`in_peace(root, words)`: the same command to its end, in this process."""

    def run(root, words):
        result = lth(*words, f"--root={root}", "--quiet")
        assert result.returncode == 0, result.stderr

    return run


def _words(name, epochs):
    words = [*STORY[name], *HPARAMS, f"--training_steps={epochs}ep"]
    return [*words, f"--rewinding_steps={epochs // 2}ep"] if "lottery" in words[0] else words


def test_killed_at_one_write_after_the_other(tmp_path, in_peace, workshop, monkeypatch):
    monkeypatch.setattr("tfprune.experiments.lottery.recipe.Workshop", lambda options: workshop)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for name in STORY:
        words = _words(name, 2)
        in_peace(whole, words)
        if not name.startswith("another"):
            assert killed_until_done(lambda words=words: in_peace(killed, words), killed, step=2) > 2
        in_peace(killed, words)
    assert_same_files(killed, whole)


@pytest.mark.slow
def test_a_killed_process_ends_with_the_same_files(tmp_path, in_peace):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    words = _words("lottery", 30)
    in_peace(whole, words)
    command = ["tfprune.lth", *words, f"--root={killed}", "--quiet"]
    assert kill_when_new(command, killed, "*/replicate_1/level_1/main/checkpoint.npz")
    in_peace(killed, words)
    assert_same_files(killed, whole)


@pytest.mark.slow
def test_two_processes_on_one_run(tmp_path, in_peace):
    words = _words("train", 30)
    command = [sys.executable, "-m", "tfprune.lth", *words, f"--root={tmp_path / 'both'}", "--quiet"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]
    outputs = [process.communicate()[0] for process in processes]
    refused = [output for process, output in zip(processes, outputs, strict=True) if process.returncode]
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode in (0, 2), output
    for output in refused:  # none where one was done before the other looked
        assert len([line for line in output.splitlines() if line.startswith("error: ")]) == 1, output
        assert "another process works on this replicate" in output
    assert len(refused) < 2
    in_peace(tmp_path / "alone", words)
    assert_same_files(tmp_path / "both", tmp_path / "alone")
