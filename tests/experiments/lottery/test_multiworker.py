"""Two processes on loopback train like one, only the chief writes, and a pair that was killed goes on as it would."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tfprune.experiments.lottery.files import read_log

LENET = ("--default_hparams=mnist_lenet_300_100", "--dataset_name=digits", "--batch_size=60")
CONVOLUTIONAL = ("--default_hparams=cifar_resnet_8_4", "--dataset_name=digits", "--batch_size=100")
TRAIN = ("train", *LENET, "--training_steps=3ep", "--weight_save_steps=1ep")


def addresses(count=2):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    names = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return names


class Pair:
    """Both workers of a command, the chief first, each in a working folder of its own."""

    def __init__(self, root, *arguments, others=None):
        cluster = {"worker": addresses()}
        self.processes, self.folders = [], []
        for index in range(2):
            task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
            folder = root / f"worker_{index}"
            folder.mkdir(parents=True, exist_ok=True)
            given = others if index and others else arguments
            command = [sys.executable, "-m", "tfprune.lth", *given, "--distribute=multiworker", "--device=cpu"]
            process = subprocess.Popen(
                command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env={**os.environ, "TF_CONFIG": json.dumps(task)},
            )  # fmt: skip
            self.processes.append(process)
            self.folders.append(folder)

    def ended(self):
        """Exit status and what was said, of both."""
        try:
            said = [process.communicate(timeout=300)[0] for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()
        return [(process.returncode, text) for process, text in zip(self.processes, said, strict=True)]


def alone(root, *arguments, start=("-m", "tfprune.lth")):
    root.mkdir()
    command = [sys.executable, *start, *arguments, "--device=cpu"]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    return root


def networks(root):
    """Folder -> log and arrays of each network below a root."""
    found = {}
    for path in sorted(root.rglob("logger")):
        arrays = {}
        for file in sorted(path.parent.glob("*.npz")):
            with np.load(file) as stored:
                arrays |= {f"{file.name}/{name}": stored[name] for name in stored.files}
        found[path.parent.relative_to(root)] = (read_log(path.parent), arrays)
    return found


def assert_alike(one, two, rtol, atol):
    assert one and list(one) == list(two)
    for folder, (log, arrays) in one.items():
        other_log, others = two[folder]
        assert log.names == other_log.names and set(arrays) == set(others)
        for name in ("train_loss", "test_loss"):
            assert log.get(name)
            np.testing.assert_allclose(other_log.get(name), log.get(name), rtol=rtol, err_msg=f"{folder} {name}")
        for name, array in arrays.items():
            if array.dtype.kind == "f":
                np.testing.assert_allclose(others[name], array, atol=atol, err_msg=f"{folder} {name}")
            else:  # masks
                np.testing.assert_array_equal(others[name], array, err_msg=f"{folder} {name}")


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [TRAIN, ("lottery", *LENET, "--training_steps=2ep", "--levels=1", "--rewinding_steps=5it")],
    ids=["train", "lottery"],
)
def test_two_processes_train_like_one(arguments, tmp_path):
    both = Pair(tmp_path, *arguments)
    (chief, said), (other, told) = both.ended()
    assert (chief, other) == (0, 0), (said, told)
    assert "worker 1 of 2" in told and "done; results are with worker 0 of 2" in told
    assert not list(both.folders[1].iterdir())  # who is not the chief writes nothing
    assert_alike(networks(alone(tmp_path / "one", *arguments)), networks(both.folders[0]), 1e-5, 1e-5)
    # Again: there is nothing to do, and both say so.
    again = Pair(tmp_path, *arguments).ended()
    assert [status for status, _ in again] == [0, 0]
    assert "nothing to do" in again[0][1] and "done" in again[1][1]


@pytest.mark.slow
def test_two_processes_train_like_two_devices(tmp_path):
    """To the bit: a sum of two has one order. Against one device, batch norm makes rounding grow within some steps."""
    arguments = ("train", *CONVOLUTIONAL, "--training_steps=1ep3it")
    both, script = Pair(tmp_path, *arguments), str(Path(__file__).with_name("two_devices.py"))
    assert [status for status, _ in both.ended()] == [0, 0]
    devices = alone(tmp_path / "devices", *arguments, "--distribute=mirrored", start=(script,))
    assert_alike(networks(devices), networks(both.folders[0]), 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_pair_that_was_killed_goes_on_to_the_same_numbers(victim, tmp_path):
    arguments = ("train", *LENET, "--training_steps=60ep")
    assert [status for status, _ in Pair(tmp_path / "whole", *arguments).ended()] == [0, 0]
    pair = Pair(tmp_path / "killed", *arguments)
    end = time.monotonic() + 200
    while not (found := list(pair.folders[0].rglob("checkpoint.npz"))) and time.monotonic() < end:
        time.sleep(0.05)
    pair.processes[victim].send_signal(signal.SIGKILL)
    ended = pair.ended()
    assert found and list(pair.folders[0].rglob("checkpoint.npz")), ended
    assert ended[victim][0] == -signal.SIGKILL
    status, said = ended[1 - victim]
    last = said.strip().splitlines()[-1]
    assert status == 2 and last.startswith(f"error: worker {victim} of 2") and "is gone" in last, said
    assert "Traceback" not in said
    assert [status for status, _ in Pair(tmp_path / "killed", *arguments).ended()] == [0, 0]
    whole, resumed = (networks(tmp_path / name / "worker_0") for name in ("whole", "killed"))
    for folder, (log, arrays) in whole.items():
        assert log.arrays().keys() == resumed[folder][0].arrays().keys()
        for name, array in log.arrays().items():
            np.testing.assert_array_equal(resumed[folder][0].arrays()[name], array)
        for name, array in arrays.items():
            np.testing.assert_array_equal(resumed[folder][1][name], array, err_msg=name)


def test_what_cannot_be_joined_is_told_at_once(tmp_path):
    """Both are told of other settings before TensorFlow is loaded, and leave no folder."""
    ended = Pair(tmp_path, *TRAIN, others=(*TRAIN, "--replicate=2")).ended()
    for status, said in ended:
        assert status == 2 and "worker 1 of 2" in said.splitlines()[-1]
        assert "another command, settings or version of tfprune than worker 0: replicate" in said
        assert "loading TensorFlow" not in said
    assert not list(tmp_path.rglob("replicate_*"))
