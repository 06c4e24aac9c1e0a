"""What the classic networks are made of: a kernel layer, batch normalisation, ReLU."""

from __future__ import annotations

import keras
import numpy as np

from tfprune.errors import InputError


class Seeds:
    """A fresh integer seed for each kernel, all from one.

    Args:
        seed: a whole number ≥ 0.

    Raises:
        InputError: it is none.
    """

    def __init__(self, seed: int):
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
            raise InputError(f"seed must be a whole number of at least 0. Received: {seed!r}")
        self._generator = np.random.default_rng(int(seed))

    def initializer(self) -> keras.initializers.Initializer:
        """Normal kernels (cut at two standard deviations) of variance 2 / mean of fan-in and fan-out."""
        seed = int(self._generator.integers(2**31))
        return keras.initializers.VarianceScaling(2.0, "fan_avg", "truncated_normal", seed=seed)


def conv(x, filters: int, size: int, seeds: Seeds, name: str, strides=1, padding="same", relu=True):
    """Convolution, batch normalisation and, if asked, ReLU. There is no bias: the normalisation would remove it."""
    layer = keras.layers.Conv2D(
        filters,
        size,
        strides=strides,
        padding=padding,
        use_bias=False,
        kernel_initializer=seeds.initializer(),
        name=name,
    )
    return _normalised(layer(x), name, "relu" if relu else None)


def dense(x, units: int, seeds: Seeds, name: str, activation: str = "relu"):
    """Dense layer without bias, batch normalisation and activation."""
    layer = keras.layers.Dense(units, use_bias=False, kernel_initializer=seeds.initializer(), name=name)
    return _normalised(layer(x), name, activation)


def _normalised(x, name: str, activation: str | None):
    x = keras.layers.BatchNormalization(name=f"{name}_norm")(x)
    return x if activation is None else keras.layers.Activation(activation, name=f"{name}_{activation}")(x)
