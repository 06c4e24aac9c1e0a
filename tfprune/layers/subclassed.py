"""Subclassed models: a graph of one layer stands for what only runs in a `call` of its own.

Whoever walks a model's graph gets that graph, and may look inside the one layer as into any composite one. Whoever
copies a model copies that layer.
"""

from __future__ import annotations

import inspect

import keras
from keras import tree

from tfprune.errors import InputError
from tfprune.layers.topology import is_graph, layers_of, require_built

# Two underscores: Keras goes through all other attributes when it saves a model.
GRAPH = "__tfprune_graph"


def as_graph(model: keras.Model) -> keras.Model:
    """The model itself, or for a subclassed one the Functional model whose one layer it is; always the same.

    Raises:
        InputError: no built Keras model, or a subclassed one that cannot be called as it was built.
    """
    require_built(model)
    if is_graph(model):
        return model
    if GRAPH not in vars(model):
        vars(model)[GRAPH] = _graph_around(model)
    return vars(model)[GRAPH]


def taken_out(graph: keras.Model, model: keras.Model) -> keras.Model:
    """Of a graph that was made from `as_graph(model)`: the model that stands in it for `model`."""
    if is_graph(model):
        return graph
    (inner,) = [layer for layer in layers_of(graph) if layer.name == model.name]
    if isinstance(inner, keras.Model) and not is_graph(inner):
        vars(inner)[GRAPH] = graph
    return inner


def _graph_around(model: keras.Model) -> keras.Model:
    shapes = getattr(model, "_build_shapes_dict", None) or {}
    names = [name for name in inspect.signature(model.call).parameters if name not in ("training", "mask")]
    looks_up = any(isinstance(layer, keras.layers.Embedding) for layer in model._flatten_layers())
    error = None
    for dtype in ("int32", keras.config.floatx()) if looks_up else (keras.config.floatx(), "int32"):
        for batch in (None, 1):  # some calls need a batch of a known size

            def symbolic(shape, batch=batch, dtype=dtype):
                return keras.Input(batch_shape=(batch, *shape[1:]), dtype=dtype)

            given = [_map_shapes(symbolic, shape) for shape in shapes.values() if shape is not None]
            arguments = dict(zip(names, given, strict=False))
            try:
                first, *others = arguments.values()
                outputs = model(first, **dict(zip(names[1:], others, strict=False)))
                inputs = first if not others else tree.flatten(given)
                return keras.Model(inputs, outputs, name=model.name)
            except Exception as raised:  # code of the model's author
                error = error or raised
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    raise InputError(
        f"model {model.name!r} ({type(model).__name__}) is subclassed, and cannot be called with the shapes that it "
        f"was built with ({reason[:200]}): build it with the functional API, keras.Model(inputs, outputs)"
    ) from error


def _map_shapes(function, shape):
    """Of one shape, or of a structure of them."""
    if isinstance(shape, dict):
        return {key: _map_shapes(function, one) for key, one in shape.items()}
    if any(size is None or isinstance(size, int) for size in shape):
        return function(tuple(shape))
    return [_map_shapes(function, one) for one in shape]
