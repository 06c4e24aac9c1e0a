"""Which filters and units the bits of a state stand for, here and in what was published."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np

from tfprune.errors import InputError
from tfprune.layers.prunable import prunable
from tfprune.pruning.filter_states import Site, StateSpace, Stretch

CURRENT = "current"
_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101")


def layout(model: keras.Model, name: str, states: str = "default") -> StateSpace:
    """What the bits of a network's states are.

    `default`: one for each filter of each convolution but that of the classes, in network order; then one for each
    input of each dense layer and of the convolution of the classes. `current`: of the ResNets as last published: one
    for each filter of each block's `conv2`, of which those of the first change nothing, one for each input of `fc`, one
    for each class, which change nothing either.

    Args:
        model: of `tfprune.experiments.energy.networks`, plain or masked.
        name: of the network.
        states: `default` or `current`.

    Raises:
        InputError: `current` of another network than a ResNet.

    Reference: Salehinejad & Valaee 2020, arXiv 2006.04270.
    """
    kernels = prunable(model)
    head = list(kernels)[-1]
    if states == CURRENT:
        if name not in _RESNETS:
            raise InputError(f"--states=current is for {', '.join(_RESNETS)}. Received: --nnmodel={name}")
        filters = [path for path in kernels if path.endswith(".conv2/kernel")]
    else:
        filters = [path for path, kernel in kernels.items() if len(kernel.shape) == 4 and path != head]
    inputs = [path for path, kernel in kernels.items() if len(kernel.shape) == 2 or path == head]
    stretches, sites, start = [], [], 0
    for path in (*filters, *inputs):
        axis = len(kernels[path].shape) - (1 if path in filters else 2)
        size = kernels[path].shape[axis]
        stretches.append(Stretch(path.removesuffix("/kernel"), start, size))
        sites.append(Site(path, axis, np.arange(start, start + size)))
        start += size
    if states == CURRENT:
        sites = sites[1:]
        stretches.append(Stretch("classes", start, kernels[head].shape[-1]))
    return StateSpace(model, stretches, sites)


@dataclass(frozen=True)
class Counted:
    """Bits that a published counter counts alike.

    Attributes:
        name: of the layer, or `classes`.
        size: how many they are.
        weights: what each counts if it is on.
    """

    name: str
    size: int
    weights: float


def published_counter(model: keras.Model, revision: str) -> list[Counted]:
    """What the published programs count as kept for a state of a ResNet: the sum over the bits that are on.

    Args:
        model: one of the ResNets.
        revision: `current`: the size of a filter without its channels, and the classes of each input of `fc`; `readme`,
            an earlier one: filters with one parameter of normalisation, shortcuts once more for that alone; `ising`,
            of the second program: all parameters of layer and normalisation, shared out equally among its bits.

    Reference: Salehinejad & Valaee 2020, arXiv 2006.04270 and 2021, arXiv 2102.05437.
    """
    return list({CURRENT: _current, "readme": _readme, "ising": _ising}[revision](prunable(model)))


def _current(kernels) -> Iterator[Counted]:
    for name, (height, width, _, filters) in _convolutions(kernels):
        if name.endswith(".conv2"):
            yield Counted(name, filters, height * width)
    inputs, classes = kernels["fc/kernel"].shape
    yield from (Counted("fc", inputs, classes), Counted("classes", classes, 0))


def _readme(kernels) -> Iterator[Counted]:
    for name, (height, width, channels, filters) in _convolutions(kernels):
        yield Counted(name, filters, height * width * channels + 1)
        if name.endswith("downsample.0"):
            yield Counted(name[:-1] + "1", filters, 1)
    yield Counted("fc", *kernels["fc/kernel"].shape)


def _ising(kernels) -> Iterator[Counted]:
    for name, (height, width, channels, filters) in _convolutions(kernels):
        yield Counted(name, filters, height * width * channels + 2)
    inputs, classes = kernels["fc/kernel"].shape
    yield from (Counted("fc", inputs, (inputs + 1) * classes / inputs), Counted("classes", classes, 0))


def _convolutions(kernels) -> Iterator[tuple[str, tuple[int, ...]]]:
    for path, kernel in kernels.items():
        if len(kernel.shape) == 4:
            yield path.removesuffix("/kernel"), tuple(kernel.shape)
