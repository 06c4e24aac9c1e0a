"""A model with fewer channels, built anew from the configurations of its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import keras
import numpy as np

from tfprune.errors import InputError
from tfprune.layers.copying import plain_layer, remade
from tfprune.layers.own_models import warn_of_lost_class
from tfprune.layers.state import build_alike, build_inner, take_over
from tfprune.layers.topology import named_layers
from tfprune.layers.weights import layer_variables, weight_variables
from tfprune.surgery.trace import Trace


def rebuild(model: keras.Model, trace: Trace, stays: np.ndarray) -> keras.Model:
    """A copy of a model in plain Keras, with the weights of a trace, without some channels.

    Args:
        model: the traced model; is left as it is.
        trace: its channels, and the weights that the copy gets.
        stays: bool array, for every channel of the trace, alike for coupled ones.

    Returns:
        Model with the same names of layers; not compiled.
    """

    def count(channels: np.ndarray) -> int:
        return int(np.count_nonzero(stays[channels]))

    def smaller(layer: keras.Operation) -> keras.Operation | Callable:
        if not isinstance(layer, keras.layers.Layer):
            edit = trace.edit_of(layer)
            return layer if edit is None else _edited(layer, lambda config: edit(config, count, False))
        own = trace.own.get(id(layer))
        changes = own.changes(trace, stays) if own is not None and own.shrinks(trace, stays) else {}
        if changes is None:
            told = f"layer {layer.name!r} ({type(layer).__name__}) cannot be made smaller"
            raise InputError(f"{told}: no arguments of its constructor are known to leave it what is to stay")

        def change(config: dict) -> dict:
            config |= changes
            edit = trace.edit_of(layer)
            if edit is not None:
                edit(config, count, trace.path(layer, "bias") in trace.weights)
            return config

        copy = plain_layer(layer, change)
        if trace.is_whole(layer, stays):
            build_alike(layer, copy)
        return copy

    def input_shape(tensor) -> tuple:
        signal = trace.inner_inputs.get(id(tensor))
        if signal is None or signal.axis is None:
            return tensor.shape
        shape = list(tensor.shape)
        shape[signal.axis] = count(signal.channels)
        return tuple(shape)

    def inside(layer: keras.Operation) -> keras.Model | None:
        opened = trace.opened.get(id(layer))
        return opened.graph if opened is not None and opened.shrinks(stays) else None

    made: dict[int, keras.Operation] = {}
    copy = remade(model, smaller, input_shape, inside, made)
    warn_of_lost_class(model, copy)
    paths = {id(variable): path for path, variable in weight_variables(model).items()}
    for path, layer in _copied(model, inside):
        if id(layer) in made:  # inputs are not
            _assign(path, layer, made[id(layer)], trace, stays, paths)
    return copy


def _edited(operation: keras.Operation, edit: Callable[[dict], None]) -> Callable:
    """A Keras operation with other arguments; a `key` is one of the call."""
    config = operation.get_config()
    edit(config)
    key = config.pop("key", None)
    new = type(operation).from_config(config)
    return new if key is None else lambda x, _: new(x, key)


def _copied(model: keras.Model, inside: Callable, prefix: str = "") -> Iterator[tuple[str, keras.layers.Layer]]:
    """(path, layer) of the layers that have a copy each: of a model, and of layers whose parts take their place."""
    for path, layer in named_layers(model):
        graph = inside(layer)
        if graph is None:
            yield prefix + path, layer
        else:
            yield from _copied(graph, inside, f"{prefix}{path}/")


def _assign(path: str, layer, new, trace: Trace, stays: np.ndarray, known: Mapping[int, str]) -> None:
    build_inner(layer, new)
    old, copies = layer_variables(layer), layer_variables(new)
    # Biases come and go; states of generators have no path.
    paths = {name: known.get(id(old[name]), "") if name in old else trace.path(layer, name) for name in copies}
    values = {
        name: _value(paths[name], old.get(name), trace, stays)
        for name in copies
        if name in old or paths[name] in trace.weights
    }
    fits = set(values) == set(copies) and set(old) - set(copies) <= {"bias"}
    if not fits or any(values[name].shape != tuple(variable.shape) for name, variable in copies.items()):
        raise InputError(f"layer {path!r} ({type(layer).__name__}) cannot be copied: its copy has other variables")
    for name, variable in copies.items():
        variable.assign(values[name])
    take_over(layer, new)


def _value(path: str, old: keras.Variable | None, trace: Trace, stays: np.ndarray) -> np.ndarray:
    return trace.narrowed(path, trace.weights[path] if path in trace.weights else old.numpy(), stays)
