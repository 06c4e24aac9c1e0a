"""Which filters and units the bits of a state stand for, here and in what was published."""

from __future__ import annotations

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
        InputError: `current` of another network than a ResNet, or a network without kernels.

    Reference: Salehinejad & Valaee 2020, arXiv 2006.04270.
    """
    kernels = prunable(model)
    head = next(reversed(kernels), None)
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
