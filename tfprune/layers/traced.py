"""Functions that are traced once for a model, and again when something in it has changed.

A trace holds what its layers said when it was made: an activation, a list of variables, the layers of a Sequential
model. Layers can be changed, so each use compares them with what they were. What no attribute of a layer leads to, a
global that its `call` reads, say, is not seen: as for Keras's own `fit` and `predict`.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable, Mapping

import keras
import numpy as np

from tfprune.layers.topology import is_nested

_DEEPEST = 5  # of structures that are compared part by part

# They change when a layer is only used.
_PASSING = {"_inbound_nodes", "_outbound_nodes", "_losses", "_loss_ids", "_called", "_tracker"}

_traced: weakref.WeakKeyDictionary[keras.Model, dict] = weakref.WeakKeyDictionary()


def traced(model: keras.Model, key: tuple, build: Callable[[], Callable]) -> Callable:
    """What `build` makes for a model, made once while the model lives and its layers stay as they are.

    It must hold neither the model nor its layers themselves, only weak references, or none would ever be freed.

    Args:
        model: Sequential or Functional; values of its weights may change.
        key: what else decides what is built.
    """
    made = _traced.setdefault(model, {})
    if key not in made or made[key][1] != _state(model):
        made[key] = build(), _state(model)  # to be called for a trace may give a layer attributes of its own
    return made[key][0]


class _Same:
    """Equal to another one of the same object, while that lives."""

    def __init__(self, value):
        try:
            self._find = weakref.ref(value)
        except TypeError:
            self._find = None
        self._id = id(value)

    def __eq__(self, other) -> bool:
        alive = self._find is None or self._find() is not None
        return isinstance(other, _Same) and self._id == other._id and alive

    __hash__ = None


def _state(model: keras.Model) -> list:
    found = []
    for layer in model._flatten_layers():
        found += [_Same(layer), type(layer)]
        if not is_nested(layer):  # a graph is its layers
            found += [
                (name, _shown(value))
                for name, value in vars(layer).items()
                if value is not None and name not in _PASSING and not name.startswith(("_self_", "__"))
            ]
    return found


def _shown(value, depth: int = 0):
    """What equals only the same again; no reference that keeps an object of the layer's alive."""
    if isinstance(value, (bool, int, float, str, bytes)):
        return type(value).__name__, value
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, hashlib.sha1(np.ascontiguousarray(value)).digest()
    if depth < _DEEPEST and isinstance(value, Mapping):
        return [(_shown(key, depth + 1), _shown(one, depth + 1)) for key, one in value.items()]
    if depth < _DEEPEST and isinstance(value, (list, tuple, set)):
        return [_shown(one, depth + 1) for one in value]
    return _Same(value)
