"""The classic networks by name, and one's own by `module:name`."""

from __future__ import annotations

from collections.abc import Callable

import keras

from tfprune.errors import InputError
from tfprune.models.lenet import lenet5, lenet300100
from tfprune.models.own_network import own_network
from tfprune.models.resnet import resnet18
from tfprune.models.vgg import vgg16, vgg19
from tfprune.records.own_parts import is_written
from tfprune.records.reading import first_line

ARCHITECTURES: dict[str, Callable[..., keras.Model]] = {
    "lenet300100": lenet300100,
    "lenet5": lenet5,
    "vgg16": vgg16,
    "vgg19": vgg19,
    "resnet18": resnet18,
}


def build(name: str, **arguments) -> keras.Model:
    """Builds a network by name.

    Args:
        name: a key of `ARCHITECTURES`, or `module:name` of one's own, see `own_network`.
        **arguments: `input_shape`, `classes` and `seed`; each network has its own defaults for the first two.

    Raises:
        InputError: unknown name (lists the known ones), images too small for the network, or a network of one's own
            that is none.
    """
    if is_written(name):
        return own_network(name, **arguments)
    if name not in ARCHITECTURES:
        raise InputError(f"unknown architecture {name!r}; known are {', '.join(ARCHITECTURES)}")
    try:
        return ARCHITECTURES[name](**arguments)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{name} cannot be built with {arguments}: {first_line(error)}") from error
