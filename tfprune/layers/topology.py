"""The one place that knows how a Keras model hangs together: its operations, their order and their names.

A nested Sequential or Functional model is part of the graph. A nested subclassed one is a layer like others.

A layer's path is the chain of layer names that leads to it from the model, `block/conv`, without the model's own name.
Keras's `variable.path` does not serve as a key: two nested models may each hold a `dense/kernel`, and the prefix of a
Sequential model comes and goes with saving and cloning. Layer names are unique within a model and survive both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import keras
from keras import tree

from tfprune.errors import InputError

Operation = keras.Operation


def require_graph(model: keras.Model) -> None:
    """Refuses what is not a built Sequential or Functional model, or has a nested one that is not built.

    Raises:
        InputError: as for `require_built`, or subclassed; says what to do instead.
    """
    require_built(model)
    if not is_graph(model):
        raise InputError(
            f"model {model.name!r} is a subclassed model ({type(model).__name__}), whose graph is not known: build it "
            "with the functional API, keras.Model(inputs, outputs), or as keras.Sequential"
        )


def require_built(model: keras.Model) -> None:
    """Refuses what is not a built Keras model, or has a nested graph that is not built.

    Raises:
        InputError: not a Keras model, or not built; says what to do instead.
    """
    if any(kind.__module__.split(".")[0] == "tf_keras" for kind in type(model).__mro__):
        raise InputError(
            f"this is a tf_keras (Keras 2) model ({type(model).__name__}), a Keras 3 model is needed: build it with "
            "keras instead of tf_keras, without TF_USE_LEGACY_KERAS=1, and give it the weights by set_weights"
        )
    if not isinstance(model, keras.Model):
        raise InputError(f"a Keras model is needed. Received: {type(model).__name__}")
    for path, inner in [("", model), *_inner_models(model, "")]:
        name = f"model {path or inner.name!r}"
        if not is_graph(inner) and not inner.weights:  # `build` of a subclassed model builds none of its layers
            raise InputError(f"{name} ({type(inner).__name__}) has no weights yet: call it on an example, model(x)")
        if not inner.built:
            raise InputError(f"{name} has no weights yet: give it a keras.Input or call model.build(input_shape)")
        if is_graph(inner) and not getattr(inner, "inputs", None):  # a Sequential model whose graph Keras gave up
            raise InputError(
                f"the graph of {name} is not known: give it a keras.Input, and each own layer a compute_output_shape"
            )


def named_layers(model: keras.Model) -> Iterator[tuple[str, keras.layers.Layer]]:
    """(path, layer) of every layer that is not itself a graph of layers, in network order, each shared layer once.

    A subclassed model is one layer, whose path is its name.
    """
    if not is_graph(model):
        yield model.name, model
        return
    seen: set[int] = set()

    def visit(inner: keras.Model, prefix: str):
        for layer in layers_of(inner):
            if id(layer) in seen:
                continue
            seen.add(id(layer))
            if is_nested(layer):
                yield from visit(layer, f"{prefix}{layer.name}/")
            else:
                yield f"{prefix}{layer.name}", layer

    yield from visit(model, "")


def layers_of(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers of a model's graph, nested models among them, whatever an own class says of its `layers`."""
    kind = graph_class(model)
    return kind.layers.fget(model) if isinstance(model, kind) else model.layers


def run(model: keras.Model, inputs: list, call: Callable) -> list:
    """Runs tensors through the operations of `model` in topological order.

    Args:
        model: Sequential or Functional.
        inputs: flat list of tensors, one per `model.inputs`. Symbolic ones build a new graph.
        call: `call(operation, *args, **kwargs)`, what to compute for a layer, a nested model or a Keras operation; the
            arguments are those of the original call with the tensors filled in.

    Returns:
        Flat list of tensors, one per `model.outputs`.
    """
    if isinstance(model, keras.Sequential):
        (value,) = inputs
        for layer in layers_of(model):
            value = call(layer, value)
        return tree.flatten(value)
    # Keras has no public way to evaluate a graph with other operations than its own; its clone_model uses this one.
    outputs = model._run_through_graph(inputs, call_fn=call)
    return tree.flatten(outputs)


@dataclass(frozen=True)
class Call:
    """Of an operation in a model's graph.

    Attributes:
        operation: layer, nested model or Keras operation.
        given, made: flat lists of the graph's tensors.
        others: what it is called with beyond tensors, as `training=True`, without None and False.
    """

    operation: Operation
    given: list[keras.KerasTensor]
    made: list[keras.KerasTensor]
    others: list


def calls(model: keras.Model) -> list[Call]:
    """All calls in a graph, in the order in which `run_as_called` makes them; those of nested models are one each.

    Args:
        model: Sequential or Functional.
    """
    graph = functional(model)
    return [
        Call(node.operation, list(node.input_tensors), list(node.outputs), _others(node.arguments))
        for depth in sorted(graph._nodes_by_depth, reverse=True)
        for node in graph._nodes_by_depth[depth]
        if node.operation and not node.is_input
    ]


def _others(arguments) -> list:
    every = tree.flatten((arguments.args, arguments.kwargs))
    return [one for one in every if not (isinstance(one, keras.KerasTensor) or one is None or one is False)]


def run_as_called(model: keras.Model, inputs, other: Callable, training: bool | None = None):
    """What calling a model gives, where other operations stand in its graph.

    Args:
        model: Sequential or Functional.
        inputs, training: as the model is called with.
        other: from an operation to what is called in its place.
    """
    graph = functional(model)

    def called(operation: Operation) -> Callable:
        call = other(operation)
        if training is None or not isinstance(operation, keras.layers.Layer):
            return call
        return lambda *args, **kwargs: call(*args, **{**kwargs, "training": training})

    return graph._run_through_graph(graph._standardize_inputs(inputs), operation_fn=called)


def functional(model: keras.Model) -> keras.Model:
    """The Functional model that computes what a built model with a graph does: that of a Sequential one, or itself."""
    return model._functional if isinstance(model, keras.Sequential) else model


def flat_inputs(model: keras.Model, inputs) -> list:
    """What a nested model is called with, as a flat list in the order of `model.inputs`."""
    # A nested model called with a dict may have been built from a list, as Keras allows: then names decide.
    if isinstance(inputs, dict) and not isinstance(model.input, dict):
        return [inputs[tensor.name] for tensor in model.inputs]
    return tree.flatten(inputs)


def is_graph(model: keras.Model) -> bool:
    """Whether it is a Sequential or Functional model that computes what its graph says."""
    plain = graph_class(model)
    return isinstance(model, plain) and type(model).call is plain.call


def graph_class(model: keras.Model) -> type:
    """The one of Keras's two classes of models with a graph that a model is of, or could only be of."""
    return keras.Sequential if isinstance(model, keras.Sequential) else FUNCTIONAL


def is_nested(operation: keras.Operation) -> bool:
    """Whether an operation of a graph is a model whose own graph takes its place."""
    return isinstance(operation, keras.Model) and is_graph(operation)


def _inner_models(model: keras.Model, prefix: str) -> Iterator[tuple[str, keras.Model]]:
    if not is_graph(model):
        return
    for layer in layers_of(model):
        if is_nested(layer):
            yield f"{prefix}{layer.name}", layer
            yield from _inner_models(layer, f"{prefix}{layer.name}/")


def _functional_class() -> type:
    pixel = keras.Input((1,))
    return type(keras.Model(pixel, pixel))


FUNCTIONAL = _functional_class()  # of what `keras.Model(inputs, outputs)` makes; Keras has no public name for it
