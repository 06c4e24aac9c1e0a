"""The graph inside a layer that is made of layers: what its `call` runs, as a Functional model of the same layers.

A layer's `call` on symbolic tensors gives that graph, if it is one: `call` may depend on numbers, or on what is no
tensor. So the graph is run once beside the layer, on random numbers, and taken only if both compute the same, with
other kernels than the layer's own, too.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops, tree

from tfprune.layers.kinds import plain_type
from tfprune.layers.topology import is_nested

_CLOSE = 1e-4  # of the largest number of an output
_OPEN = 2, 8  # examples, and what stands for other sizes that are open

# Of Keras's own layers those that only call others. The masks they are called with reach their parts unseen.
_COMPOSITES = (
    *(layers.MultiHeadAttention, layers.GroupQueryAttention),
    *(layers.Bidirectional, layers.TimeDistributed, layers.SpectralNormalization),
)
_HIDDEN_MASKS = ("mask", "query_mask", "value_mask", "key_mask")


@dataclass(frozen=True)
class Inside:
    """What is inside a layer.

    Attributes:
        model: Functional model. Its inputs are the tensors that the layer is called with, in the order of
            `keras.tree.flatten`. It has the layers of the layer, which have no trace of it.
        unseen: weight matrices and tables of the layer that the graph holds as numbers or does not show at all.
    """

    model: keras.Model
    unseen: tuple[keras.Variable, ...]


class Reads(keras.Operation):
    """Stands behind an output of a layer's inner graph for the kernels that the graph does not show.

    It is called with that output and a list of all that the layer is called with.
    """

    def __init__(self, variables: Sequence[keras.Variable]):
        super().__init__()
        self.variables = variables


def is_keras_composite(operation: keras.Operation) -> bool:
    """Whether it is a layer of Keras's that only calls others, as a rule of its own would say."""
    kind = plain_type(operation)
    return any(issubclass(kind, base) and kind.call is base.call for base in _COMPOSITES)


def without_masks(operation: keras.Operation, kwargs: Mapping) -> dict:
    """The arguments of one of Keras's composites with None for the masks that its parts would hide."""
    hidden = _HIDDEN_MASKS if is_keras_composite(operation) else ()
    return {key: None if key in hidden else value for key, value in kwargs.items()}


def graph_inside(layer: keras.Operation, args, kwargs) -> Inside | None:
    """What a layer's `call` runs; None where there is no graph that does the same.

    Args:
        layer: of a graph.
        args, kwargs: of a call, with `keras.KerasTensor`s.
    """
    given = [x for node in layer._inbound_nodes for x in node.input_tensors]
    if not is_keras_composite(layer) and (not _is_own(layer) or any(map(_has_mask, given))):
        return None
    parts = list(layer._flatten_layers(include_self=False, recursive=True))
    nodes = [(part, len(part._inbound_nodes), len(part._outbound_nodes)) for part in parts]
    told = {id(part): (part, tell) for part in parts if (tell := _better_spec(part)) is not None}
    try:
        for part, tell in told.values():
            vars(part)["compute_output_spec"] = functools.partial(tell, part)
        with tf.init_scope():  # now, while a walk may be traced
            model = _symbolic(layer, args, kwargs)
            shown = _shown(model)
            kernels = [
                weight for weight in layer.weights if len(weight.shape) >= 2 and weight.dtype.startswith("float")
            ]
            unseen = tuple(kernel for kernel in kernels if id(kernel) not in shown)
            seen = [kernel for kernel in kernels if id(kernel) in shown]
            return Inside(model, unseen) if _computes_the_same(model, layer, args, kwargs, seen) else None
    except Exception:  # code of the layer's author
        return None
    finally:
        for part, _ in told.values():
            del vars(part)["compute_output_spec"]
        for part, inbound, outbound in nodes:
            del part._inbound_nodes[inbound:], part._outbound_nodes[outbound:]


def _is_own(layer: keras.Operation) -> bool:
    """Whether it is a layer of which nothing is known but its `call`: none of Keras's own."""
    return isinstance(layer, keras.layers.Layer) and not plain_type(layer).__module__.startswith("keras.")


