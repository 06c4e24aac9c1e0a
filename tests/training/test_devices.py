"""Where to train."""

import pytest
import tensorflow as tf

from tfprune.errors import InputError
from tfprune.training.devices import use_device


def test_a_gpu_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    with pytest.raises(InputError, match=r"device = gpu, but TensorFlow finds no GPU; use auto or cpu"):
        use_device("gpu")
    assert use_device("auto") == "CPU"


def test_cpu_is_taken_even_beside_a_gpu(monkeypatch):
    hidden = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["a GPU"])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda devices, kind: hidden.append((devices, kind)))
    assert use_device("cpu") == "CPU"
    assert hidden == [([], "GPU")]
