"""The rule of convolutional LSTMs: an LSTM at each position, whose matrix products are convolutions.

It is unrolled over all its steps, and what is reached is exact. The linear network is that of
`tfprune.connectivity.rules_recurrent`.
"""

from __future__ import annotations

import math

from keras import layers, ops

from tfprune.connectivity.graph import Walk, register_rule
from tfprune.connectivity.rules_kernels import convolved, geometry
from tfprune.connectivity.rules_recurrent import (
    averaged,
    initial_states,
    long_and_short,
    over_gates,
    parted,
    returned,
)
from tfprune.layers.kinds import spatial

GATES = 4


@register_rule(layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D)
def _conv_lstm(walk: Walk, layer, sequences, initial_state=None):
    cell, steps = layer.cell, sequences.shape[1]
    shape = (1, *cell.compute_output_shape((1, *sequences.shape[2:]))[0][1:])
    kernel, recurrent = (walk.kernel(one) for one in (cell.kernel, cell.recurrent_kernel))
    for one in (cell.kernel, cell.recurrent_kernel):
        walk.use(one, steps * math.prod(spatial(cell, shape)))
    own = {**geometry(cell), "padding": cell.padding}
    again = {"padding": "same", "strides": 1, "dilation_rate": 1, "data_format": cell.data_format}
    if layer.go_backwards:
        sequences = walk.linear(lambda x: x[:, ::-1], sequences, cut=False)
    first = initial_states(walk, layer, initial_state, [shape, shape])
    if not walk.boolean:
        kernel, recurrent = over_gates(kernel, GATES), over_gates(recurrent, GATES)
        brought = _at_each_step(sequences, kernel, own)
        outputs = averaged(brought, first, lambda states: _at_each_step(states, recurrent, again))
        return returned(layer, outputs, outputs[:, -1], [outputs[:, -1]] * 2)

    def step(x, states):
        summed = walk.linear(lambda x, h: convolved(x, kernel, **own) + convolved(h, recurrent, **again), x, states[0])
        gates = parted(walk, summed, GATES, axis=1 if cell.data_format == "channels_first" else len(shape) - 1)
        return long_and_short(walk, layer, cell, gates, states[1])

    (outputs, _), last = walk.scan(step, sequences, first)
    return returned(layer, outputs, last[0], last)


def _at_each_step(sequences, kernel, geometry: dict):
    outputs = convolved(ops.reshape(sequences, sequences.shape[1:]), kernel, **geometry)
    return ops.reshape(outputs, (1, *outputs.shape))
