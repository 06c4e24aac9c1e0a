"""Real processes, killed without warning at telling moments, end with the files of one that was left in peace."""

import os
import signal
import subprocess
import sys
import time

import pytest

HPARAMS = ["--default_hparams=mnist_lenet_20_12", "--dataset_name=digits", "--training_steps=30ep"]
LOTTERY = ["lottery", *HPARAMS, "--levels=2", "--rewinding_steps=15ep"]
BRANCH = ["lottery_branch", "randomly_prune", *HPARAMS, "--rewinding_steps=15ep", "--levels=1", "--seed=3"]
TRAIN = ["train", *HPARAMS]
ONESHOT = ["branch", "train", "oneshot", *HPARAMS, "--strategy=snip2", "--prune_fraction=0.8", "--prune_step=last"]

# Commands one after the other, each with the files whose appearance, or change, kills it; then it is started again.
STORY = [
    (
        LOTTERY,
        [
            "*/replicate_1/level_pretrain/main/checkpoint.npz",
            "*/replicate_1/level_0/main/mask.npz",
            "*/replicate_1/level_1/main/checkpoint.npz",
            "lottery_*/summary.csv",
        ],
    ),
    (BRANCH, ["*/replicate_1/level_1/lottery_branch_*/checkpoint.npz"]),
    (TRAIN, []),
    (ONESHOT, ["*/replicate_1/branch_oneshot_*/mask.npz"]),
]


def _start(root, words):
    command = [sys.executable, "-m", "tfprune.lth", *words, f"--root={root}", "--quiet"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture
def in_peace(lth):
    """`in_peace(root, words)`: the same command to its end, in this process."""

    def run(root, words):
        result = lth(*words, f"--root={root}", "--quiet")
        assert result.returncode == 0, result.stderr

    return run


def _stamps(root, pattern):
    return {path: path.stat().st_mtime_ns for path in root.glob(pattern)}


def _kill_at(root, words, pattern):
    """Whether the process was killed; else it was done before."""
    before, process = _stamps(root, pattern), _start(root, words)
    deadline = time.monotonic() + 120
    while process.poll() is None:
        if _stamps(root, pattern) != before:
            os.kill(process.pid, signal.SIGKILL)
            break
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def _files(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def _assert_same(came, expected):
    assert sorted(came) == sorted(expected)
    assert not [name for name in came if "checkpoint" in name or "tmp" in name]
    assert [name for name in came if came[name] != expected[name]] == []


@pytest.mark.slow
def test_killed_runs_end_with_the_same_files(tmp_path, in_peace):
    killed = 0
    for words, moments in STORY:
        in_peace(tmp_path / "whole", words)
        killed += sum(_kill_at(tmp_path / "killed", words, pattern) for pattern in moments)
        in_peace(tmp_path / "killed", words)
    assert killed >= 4  # at most two were faster than we
    _assert_same(_files(tmp_path / "killed"), _files(tmp_path / "whole"))


@pytest.mark.slow
def test_two_processes_on_one_run(tmp_path, in_peace):
    processes = [_start(tmp_path / "both", TRAIN) for _ in range(2)]
    outputs = [process.communicate()[0] for process in processes]
    refused = [output for process, output in zip(processes, outputs, strict=True) if process.returncode]
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode in (0, 2), output
    for output in refused:  # none where one was done before the other looked
        assert len([line for line in output.splitlines() if line.startswith("error: ")]) == 1, output
        assert "another process works on this replicate" in output
    assert len(refused) < 2
    in_peace(tmp_path / "alone", TRAIN)
    _assert_same(_files(tmp_path / "both"), _files(tmp_path / "alone"))
