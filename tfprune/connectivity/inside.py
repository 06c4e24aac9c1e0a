"""The graph inside a layer that is made of layers: what its `call` runs, as a Functional model of the same layers.

A layer's `call` on symbolic tensors gives that graph, if it is one: `call` may depend on numbers, or on what is no
tensor. So the graph is run once beside the layer, on random numbers, and taken only if both compute the same.
"""

from __future__ import annotations

import inspect

import keras
import numpy as np
import tensorflow as tf
from keras import ops, tree

_CLOSE = 1e-4  # of the largest number of an output


def graph_inside(layer: keras.Operation, args, kwargs, types) -> keras.Model | None:
    """The Functional model of one example that a layer's `call` runs; None where there is none that does the same.

    Args:
        layer: of a graph.
        args, kwargs: of a call, with tensors (1, ...).
        types: type of every tensor among them, None for floats.

    Returns:
        Model whose inputs are the tensors in the order of `keras.tree.flatten`. It has the layers of `layer`, which
        have no trace of it.
    """
    if not _is_composite(layer) or any(_has_mask(x) for node in layer._inbound_nodes for x in node.input_tensors):
        return None
    parts = list(layer._flatten_layers(include_self=False, recursive=True))
    nodes = [(part, len(part._inbound_nodes), len(part._outbound_nodes)) for part in parts]
    try:
        with tf.init_scope():  # now, while a walk may be traced
            model = _symbolic(layer, args, kwargs, types)
            return model if _computes_the_same(model, layer, args, kwargs) else None
    except Exception:  # code of the layer's author
        return None
    finally:
        for part, inbound, outbound in nodes:
            del part._inbound_nodes[inbound:], part._outbound_nodes[outbound:]


def _is_composite(layer: keras.Operation) -> bool:
    """Whether it is a layer of others, and not one of Keras's own, that has layers with weights inside."""
    if not isinstance(layer, keras.layers.Layer) or type(layer).__module__.startswith("keras."):
        return False
    return any(part.weights for part in layer._flatten_layers(include_self=False, recursive=True))


def _has_mask(tensor: keras.KerasTensor) -> bool:
    # The layers inside would take it from the tensor, unseen by the graph.
    return getattr(tensor, "_keras_mask", None) is not None


def _symbolic(layer, args, kwargs, types) -> keras.Model:
    types, fresh = iter(types), []

    def symbolic(x):
        if tf.is_tensor(x):
            fresh.append(keras.Input(batch_shape=tuple(x.shape), dtype=next(types) or keras.config.floatx()))
            return fresh[-1]
        return x

    args, kwargs = tree.map_structure(symbolic, (args, kwargs))
    return keras.Model(fresh, layer.call(*args, **kwargs), name=layer.name)


def _computes_the_same(model: keras.Model, layer, args, kwargs) -> bool:
    rng = np.random.default_rng(0)
    numbers = [_random(x, rng) for x in model.inputs]
    left = iter(numbers)
    args, kwargs = tree.map_structure(lambda x: next(left) if tf.is_tensor(x) else x, (args, kwargs))
    if "training" in inspect.signature(layer.call).parameters:
        kwargs = {**kwargs, "training": False}
    with keras.StatelessScope():
        expected = [ops.convert_to_numpy(x) for x in tree.flatten(layer(*args, **kwargs))]
        found = [ops.convert_to_numpy(x) for x in tree.flatten(model(numbers, training=False))]
    return len(expected) == len(found) and all(map(_alike, expected, found))


def _random(spec: keras.KerasTensor, rng: np.random.Generator):
    numbers = rng.normal(size=spec.shape) if "float" in spec.dtype else rng.integers(0, 2, spec.shape)
    return ops.convert_to_tensor(numbers, spec.dtype)


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    if one.shape != other.shape or not np.isfinite(one).all():
        return False
    return bool(np.abs(one - other).max(initial=0) <= _CLOSE * np.abs(one).max(initial=0))
