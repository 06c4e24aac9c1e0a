"""What the classic networks are made of: a kernel layer, batch normalisation, ReLU, and a residual block of these."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from keras import layers

from tfprune.errors import InputError
from tfprune.models.initializers import SeedToInitializer, fan_average, kaiming_normal, ones, uniform, zeros


class Seeds:
    """A fresh integer seed for each array of weights, all from one.

    Kernels draw from a stream of their own, so that they don't depend on how normalisation and biases start.

    Args:
        seed: a whole number ≥ 0.

    Raises:
        InputError: it is none.
    """

    def __init__(self, seed: int):
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
            raise InputError(f"seed must be a whole number of at least 0. Received: {seed!r}")
        self._kernels = np.random.default_rng(int(seed))
        self._others = np.random.default_rng((int(seed), 1))

    def for_kernel(self) -> int:
        return int(self._kernels.integers(2**31))

    def for_other(self) -> int:
        return int(self._others.integers(2**31))


@dataclass(frozen=True)
class Style:
    """What the networks of one origin have in common. The defaults are Keras's.

    Attributes:
        kernels: how kernels start.
        scales: how the scales (gamma) of batch normalisation start.
        offsets: how its offsets (beta) start.
        momentum: the share of a running statistic that a step keeps.
        epsilon: added to the variance.
        synchronized: whether replicas normalise by the statistics of their common batch.
        symmetric: whether strided convolutions and pools see as many zeros before the image as after it, as PyTorch
            pads; Keras's `same` puts the odd one after it.
        norm_name: from a layer's name to that of the normalisation behind it.
    """

    kernels: SeedToInitializer = fan_average
    scales: SeedToInitializer = ones
    offsets: SeedToInitializer = zeros
    momentum: float = 0.99
    epsilon: float = 1e-3
    synchronized: bool = False
    symmetric: bool = False
    norm_name: Callable[[str], str] = "{}_norm".format


def torch_norm_name(layer: str) -> str:
    """`bn` for `conv`, `blocks.0.bn1` for `blocks.0.conv1`, `blocks.3.shortcut.1` for `blocks.3.shortcut.0`."""
    head, dot, tail = layer.rpartition(".")
    return head + dot + ("1" if tail == "0" else tail.replace("conv", "bn"))


# Normalisation and padding as PyTorch has them by default, names as torchvision.
TORCH = Style(kaiming_normal, momentum=0.9, epsilon=1e-5, symmetric=True, norm_name=torch_norm_name)


def scaled(count: int, width: float) -> int:
    """A number of filters or units at a width, at least 1."""
    return max(1, round(count * width))


class Blocks:
    """Makes the layers of one network; every method takes a tensor and gives one.

    Args:
        seed: of everything that is drawn; layers draw in the order they are made.
        style: see there.

    Raises:
        InputError: `seed` is not a whole number ≥ 0.
    """

    def __init__(self, seed: int, style: Style | None = None):
        self._seeds = Seeds(seed)
        self._style = style or Style()

    def conv(self, x, filters, size: int, name: str, strides=1, padding="same", relu=True, bias=False, groups=1):
        """Convolution, batch normalisation and, if asked, ReLU. A bias would do nothing that the offset cannot."""
        x = self._convolved(x, filters, size, name, strides, padding, bias, groups)
        return self._normalised(x, name, "relu" if relu else None)

    def plain_conv(self, x, filters: int, size: int, name: str, strides=1, padding="same"):
        """Convolution with bias, and ReLU; no normalisation."""
        return self._activated(self._convolved(x, filters, size, name, strides, padding, True, 1), name, "relu")

    def dense(self, x, units: int, name: str, activation: str = "relu"):
        """Dense layer without bias, batch normalisation and activation."""
        layer = layers.Dense(units, name=name, **self._weights(x.shape[-1], bias=False))
        return self._normalised(layer(x), name, activation)

    def affine(self, x, units: int, name: str, activation: str | None = None):
        """Dense layer with bias; no normalisation."""
        x = layers.Dense(units, name=name, **self._weights(x.shape[-1], bias=True))(x)
        return self._activated(x, name, activation)

    def dropout(self, x, rate: float, name: str):
        """Zeroes this share of the entries in training."""
        return layers.Dropout(rate, seed=self._seeds.for_other(), name=name)(x)

    def max_pool(self, x, size: int, strides: int, name: str):
        """Maximum over windows of an image that holds nothing below 0, padded where they overlap."""
        padding = "valid"
        if size > strides:
            x, padding = self._padded(x, size, strides, name)
        return layers.MaxPooling2D(size, strides, padding=padding, name=name)(x)

    def residual(self, x, convolutions: Sequence[tuple[int, int, int]], prefix: str, shortcut: str | None, groups=1):
        """`relu(branch(x) + x)`, the branch being convolutions with normalisation and, but for the last, ReLU.

        Args:
            x: images.
            convolutions: (filters, size, strides) of each.
            prefix: comes before the layers' names, `conv1`, `conv2`, ...
            shortcut: name of the 1×1 convolution with normalisation that brings x to the branch's shape; None adds x.
            groups: of the convolutions that are larger than 1×1.
        """
        branch = x
        for number, (filters, size, strides) in enumerate(convolutions, start=1):
            last, name = number == len(convolutions), f"{prefix}conv{number}"
            branch = self.conv(branch, filters, size, name, strides, relu=not last, groups=groups if size > 1 else 1)
        if shortcut is not None:
            strides = math.prod(strides for _, _, strides in convolutions)
            x = self.conv(x, convolutions[-1][0], 1, f"{prefix}{shortcut}", strides, relu=False)
        x = layers.Add(name=f"{prefix}add")([branch, x])
        return layers.Activation("relu", name=f"{prefix}relu")(x)

    def _convolved(self, x, filters: int, size: int, name: str, strides: int, padding: str, bias: bool, groups: int):
        weights = self._weights(size * size * x.shape[-1] // groups, bias)
        if size == 1 and strides != 1 and self._style.symmetric:
            # The same numbers; TensorFlow 2.21's gradient of narrow strided 1×1 kernels crashes on CPUs.
            x, strides = layers.MaxPooling2D(1, strides, name=f"{name}_strides")(x), 1
        if padding == "same":
            x, padding = self._padded(x, size, strides, name)
        return layers.Conv2D(filters, size, strides, padding, groups=groups, name=name, **weights)(x)

    def _padded(self, x, size: int, strides: int, name: str):
        """The image and the padding that is still to be done."""
        if not self._style.symmetric or size == 1 or strides == 1:
            return x, "same"
        return layers.ZeroPadding2D((size - 1) // 2, name=f"{name}_padding")(x), "valid"

    def _weights(self, fan_in: int, bias: bool) -> dict:
        given = {"use_bias": bias, "kernel_initializer": self._style.kernels(self._seeds.for_kernel())}
        if bias:
            most = 1 / math.sqrt(fan_in)
            given["bias_initializer"] = uniform(-most, most)(self._seeds.for_other())
        return given

    def _normalised(self, x, name: str, activation: str | None):
        style = self._style
        x = layers.BatchNormalization(
            momentum=style.momentum,
            epsilon=style.epsilon,
            gamma_initializer=style.scales(self._seeds.for_other()),
            beta_initializer=style.offsets(self._seeds.for_other()),
            synchronized=style.synchronized,
            name=style.norm_name(name),
        )(x)
        return self._activated(x, name, activation)

    def _activated(self, x, name: str, activation: str | None):
        return x if activation is None else layers.Activation(activation, name=f"{name}_{activation}")(x)
