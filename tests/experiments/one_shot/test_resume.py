"""Runs that are killed, wherever, end with the files of one that was left in peace."""

import os
import signal
import subprocess
import sys
import time

import pytest
from faults import killed_until_done, tree

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
    # A kill behind the mark that all is done leaves the checkpoint of the dense run, which no start looks for again.
    came = {name: content for name, content in came.items() if not name.endswith("_checkpoint.npz")}
    assert sorted(came) == sorted(expected)
    assert [name for name in came if came[name] != expected[name]] == []


@pytest.mark.slow
def test_a_process_that_is_killed(tmp_path):
    def start(name):
        command = [sys.executable, "-m", "tfprune.main", *FLAGS, "--iterations=2300", "--checkpoint_step=130"]
        command.append(f"--out_path={tmp_path / name}")
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    killed, deadline = start("killed"), time.monotonic() + 120
    while not list((tmp_path / "killed").glob("lenet300100/lamp/effective/0_31.6228_*_checkpoint.npz")):
        assert killed.poll() is None, killed.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    for name in ("killed", "whole"):
        process = start(name)
        output = process.communicate()[0]
        assert process.returncode == 0, output
    expected, came = _files(tmp_path / "whole"), _files(tmp_path / "killed")
    assert sorted(came) == sorted(expected)
    assert not [name for name in came if "checkpoint" in name or "tmp" in name]
    assert [name for name in came if came[name] != expected[name]] == []