def _better_spec(part: keras.layers.Layer) -> Callable | None:
    """What tells the shape of a layer's outputs where its own way fails."""

    def giver(name: str) -> type:
        return next(kind for kind in type(part).__mro__ if name in vars(kind))

    if giver("call") is layers.Softmax:
        # Keras takes a product with a number for a sparse tensor, and cannot trace a softmax of one.
        return lambda part, inputs, *args, **kwargs: keras.KerasTensor(inputs.shape, part.compute_dtype)
    tells, calls = giver("compute_output_spec"), giver("call")
    # Its `call` may have other arguments than the class that tells the shapes knows.
    return keras.Operation.compute_output_spec if tells is not calls and issubclass(calls, tells) else None


def _has_mask(tensor: keras.KerasTensor) -> bool:
    # The layers inside would take it from the tensor, unseen by the graph.
    return getattr(tensor, "_keras_mask", None) is not None


def _symbolic(layer, args, kwargs) -> keras.Model:
    fresh = []

    def symbolic(x):
        if isinstance(x, keras.KerasTensor):
            fresh.append(keras.Input(batch_shape=tuple(x.shape), dtype=x.dtype))
            return fresh[-1]
        return x

    args, kwargs = tree.map_structure(symbolic, (args, kwargs))
    if issubclass(plain_type(layer), layers.TimeDistributed):
        return keras.Model(fresh, _step_by_step(layer, *args, **kwargs), name=layer.name)
    if issubclass(plain_type(layer), layers.MultiHeadAttention) and layer._value_dim != layer._key_dim:
        return keras.Model(fresh, _attention_by_scores(layer, args, kwargs), name=layer.name)
    # A masked layer's own `call` puts numbers in place of its kernels.
    return keras.Model(fresh, plain_type(layer).call(layer, *args, **kwargs), name=layer.name)


def _attention_by_scores(layer: layers.MultiHeadAttention, args, kwargs):
    """What attention gives, without Keras's fused operation, which tells the width of keys for that of values."""
    with_scores = {**kwargs, "return_attention_scores": True}
    outputs = plain_type(layer).call(layer, *args, **with_scores)
    return outputs if kwargs.get("return_attention_scores") else outputs[0]


def _step_by_step(distributed: layers.TimeDistributed, inputs, training=None, mask=None):
    """What a `TimeDistributed` layer does, with calls of its layer that a graph shows."""
    if tuple(inputs.shape)[1] is None:
        raise ValueError("an open number of steps")
    return ops.stack([distributed.layer(inputs[:, at]) for at in range(inputs.shape[1])], axis=1)


def _shown(model: keras.Model) -> set[int]:
    """Ids of the variables that a walk along a graph meets."""
    shown: set[int] = set()
    for operation in model.operations:
        shown |= {id(weight) for weight in getattr(operation, "weights", ())}
        if not is_nested(operation):
            given = [node.arguments for node in operation._inbound_nodes]
            leaves = tree.flatten([(one.args, one.kwargs) for one in given])
            shown |= {id(leaf) for leaf in leaves if isinstance(leaf, keras.Variable)}
    return shown


def _computes_the_same(model: keras.Model, layer, args, kwargs, kernels: Sequence[keras.Variable]) -> bool:
    rng = np.random.default_rng(0)
    numbers = [_random(x, rng) for x in model.inputs]
    left = iter(numbers)
    args, kwargs = tree.map_structure(lambda x: next(left) if isinstance(x, keras.KerasTensor) else x, (args, kwargs))
    plain, call = plain_type(layer), layer
    if type(layer) is not plain:

        def call(*args, **kwargs):
            return plain.call(layer, *args, **kwargs)

    if "training" in inspect.signature(plain.call).parameters:
        kwargs = {**kwargs, "training": False}
    others = [(kernel, ops.convert_to_tensor(rng.normal(size=kernel.shape) * 0.5, kernel.dtype)) for kernel in kernels]
    with keras.StatelessScope(others):
        expected = [ops.convert_to_numpy(x) for x in tree.flatten(call(*args, **kwargs))]
        found = [ops.convert_to_numpy(x) for x in tree.flatten(model(numbers, training=False))]
    return len(expected) == len(found) and all(map(_alike, expected, found))


def _random(spec: keras.KerasTensor, rng: np.random.Generator):
    shape = [_OPEN[axis > 0] if size is None else size for axis, size in enumerate(spec.shape)]
    numbers = rng.normal(size=shape) if "float" in spec.dtype else rng.integers(0, 2, shape)
    return ops.convert_to_tensor(numbers, spec.dtype)


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    if one.shape != other.shape or not np.isfinite(one).all():
        return False
    return bool(np.abs(one - other).max(initial=0) <= _CLOSE * np.abs(one).max(initial=0))
