"""A model with fewer channels, built anew from the configurations of its layers."""

from __future__ import annotations

import keras
import numpy as np

from tfprune.errors import InputError
from tfprune.layers.copying import plain_layer, remade
from tfprune.layers.own_models import warn_of_lost_class
from tfprune.layers.state import build_inner, take_over
from tfprune.layers.topology import named_layers
from tfprune.layers.weights import layer_variables
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
    paths = {id(layer): path for path, layer in named_layers(model)}

    def count(channels: np.ndarray) -> int:
        return int(np.count_nonzero(stays[channels]))

    def smaller(layer: keras.Operation) -> keras.Operation:
        path = paths.get(id(layer))

        def change(config: dict) -> dict:
            if path in trace.edits:
                trace.edits[path](config, count, f"{path}/bias" in trace.weights)
            return config

        return plain_layer(layer, change)

    def input_shape(tensor) -> tuple:
        signal = trace.inner_inputs.get(id(tensor))
        if signal is None or signal.axis is None:
            return tensor.shape
        shape = list(tensor.shape)
        shape[signal.axis] = count(signal.channels)
        return tuple(shape)

    copy = remade(model, smaller, input_shape)
    warn_of_lost_class(model, copy)
    for (path, layer), (_, new) in zip(named_layers(model), named_layers(copy), strict=True):
        _assign(path, layer, new, trace, stays)
    return copy


def _assign(path: str, layer, new, trace: Trace, stays: np.ndarray) -> None:
    build_inner(layer, new)
    old, copies = layer_variables(layer), layer_variables(new)
    values = {
        name: _value(f"{path}/{name}", old.get(name), trace, stays)
        for name in copies
        if name in old or f"{path}/{name}" in trace.weights  # biases come and go
    }
    fits = set(values) == set(copies) and set(old) - set(copies) <= {"bias"}
    if not fits or any(values[name].shape != tuple(variable.shape) for name, variable in copies.items()):
        raise InputError(f"layer {path!r} ({type(layer).__name__}) cannot be copied: its copy has other variables")
    for name, variable in copies.items():
        variable.assign(values[name])
    take_over(layer, new)


def _value(path: str, old: keras.Variable | None, trace: Trace, stays: np.ndarray) -> np.ndarray:
    value = trace.weights[path] if path in trace.weights else old.numpy()
    for axis, channels in trace.axes.get(path, {}).items():
        value = np.compress(stays[channels], value, axis)
    return value
