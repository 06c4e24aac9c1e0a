"""Two logical devices against one, in processes of their own: devices cannot be divided once they are in use."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.training.mirrored import mirrored_strategy


@pytest.mark.slow_beyond(1)
@pytest.mark.parametrize(
    ("kind", "tolerance"),
    # In half precision, rounding differs from CPU to CPU, and grows over the steps.
    [("lenet", 2e-6), ("stream", 2e-6), ("convolutional", 2e-6), ("float16", 1e-2)],
)
def test_two_devices_train_like_one(kind, tolerance):
    command = [sys.executable, str(Path(__file__).with_name("mirrored_script.py")), kind]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    result = json.loads(ended.stdout)
    assert len(result["one"]) == 30
    np.testing.assert_allclose(result["two"], result["one"], rtol=tolerance)
    # The losses move, so that their equality says something about the updates.
    assert result["one"][-1] != pytest.approx(result["one"][0], rel=0.01)
    # A state that is put back goes on as it did.
    assert result["again"] == result["two"]
    assert max(result["variables"]) < tolerance * 20
    assert result["seen"] == [[True, True], [False, False]]


def test_no_gpu_is_told(monkeypatch):
    monkeypatch.setattr("tensorflow.config.list_logical_devices", lambda kind: [])
    with pytest.raises(InputError, match="distribute = mirrored needs a GPU, and TensorFlow finds none"):
        mirrored_strategy()
