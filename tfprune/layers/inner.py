"""What is inside a layer: the layers that it is made of and its variables, by names that every copy and file shares.

A name is the way from the layer to the variable, by attributes: `cell.recurrent_kernel` of an LSTM,
`self_attention_layer.query_dense.kernel` of a decoder block, `blocks.0.kernel` of a layer in a list. Leading
underscores are left out. The names of the inner layers themselves do not serve: Keras numbers them through all models
of a process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import keras

from tfprune.layers.topology import is_graph, layers_of

_UNNAMED = re.compile(r"variable(_\d+)?")
# Keras's own lists of what a layer has, beside the attributes; TensorFlow's are left out, too.
_LISTS = frozenset({"_layers", "_metrics", "_trainable_variables", "_non_trainable_variables", "_seed_generators"})


def inner_layers(layer: keras.layers.Layer) -> Iterator[tuple[str, keras.layers.Layer]]:
    """(name, layer) of a layer itself, whose name is empty, and of all within it, each once, outer ones first."""
    seen: set[int] = set()

    def visit(one: keras.layers.Layer, name: str):
        if id(one) in seen:
            return
        seen.add(id(one))
        yield name, one
        for part, inner in _parts(one):
            yield from visit(inner, _joined(name, part))

    yield from visit(layer, "")


def own_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Those of a layer and of no layer within it, in the order in which Keras numbers them in files."""
    return layer._trainable_variables + layer._non_trainable_variables  # no public way to see them


def inner_variables(layer: keras.layers.Layer) -> dict[str, keras.Variable]:
    """Name -> variable of a layer and of all within it, in Keras's order, masks and states of generators among them."""
    names: dict[int, str] = {}
    taken: set[str] = set()

    def give(variable: keras.Variable, name: str) -> None:
        free, number = name, 0
        while free in taken:
            number += 1
            free = f"{name}_{number}"
        taken.add(free)
        names[id(variable)] = free

    for name, one in inner_layers(layer):
        attributes = {id(value): key for key, value in vars(one).items() if isinstance(value, keras.Variable)}
        for variable in own_variables(one):
            if id(variable) not in names:
                give(variable, _joined(name, _own_name(variable, attributes)))
    for variable in layer.variables:
        if id(variable) not in names:
            give(variable, _own_name(variable, {}))
    return {names[id(variable)]: variable for variable in layer.variables}


def _own_name(variable: keras.Variable, attributes: dict[int, str]) -> str:
    if _UNNAMED.fullmatch(variable.name):
        return attributes.get(id(variable), "variable").lstrip("_")
    return variable.name


def _parts(layer: keras.layers.Layer) -> Iterator[tuple[str, keras.layers.Layer]]:
    """The layers that one has directly, in the order in which it got them."""
    if isinstance(layer, keras.Model) and is_graph(layer):
        yield from ((str(place), inner) for place, inner in enumerate(layers_of(layer)))
    if not layer._layers:  # most have none: looking for their names would cost more than all else of a walk
        return
    names: dict[int, str] = {}
    for key, value in vars(layer).items():
        if key not in _LISTS and not key.startswith(("_self_unconditional", "_self_tracked")):
            for name, inner in _held(key.lstrip("_"), value):
                names.setdefault(id(inner), name)
    for place, inner in enumerate(layer._layers):
        if not isinstance(inner, keras.metrics.Metric):
            yield names.get(id(inner), str(place)), inner


def _held(name: str, value) -> Iterator[tuple[str, keras.layers.Layer]]:
    if isinstance(value, keras.layers.Layer):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _held(f"{name}.{key}", item)
    elif isinstance(value, (list, tuple)):
        for place, item in enumerate(value):
            yield from _held(f"{name}.{place}", item)


def _joined(outer: str, name: str) -> str:
    return f"{outer}.{name}" if outer else name
