"""Rules of recurrent layers.

Every gate of a unit belongs to it: column j of each gate's part of the kernel and of the recurrent kernel leads to unit
j. Stacked cells are layers on top of each other. Up to `UNROLLED` steps the layer is unrolled, and what is reached is
exact. Over more steps the gates of a unit count as one, and each step can be felt by all later ones: units that lead to
each other in any number of steps, an upper bound that no number of steps exceeds.

In the linear network gates as factors and activations are dropped: what a step brings in goes through the sum of a
unit's gates, the state is the mean of what the steps so far brought in, and goes through the recurrent kernel once:
`mean(x)·K + (mean(x)·K)·R`, K and R summed over gates. Every path from a step to a later one is in it, at its shortest.
Unrolled over all steps, powers of R would leave the range of numbers, and the rank of weights would be that of the
longest walks alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf
from keras import layers, ops, tree

from tfprune.connectivity.activations import activated
from tfprune.connectivity.graph import Walk, register_rule
from tfprune.layers.kinds import plain_type
from tfprune.layers.rule_table import NoRule

UNROLLED = 16


class _Kind(NamedTuple):
    """What a rule knows of a type of cells.

    Attributes:
        gates: into which the columns of its kernels are divided.
        states: tensors that it hands from step to step; the first is its output.
        step: (walk, layer, cell, x of a step, states, [kernel, recurrent kernel]) -> states.
    """

    gates: int
    states: int
    step: Callable


@register_rule(layers.RNN, layers.SimpleRNN, layers.LSTM, layers.GRU)
def _recurrent(walk: Walk, layer, sequences, initial_state=None):
    cells = _cells(layer, layer.cell)
    if layer.go_backwards:
        sequences = walk.linear(lambda x: x[:, ::-1], sequences, cut=False)
    shapes = [(1, cell.units) for cell, kind in cells for _ in range(kind.states)]
    before, after = initial_states(walk, layer, initial_state, shapes), []
    for cell, kind in cells:
        given, before = before[: kind.states], before[kind.states :]
        sequences, last = _through(walk, layer, cell, kind, sequences, given)
        after += last
    return returned(layer, sequences, last[0], after)


def _cells(layer, cell) -> list[tuple]:
    """Pairs of a cell and its kind, in the order in which the input goes through them."""
    own = plain_type(cell)
    if issubclass(own, layers.StackedRNNCells) and own.call is layers.StackedRNNCells.call:
        return [pair for inner in cell.cells for pair in _cells(layer, inner)]
    for base, kind in _KINDS.items():
        if issubclass(own, base) and own.call is base.call:
            return [(cell, kind)]
    raise NoRule(f"{layer.name!r}: nothing says which outputs of cells of type {own.__name__} depend on which inputs")


def _through(walk: Walk, layer, cell, kind: _Kind, sequences, first: Sequence) -> tuple:
    """Outputs of a cell after all steps (1, steps, units), and its last states."""
    kernels, steps = [walk.kernel(cell.kernel), walk.kernel(cell.recurrent_kernel)], sequences.shape[1]
    for kernel in (cell.kernel, cell.recurrent_kernel):
        walk.use(kernel, steps)
    if not walk.boolean:
        kernel, recurrent = (over_gates(one, kind.gates) for one in kernels)
        found = averaged(ops.matmul(sequences, kernel), first, lambda states: ops.matmul(states, recurrent))
        return found, [found[:, -1] for _ in first]
    if steps > UNROLLED:
        return _closed(walk, layer, cell, sequences, kernels, first, kind.gates)
    made, last = walk.scan(lambda x, states: kind.step(walk, layer, cell, x, states, kernels), sequences, first)
    return made[0], last


def returned(layer, sequences, last, states: Sequence):
    """What a recurrent layer returns, of its outputs after all steps, after the last one, and its last states."""
    outputs = sequences if layer.return_sequences else last
    return (outputs, *states) if layer.return_state else outputs


def initial_states(walk: Walk, layer, given, shapes: Sequence[tuple]) -> list:
    """States before the first step, one for each shape (1, ...)."""
    if given is not None:
        flat = tree.flatten(given)
        if any(map(tf.is_tensor, flat)):
            return flat
    zeros = [walk.linear(lambda shape=shape: tf.zeros(shape)) for shape in shapes]
    if given is None and not layer.stateful:
        return zeros
    # Numbers, or what the examples before have left: that depends on the input.
    return [ops.ones_like(state) for state in zeros] if given is None else [walk.lift(state) for state in zeros]


def _simple_step(walk: Walk, layer, cell, x, states, kernels):
    (summed,) = _gates(walk, x, states[0], kernels, 1)
    return [_finished(walk, layer, cell, cell.activation, summed)]


def _lstm_step(walk: Walk, layer, cell, x, states, kernels):
    return long_and_short(walk, layer, cell, _gates(walk, x, states[0], kernels, 4), states[1])


def long_and_short(walk: Walk, layer, cell, gates: Sequence, carry) -> list:
    """Output and carry of an LSTM, of what its gates sum up, in Keras's order, and the carry before."""
    let_in, keep, show = (_finished(walk, layer, cell, cell.recurrent_activation, gates[at]) for at in (0, 1, 3))
    new = _finished(walk, layer, cell, cell.activation, gates[2])
    kept, added = walk.product(ops.multiply, keep, carry), walk.product(ops.multiply, let_in, new)
    carry = walk.linear(ops.add, kept, added)
    shown = activated(walk, cell.activation, walk.linear(tf.identity, carry), layer)
    return [walk.linear(tf.identity, walk.product(ops.multiply, show, shown)), carry]


