"""What layers are called with, in a model of any form: a function stands around their calls for a while."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import keras

Around = Callable[[keras.layers.Layer, Callable, tuple, dict], object]


class Enough(BaseException):
    """Raised in a caught call, ends the model's call where nothing more of it is needed.

    No `Exception`: Keras makes new ones of those that come through it, and layers may handle them.
    """


@contextmanager
def catching(layers: Iterable[keras.layers.Layer], around: Around) -> Iterator[None]:
    """Meanwhile, each call of the layers is `around(layer, call, args, kwargs)`, which gives the outputs.

    It does not matter who calls them: a graph, a layer that holds them, or a model's own `call`. Where a layer traces
    its parts (`TimeDistributed`), what they are called with is symbolic. A layer that is called with a kernel masked
    from outside is caught within that mask's reach, one that has masks itself before.

    Args:
        layers: of a model; afterwards as they were.
        around: gets what Keras calls `layer.call` with, arguments that it fills in (`training`, `mask`) included.
    """
    caught = list({id(layer): layer for layer in layers}.values())
    before = [vars(layer).get("call") for layer in caught]
    try:
        for layer in caught:
            vars(layer)["call"] = _surrounded(layer, around)  # not by `setattr`, which Keras watches
        yield
    finally:
        for layer, call in zip(caught, before, strict=True):
            vars(layer).pop("call", None)
            if call is not None:
                vars(layer)["call"] = call


def first_argument(args: tuple, kwargs: dict):
    """What a layer of one input is called with."""
    return args[0] if args else next(iter(kwargs.values()), None)


def _surrounded(layer: keras.layers.Layer, around: Around) -> Callable:
    call = layer.call

    @functools.wraps(call)
    def surrounded(*args, **kwargs):
        return around(layer, call, args, kwargs)

    return surrounded
