"""Rules of recurrent layers, whose units are channels, and of what wraps layers."""

from __future__ import annotations

import functools
from collections.abc import Callable

import keras
import numpy as np
from keras import KerasTensor, layers, tree

from tfprune.layers.kinds import plain_type
from tfprune.layers.live import held
from tfprune.surgery.activations import is_elementwise
from tfprune.surgery.channels import Signal
from tfprune.surgery.links import Join
from tfprune.surgery.rules_layers import merged, product, product_uses
from tfprune.surgery.trace import Trace, register_rule
from tfprune.surgery.units import Units

_MERGES = {
    "sum": (lambda *constants: np.sum(constants, axis=0), None),
    "ave": (lambda *constants: np.mean(constants, axis=0), None),
    "mul": (product, product_uses),
}


@functools.cache
def _cells() -> dict[type, tuple[int, int]]:
    """Class of a cell -> number of its gates, and which of them makes the new in a unit."""
    # Of all ranks; Keras has no public name for it. Not made at import: a layer makes TensorFlow look for devices.
    convolutional = type(layers.ConvLSTM1D(1, 1).cell)
    return {layers.SimpleRNNCell: (1, 0), layers.GRUCell: (3, 2), layers.LSTMCell: (4, 2), convolutional: (4, 2)}


@register_rule(layers.SimpleRNN, layers.GRU, layers.LSTM, layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D)
def _recurrent(trace: Trace, layer, spec, sequences, initial_state=None, mask=None, **_):
    states = [x for x in tree.flatten(initial_state) if x is not None]
    if not _is_known(layer) or not all(isinstance(x, Signal) for x in states):
        return trace.keep_whole(layer, spec, sequences, initial_state, mask)
    outputs = _through_units(trace, layer, tree.flatten(spec), sequences, states)
    trace.depend(outputs, mask)
    trace.edit(layer, _edit_units(trace, layer))
    return tree.pack_sequence_as(spec, outputs)


@register_rule(layers.Bidirectional)
def _bidirectional(trace: Trace, layer, spec, sequences, initial_state=None, mask=None, **_):
    """Both directions have as many units: Keras says the shape of the outputs by one of them."""
    both = layer.forward_layer, layer.backward_layer
    known = all(type(one) in (layers.SimpleRNN, layers.GRU, layers.LSTM) and _is_known(one) for one in both)
    if not known or initial_state is not None or both[0].units != both[1].units or layer.return_state:
        return trace.keep_whole(layer, spec, sequences, initial_state, mask)
    inner = [KerasTensor((*first.shape[:-1], both[0].units), first.dtype) for first in tree.flatten(spec)[:1]]
    outputs = [_through_units(trace, one, inner, sequences, [])[0] for one in both]
    trace.depend(outputs, mask)
    trace.channels.couple(*(output.channels for output in outputs))
    edits = [_edit_units(trace, one) for one in both]

    def edit(config, count, biased):
        for key, one in zip(("layer", "backward_layer"), edits, strict=True):
            one(config[key]["config"], count, biased)

    trace.edit(layer, edit)
    if layer.merge_mode is None:
        return tree.pack_sequence_as(spec, outputs)
    if layer.merge_mode in _MERGES:
        return merged(trace, layer, spec, outputs, *_MERGES[layer.merge_mode])
    output = trace.signal(spec, -1, np.concatenate([one.channels for one in outputs]))
    trace.links.append(Join(outputs, output))
    return output


@register_rule(layers.TimeDistributed)
def _time_distributed(trace: Trace, layer, spec, inputs, mask=None, **_):
    """What the layer within does to each step."""
    inner, shape = layer.layer, inputs.spec.shape
    masked = isinstance(mask, Signal) and inner._call_has_mask_arg  # others do not see it
    if masked or isinstance(inner, keras.Model) or isinstance(spec, (list, tuple)) or (inputs.axis or 0) < 2:
        return trace.keep_whole(layer, spec, inputs, mask)
    step = KerasTensor((shape[0], *shape[2:]), inputs.spec.dtype)
    given = trace.slotwise([inputs], step, np.copy, axis=inputs.axis - 1)
    output = trace.call(inner, given)
    if not isinstance(output, Signal):
        return trace.keep_whole(layer, spec, inputs)
    edit = trace.edit_of(inner)
    if edit is not None:

        def outer(config, count, biased):
            if held(config["layer"]) is None:  # else it is a layer of the graph itself, which has a copy
                edit(config["layer"]["config"], count, trace.path(inner, "bias") in trace.weights)

        trace.edit(layer, outer)
    if output.axis is None:
        trace.channels.fix(output.channels)
        return trace.keep(layer, spec, output)
    return trace.slotwise([output], spec, np.copy, axis=output.axis + 1)


def _through_units(trace: Trace, layer, specs, sequences: Signal, states: list[Signal]) -> list[Signal]:
    cell = layer.cell
    gates, candidate = _cells()[plain_type(cell)]
    axis = -1 - cell.rank if getattr(cell, "data_format", None) == "channels_first" else -1
    x = trace.along(sequences, axis)
    trace.bind(layer, cell.kernel, len(cell.kernel.shape) - 2, x.channels)
    units = _units_of(trace, layer)
    for variable in (cell.kernel, cell.recurrent_kernel, cell.bias):
        if variable is not None:
            trace.bind(layer, variable, len(variable.shape) - 1, np.tile(units, gates))
    states = [trace.along(state, axis) for state in states]
    for state in states:
        trace.channels.couple(units, state.channels)

    def make():
        paths = trace.path_of(cell.kernel), trace.path_of(cell.recurrent_kernel), trace.path(cell, "bias")
        zero = float(keras.ops.convert_to_numpy(cell.activation(keras.ops.zeros((1,))))[0]) == 0
        return Units(trace.weights, *paths, units, gates, candidate if zero else None)

    state = trace.signal(KerasTensor((None, len(units)), "float32"), 1, units)
    outputs = [trace.signal(spec, axis, units) for spec in specs]
    made = trace.kernel(layer, cell.kernel, make)
    trace.links.append(made.use(x, states, state, outputs, rests=not states))
    return outputs


def _edit_units(trace: Trace, layer) -> Callable:
    units, size = _units_of(trace, layer), "filters" if hasattr(layer.cell, "filters") else "units"
    return lambda config, count, biased: config.update({size: count(units)})


def _units_of(trace: Trace, layer) -> np.ndarray:
    recurrent = layer.cell.recurrent_kernel
    return trace.outputs_of(layer, recurrent, len(recurrent.shape) - 2)


def _is_known(layer) -> bool:
    cell = layer.cell
    functions = [cell.activation, getattr(cell, "recurrent_activation", None)]
    return plain_type(cell) in _cells() and not layer.stateful and all(map(is_elementwise, functions))
