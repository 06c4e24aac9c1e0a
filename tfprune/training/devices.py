"""Where to train."""

from __future__ import annotations

import tensorflow as tf

from tfprune.errors import InputError


def use_device(device: str) -> str:
    """Chooses the device for everything that is made afterwards.

    On a GPU, TensorFlow's deterministic kernels are switched on (a resumed run must end with the same bits; its CPU
    kernels are deterministic as they are) and memory is taken as needed.

    Args:
        device: `cpu`, `gpu` or `auto` (a GPU if there is one).

    Returns:
        The name of the device taken, for people.

    Raises:
        InputError: `gpu` is asked for and there is none.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        raise InputError("device = gpu, but TensorFlow finds no GPU; use auto or cpu")
    if device == "cpu" or not gpus:
        tf.config.set_visible_devices([], "GPU")
        return "CPU"
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_op_determinism()
    return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
