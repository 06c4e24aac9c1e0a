"""Layers of kept weights that follow one another, computed at once where their class can."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import keras
from keras import tree

from tfprune.layers.kept_layers import KeptKernel
from tfprune.layers.topology import run


def joined(model: keras.Model) -> keras.Model:
    """A model of the same layers and outputs for computing alone; `model` itself where nothing can be joined.

    Args:
        model: as `tfprune.layers.kept.kept_copy` makes it.
    """
    functions = {}
    for layers in _runs(model):
        function = layers[0].joined(layers)
        if function is not None:
            functions |= dict.fromkeys(map(id, layers))  # what the first ones make is made by the last
            functions[id(layers[-1])] = _Joined(function)
    if not functions:
        return model

    def call(operation: keras.Operation, *args, **kwargs):
        if id(operation) not in functions:
            return operation(*args, **kwargs)
        function = functions[id(operation)]
        return args[0] if function is None else function(args[0])

    inputs = _inputs(model)
    return keras.Model(inputs, run(model, inputs, call)[0] if len(model.outputs) == 1 else run(model, inputs, call))


def _runs(model: keras.Model) -> list[list[KeptKernel]]:
    """Two and more layers of a class of which each is called once, alone takes what the one before it makes."""
    calls = []

    def note(operation: keras.Operation, *args, **kwargs):
        made = operation(*args, **kwargs)
        calls.append((operation, args, made))
        return made

    outputs = run(model, _inputs(model), note)
    used = Counter(id(tensor) for tensor in [*tree.flatten([args for _, args, _ in calls]), *outputs])
    called = Counter(id(operation) for operation, _, _ in calls)
    ending: dict[int, list[KeptKernel]] = {}  # id of what a run makes -> its layers
    for operation, args, made in calls:
        if not isinstance(operation, KeptKernel) or called[id(operation)] > 1:
            continue
        before = ending.get(id(args[0]), [])
        if before and type(before[-1]) is type(operation) and used[id(args[0])] == 1:
            del ending[id(args[0])]
        else:
            before = []
        ending[id(made)] = [*before, operation]
    return [layers for layers in ending.values() if len(layers) > 1]


def _inputs(model: keras.Model) -> list:
    return [keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype) for tensor in model.inputs]


class _Joined(keras.layers.Layer):
    """A function of inputs and `training`, whose variables are those of other layers."""

    def __init__(self, function: Callable):
        super().__init__()
        self.supports_jit = False
        self._function = function

    def call(self, inputs, training=None):
        return self._function(inputs, training)
