"""Layers of kept weights that follow one another, computed at once where their class can.

It can where its `joined` is `(layers, pixels) -> function`: of one or more layers, and how inputs are made of bytes, or
None. The function takes inputs, or these bytes, uint8 (B, D), or where `pixels` has images their numbers, int32 (B,),
and `training`; there is none where it would not be quicker.

A classifier that is such layers and nothing else may take whole training steps at once: where the class's `stepped`,
`(layers, pixels) -> function`, is there and gives one. The function takes numbers of images, int32 (steps, B), or where
`pixels` has no images their bytes, uint8 (steps, B, D), labels, int32 (steps, B), how many steps were taken before, a
learning rate, a rule of `tfprune.engine.updates`, and for each of its slots variables like those that are trained,
which the function has as `variables`. It leaves them as they are after the steps, and gives fractions misclassified and
mean cross-entropies before each, float32 (steps,).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import keras
from keras import tree

from tfprune.layers.kept_layers import KeptKernel
from tfprune.layers.topology import calls, functional, named_layers, run


def joined(model: keras.Model, pixels=None) -> keras.Model:
    """A model of the same layers and outputs for computing alone; `model` itself where nothing can be joined.

    Args:
        model: as `tfprune.layers.kept.kept_copy` makes it.
        pixels: mean, scale and images, attributes of those names: inputs are `(bytes − mean) · scale`. Where layers
            that can take the bytes themselves stand first, the model's inputs are these, uint8 (B, D), or numbers of
            images, int32 (B,), where `images` is not None.
    """
    if not any(_can(layer) for _, layer in named_layers(model)):
        return model
    functions, inputs = {}, [(tensor.shape, tensor.dtype) for tensor in model.inputs]
    for layers, is_first in _runs(model):
        given = pixels if is_first and len(inputs) == 1 else None
        function = layers[0].joined(layers, given) if len(layers) > 1 or given is not None else None
        if function is not None:
            functions |= dict.fromkeys(map(id, layers))  # what the first ones make is made by the last
            functions[id(layers[-1])] = _Joined(function)
            if given is not None:
                shape = inputs[0][0]
                inputs = [(shape, "uint8") if given.images is None else (shape[:1], "int32")]
    if not functions:
        return model

    def call(operation: keras.Operation, *args, **kwargs):
        if id(operation) not in functions:
            return operation(*args, **kwargs)
        function = functions[id(operation)]
        return args[0] if function is None else function(args[0])

    inputs = [keras.Input(batch_shape=shape, dtype=dtype) for shape, dtype in inputs]
    outputs = run(model, inputs, call)
    return keras.Model(*(tensors[0] if len(tensors) == 1 else tensors for tensors in (inputs, outputs)))


def stepped(model: keras.Model, pixels) -> Callable | None:
    """What takes whole training steps of a classifier; None where its layers cannot, or are not all that it is.

    Args:
        model: as for `joined`; its outputs are logits.
        pixels: as there; None where inputs are made in another way.
    """
    graph = functional(model)
    made = calls(graph)
    layers = [call.operation for call in made]
    if pixels is None or len({id(layer) for layer in layers}) < len(layers) or len({*map(type, layers)}) != 1:
        return None
    one_by_one = [*graph.inputs, *(tensor for call in made for tensor in call.made)]
    taken = [*(tensor for call in made for tensor in call.given), *graph.outputs]
    is_chain = [*map(id, one_by_one)] == [*map(id, taken)] and not any(call.others for call in made)
    can = isinstance(layers[0], KeptKernel) and layers[0].stepped is not None
    return layers[0].stepped(layers, pixels) if is_chain and can else None


def _runs(model: keras.Model) -> list[tuple[list[KeptKernel], bool]]:
    """Layers of a class of which each is called once, alone takes what the one before it makes.

    And whether the first of them alone takes the model's input.
    """
    calls, inputs = [], [keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype) for tensor in model.inputs]

    def note(operation: keras.Operation, *args, **kwargs):
        made = operation(*args, **kwargs)
        calls.append((operation, args, made))
        return made

    outputs = run(model, inputs, note)
    used = Counter(id(tensor) for tensor in [*tree.flatten([args for _, args, _ in calls]), *outputs])
    called = Counter(id(operation) for operation, _, _ in calls)
    first = {id(tensor) for tensor in inputs}
    ending: dict[int, tuple[list[KeptKernel], bool]] = {}  # id of what a run makes -> the run
    for operation, args, made in calls:
        if not _can(operation) or not args or called[id(operation)] > 1:
            continue
        given = id(args[0])
        alone = used[given] == 1
        before, is_first = ending.get(given, ([], alone and given in first))
        if before and type(before[-1]) is type(operation) and alone:
            del ending[given]
        else:
            before, is_first = [], alone and given in first
        ending[id(made)] = [*before, operation], is_first
    return list(ending.values())


def _can(operation: keras.Operation) -> bool:
    return isinstance(operation, KeptKernel) and operation.joined is not None


class _Joined(keras.layers.Layer):
    """A function of inputs and `training`, whose variables are those of other layers."""

    def __init__(self, function: Callable):
        super().__init__()
        self.supports_jit = False
        self._function = function

    def call(self, inputs, training=None):
        return self._function(inputs, training)
