"""Activations that a saved model loses: Keras writes a function's name alone, and reads its own of that name."""

from __future__ import annotations

import warnings
from types import FunctionType

import keras
import numpy as np
from keras import ops

from tfprune.layers.masked_models import MaskedModel
from tfprune.layers.topology import named_layers

_NUMBERS = np.linspace(-4, 4, 34, dtype=np.float32).reshape(2, 17)


def warn_of_misread(model: keras.Model) -> None:
    """Warns once, in a line, where a file of the model would be read with other activations than it has."""
    made_by_class = [part for part in model._flatten_layers() if isinstance(part, MaskedModel)]
    unasked = {id(layer) for part in made_by_class for layer in part._flatten_layers()}  # the class says all of them
    found = {}
    for path, layer in named_layers(model):
        if id(layer) in unasked:
            continue
        for inner in layer._flatten_layers():  # Keras has no public way to see them
            names = [name for value in vars(inner).values() if (name := _misread_as(value))]
            if names:
                found[path] = names[0]
    if found:
        (path, name), *others = found.items()
        also = f" (and {len(others)} more)" if others else ""
        warnings.warn(
            f"layer {path!r}{also} has a function {name!r}, and Keras an activation of that name, which does something "
            "else: a saved model is read with Keras's; give the function another name and register it with Keras",
            stacklevel=3,
        )


def _misread_as(value) -> str | None:
    """The name of a function, where Keras has another one of it."""
    if not isinstance(value, FunctionType):
        return None
    try:
        known = keras.activations.get(value.__name__)
        if known is value:
            return None
        one, other = (ops.convert_to_numpy(function(ops.convert_to_tensor(_NUMBERS))) for function in (value, known))
        return None if one.shape == other.shape and np.allclose(one, other, atol=1e-6) else value.__name__
    except Exception:  # no name that Keras knows, or no function of numbers alone
        return None