def _gru_step(walk: Walk, layer, cell, x, states, kernels):
    (state,) = states
    both, own = ([kernel[:, at] for kernel in kernels] for at in (slice(2 * cell.units), slice(2 * cell.units, None)))
    gates = _gates(walk, x, state, both, 2)
    update, reset = (_finished(walk, layer, cell, cell.recurrent_activation, gate) for gate in gates)
    if cell.reset_after:
        recalled = walk.linear(lambda h: ops.matmul(h, own[1]), state)
        recalled = walk.lift(recalled) if cell.use_bias else recalled
        recalled = walk.product(ops.multiply, reset, recalled)
        summed = walk.linear(lambda x, r: ops.matmul(x, own[0]) + r, x, recalled)
    else:
        recalled = walk.linear(tf.identity, walk.product(ops.multiply, reset, state))
        summed = walk.linear(lambda x, r: ops.matmul(x, own[0]) + ops.matmul(r, own[1]), x, recalled)
    new = _finished(walk, layer, cell, cell.activation, summed)
    replace = walk.lift(walk.linear(tf.identity, update))  # 1 - update
    kept, added = walk.product(ops.multiply, update, state), walk.product(ops.multiply, replace, new)
    return [walk.linear(ops.add, kept, added)]


_KINDS = {
    layers.SimpleRNNCell: _Kind(1, 1, _simple_step),
    layers.LSTMCell: _Kind(4, 2, _lstm_step),
    layers.GRUCell: _Kind(3, 1, _gru_step),
}


def _gates(walk: Walk, x, state, kernels: Sequence, count: int) -> list:
    """What inputs and state bring to each of the gates that share kernels, of which each has its columns."""
    summed = walk.linear(lambda x, h: ops.matmul(x, kernels[0]) + ops.matmul(h, kernels[1]), x, state)
    return parted(walk, summed, count, axis=1)


def parted(walk: Walk, x, count: int, axis: int) -> list:
    """Equal parts of x along an axis."""
    size = x.shape[axis] // count
    parts = [(*[slice(None)] * axis, slice(at * size, (at + 1) * size)) for at in range(count)]
    return [walk.linear(lambda x, part=part: x[part], x, cut=False) for part in parts]


def _finished(walk: Walk, layer, cell, activation, x):
    return activated(walk, activation, walk.lift(x) if cell.use_bias else x, layer)


def over_gates(kernel: tf.Tensor, gates: int) -> tf.Tensor:
    """A kernel summed over gates, of which each has its part of the last axis."""
    *shape, columns = kernel.shape
    return tf.reduce_sum(tf.reshape(kernel, (*shape, gates, columns // gates)), axis=-2)


def averaged(brought, first: Sequence, again: Callable):
    """Outputs of the linear network.

    Args:
        brought: what steps bring in, (1, steps, ...).
        first: states before the first step, (1, ...).
        again: what the recurrent kernel makes of states (1, steps, ...).
    """
    steps = brought.shape[1]
    counts = tf.reshape(tf.range(1, steps + 1, dtype=tf.float32), (1, steps, *[1] * (len(brought.shape) - 2)))
    states = tf.cumsum(brought, axis=1) / counts + tf.add_n(list(first))[:, None]
    return states + again(states)


def _closed(walk: Walk, layer, cell, sequences, kernels: Sequence, first: Sequence, gates: int):
    kernel, recurrent = (over_gates(one, gates) for one in kernels)
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
    found = _finished(walk, layer, cell, cell.activation, found)
    return found, [walk.linear(lambda x: x[:, -1], found) for _ in first]
