"""Training on two devices gives the losses of one; two logical CPUs stand for GPUs, in a process of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("mirrored_script.py")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist_lenet_20_12", "cifar_resnet_8_4"])
def test_two_devices_train_like_one(name, tmp_path):
    result = subprocess.run([sys.executable, SCRIPT, name, tmp_path], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
