"""Rules of recurrent layers.

Every gate of a unit belongs to it: column j of each gate's part of the kernel and of the recurrent kernel leads to unit
j. Up to `UNROLLED` steps the layer is unrolled, and what is reached is exact. Over more steps the gates of a unit count
as one, and each step can be felt by all later ones: units that lead to each other in any number of steps, an upper
bound that no number of steps exceeds.

In the linear network gates as factors and activations are dropped: what a step brings in goes through the sum of a
unit's gates, the state is the mean of what the steps so far brought in, and goes through the recurrent kernel once:
`mean(x)·K + (mean(x)·K)·R`, K and R summed over gates. Every path from a step to a later one is in it, at its shortest.
Unrolled over all steps, powers of R would leave the range of numbers, and the rank of weights would be that of the
longest walks alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import tensorflow as tf
from keras import layers, ops, tree

from tfprune.connectivity.activations import activated
from tfprune.connectivity.graph import Walk, register_rule

UNROLLED = 16


@register_rule(layers.SimpleRNN)
def _simple_rnn(walk: Walk, layer, sequences, initial_state=None):
    def step(x, states, kernels):
        summed = walk.linear(lambda x, h: ops.matmul(x, kernels[0]) + ops.matmul(h, kernels[1]), x, states[0])
        return [_finished(walk, layer, layer.cell.activation, summed)]

    return _recurrent(walk, layer, sequences, initial_state, gates=1, states=1, step=step)


@register_rule(layers.LSTM)
def _lstm(walk: Walk, layer, sequences, initial_state=None):
    cell = layer.cell

    def step(x, states, kernels):
        gates = _gates(walk, x, states[0], kernels, 4)
        let_in, keep, show = (_finished(walk, layer, cell.recurrent_activation, gates[at]) for at in (0, 1, 3))
        new = _finished(walk, layer, cell.activation, gates[2])
        kept, added = walk.product(ops.multiply, keep, states[1]), walk.product(ops.multiply, let_in, new)
        carry = walk.linear(ops.add, kept, added)
        shown = activated(walk, cell.activation, walk.linear(tf.identity, carry), layer)
        return [walk.linear(tf.identity, walk.product(ops.multiply, show, shown)), carry]

    return _recurrent(walk, layer, sequences, initial_state, gates=4, states=2, step=step)


@register_rule(layers.GRU)
def _gru(walk: Walk, layer, sequences, initial_state=None):
    cell = layer.cell

    def step(x, states, kernels):
        (state,) = states
        both, own = (
            [kernel[:, at] for kernel in kernels] for at in (slice(2 * cell.units), slice(2 * cell.units, None))
        )
        gates = _gates(walk, x, state, both, 2)
        update, reset = (_finished(walk, layer, cell.recurrent_activation, gate) for gate in gates)
        if cell.reset_after:
            recalled = walk.linear(lambda h: ops.matmul(h, own[1]), state)
            recalled = walk.lift(recalled) if cell.use_bias else recalled
            recalled = walk.product(ops.multiply, reset, recalled)
            summed = walk.linear(lambda x, r: ops.matmul(x, own[0]) + r, x, recalled)
        else:
            recalled = walk.linear(tf.identity, walk.product(ops.multiply, reset, state))
            summed = walk.linear(lambda x, r: ops.matmul(x, own[0]) + ops.matmul(r, own[1]), x, recalled)
        new = _finished(walk, layer, cell.activation, summed)
        replace = walk.lift(walk.linear(tf.identity, update))  # 1 - update
        kept, added = walk.product(ops.multiply, update, state), walk.product(ops.multiply, replace, new)
        return [walk.linear(ops.add, kept, added)]

    return _recurrent(walk, layer, sequences, initial_state, gates=3, states=1, step=step)


def _recurrent(walk: Walk, layer, sequences, initial_state, gates: int, states: int, step: Callable):
    """What a layer returns.

    Args:
        gates: into which the columns of its kernels are divided.
        states: tensors that it hands from step to step; the first is its output.
        step: (x of a step, states, [kernel, recurrent kernel]) -> states.
    """
    cell, (_, steps, _) = layer.cell, sequences.shape
    kernels = [walk.kernel(cell.kernel), walk.kernel(cell.recurrent_kernel)]
    for kernel in (cell.kernel, cell.recurrent_kernel):
        walk.use(kernel, steps)
    if layer.go_backwards:
        sequences = walk.linear(lambda x: x[:, ::-1], sequences, cut=False)
    first = _initial(walk, layer, initial_state, states)
    if not walk.boolean:
        found, last = _linear(sequences, kernels, first, gates)
    elif steps > UNROLLED:
        found, last = _closed(walk, layer, sequences, kernels, first, gates)
    else:
        (found, *_), last = walk.scan(lambda x, states: step(x, states, kernels), sequences, first)
    outputs = found if layer.return_sequences else last[0]
    return (outputs, *last) if layer.return_state else outputs


def _gates(walk: Walk, x, state, kernels: Sequence, count: int) -> list:
    """What inputs and state bring to each of the gates that share kernels, of which each has its columns."""
    summed = walk.linear(lambda x, h: ops.matmul(x, kernels[0]) + ops.matmul(h, kernels[1]), x, state)
    units = summed.shape[-1] // count
    parts = [slice(at * units, (at + 1) * units) for at in range(count)]
    return [walk.linear(lambda x, part=part: x[:, part], summed, cut=False) for part in parts]


def _initial(walk: Walk, layer, given, count: int) -> list:
    if given is not None:
        flat = tree.flatten(given)
        if any(map(tf.is_tensor, flat)):
            return flat
    zeros = [walk.linear(lambda: tf.zeros((1, layer.cell.units))) for _ in range(count)]
    if given is None and not layer.stateful:
        return zeros
    # Numbers, or what the examples before have left: that depends on the input.
    return [ops.ones_like(state) for state in zeros] if given is None else [walk.lift(state) for state in zeros]


def _finished(walk: Walk, layer, activation, x):
    return activated(walk, activation, walk.lift(x) if layer.cell.use_bias else x, layer)


def _over_gates(kernel: tf.Tensor, gates: int) -> tf.Tensor:
    rows, columns = kernel.shape
    return tf.reduce_sum(tf.reshape(kernel, (rows, gates, columns // gates)), axis=1)


def _linear(sequences, kernels: Sequence, first: Sequence, gates: int):
    kernel, recurrent = (_over_gates(one, gates) for one in kernels)
    counts = tf.range(1, sequences.shape[1] + 1, dtype=tf.float32)[None, :, None]
    states = tf.cumsum(ops.matmul(sequences, kernel), axis=1) / counts + tf.add_n(list(first))[:, None]
    outputs = states + ops.matmul(states, recurrent)
    return outputs, [outputs[:, -1] for _ in first]


def _closed(walk: Walk, layer, sequences, kernels: Sequence, first: Sequence, gates: int):
    kernel, recurrent = (_over_gates(one, gates) for one in kernels)
    leads = tf.stop_gradient(recurrent) + tf.eye(recurrent.shape[0])  # a unit to a unit, in at most one step
    for _ in range(math.ceil(math.log2(max(2, recurrent.shape[0])))):
        leads = tf.cast(ops.matmul(leads, leads) > 0.5, tf.float32)

    def closure(given, *states):
        first = tf.add_n(list(states))[:, None]
        brought = walk.cut(ops.matmul(given, kernel))
        brought = tf.concat([brought[:, :1] + first, brought[:, 1:]], axis=1)
        reached = tf.stop_gradient(walk.cut(ops.matmul(walk.cut(tf.cumsum(brought, axis=1)), leads)))
        # What the recurrent kernel brings leads to nothing new; it is there for the kernel's gradient.
        before = tf.concat([tf.stop_gradient(first), reached[:, :-1]], axis=1)
        brought += walk.cut(ops.matmul(before, recurrent))
        return ops.matmul(walk.cut(tf.cumsum(brought, axis=1)), leads)

    found = walk.linear(closure, sequences, *first)
    found = _finished(walk, layer, layer.cell.activation, found)
    return found, [walk.linear(lambda x: x[:, -1], found) for _ in first]
