"""Real processes, killed without warning at telling moments, end with the files of one that was left in peace."""

import os
import signal
import subprocess
import sys
import time

import pytest

# File patterns: the process is killed as soon as one of its files is new.
MOMENTS = (
    "dense/0_1_run.json",
    "dense/0_1_checkpoint.npz",
    "dense/0_1_final_weights.npz",
    "lamp/effective/0_32_checkpoint.npz",
    "lamp/effective/0_32_densities.png",
)


def _start(folder):
    command = [sys.executable, "-m", "tfprune.main", "--data=digits", "--pruner=lamp", "--train_dense", "--com_exp=1.5"]
    command += ["--pruning_type=effective", "--iterations=2300", "--checkpoint_step=130", f"--out_path={folder}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _stamp(path):
    return path.stat().st_mtime_ns if path.exists() else None


@pytest.mark.slow
def test_killed_runs_end_with_the_same_files(tmp_path):
    whole = _start(tmp_path / "whole")
    output = whole.communicate()[0]
    assert whole.returncode == 0, output
    root = tmp_path / "killed" / "lenet300100"
    for moment in MOMENTS:
        path = root / moment
        before = _stamp(path)
        process = _start(tmp_path / "killed")
        deadline = time.monotonic() + 120
        while _stamp(path) in (None, before):
            if process.poll() is not None:
                assert process.returncode == 0, process.stdout.read()
                break
            assert time.monotonic() < deadline
            time.sleep(0.001)
        else:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    last = _start(tmp_path / "killed")
    output = last.communicate()[0]
    assert last.returncode == 0, output

    def files(name):
        base = tmp_path / name
        return {str(path.relative_to(base)): path.read_bytes() for path in base.rglob("*") if path.is_file()}

    expected, came = files("whole"), files("killed")
    assert sorted(came) == sorted(expected)
    assert not [name for name in came if "checkpoint" in name or "tmp" in name]
    assert [name for name in came if came[name] != expected[name]] == []
