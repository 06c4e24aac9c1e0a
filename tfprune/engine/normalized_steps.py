"""The compiled kernel that takes whole training steps of dense layers that normalise their own inputs.

Forward, cross-entropy, back and the update, one step after the other: between them nothing leaves the kernels, and
threads need not be woken. It is made of those of `tfprune.engine.normalized_kernels`.

Importing this module compiles, or reads what was compiled before: import it by `tfprune.engine.compiling` alone.
"""
# What is compiled into kernels, see tests/engine/test_compiling.py: 6a6046c44587

from __future__ import annotations

import numpy as np
from numba import njit, types

from tfprune.engine.kernels import CACHED, MATH
from tfprune.engine.normalized_kernels import (
    BOUNDS,
    BYTE_ROWS,
    BYTES,
    GIVEN,
    INT,
    MADE,
    MADE_EXAMPLES,
    NUMBERS,
    TABLE,
    back,
    forward,
    in_parts,
)
from tfprune.engine.updates import SGD

_MANY = 1 << 16  # weights whose update is several threads' work

_NUMBER_ROWS = types.Array(types.int32, 2, "C", readonly=True)


@njit(fastmath=MATH)
def _judge(outputs, labels, upstream):
    """Errors and mean cross-entropy of a batch, and the gradients of the latter."""
    batch, classes = outputs.shape
    share = np.float32(1) / np.float32(batch)
    wrong, loss = 0, 0.0
    for b in range(batch):
        row, gradients, label, best = outputs[b], upstream[b], labels[b], 0
        for c in range(1, classes):
            if row[c] > row[best]:
                best = c
        total = np.float32(0)
        for c in range(classes):
            gradients[c] = np.exp(row[c] - row[best])
            total += gradients[c]
        wrong += best != label
        loss += np.log(total) - (row[label] - row[best])
        for c in range(classes):
            gradients[c] *= share / total
        gradients[label] -= share
    return wrong, loss / batch


@njit(fastmath=MATH)
def _update_part(part, parts, kind, rate, settings, free, found, weights, slots):
    """The rule of `tfprune.engine.updates` for a part of the weights."""
    first, last = weights.size * part // parts, weights.size * (part + 1) // parts
    if kind == SGD:
        for i in range(first, last):
            weights[i] -= rate * (free[i] * found[i])
    else:
        means, squares = slots[0], slots[1]
        for i in range(first, last):
            gradient = free[i] * found[i]
            means[i] += (gradient - means[i]) * settings[0]
            squares[i] += (gradient * gradient - squares[i]) * settings[1]
            weights[i] -= free[i] * (means[i] * rate / (np.sqrt(squares[i]) + settings[2]))


_update = in_parts(_update_part)


@njit(
    types.void(
        *(BYTES, _NUMBER_ROWS, _NUMBER_ROWS, GIVEN, INT, GIVEN, GIVEN, TABLE),
        *(types.UniTuple(GIVEN, 4), INT),
        types.Tuple((NUMBERS, NUMBERS, NUMBERS, BOUNDS, TABLE)),
        types.Tuple((NUMBERS, TABLE, NUMBERS, NUMBERS, NUMBERS, BOUNDS, TABLE)),
        *(BYTE_ROWS, types.UniTuple(MADE, 6), types.UniTuple(MADE_EXAMPLES, 2)),
        *(MADE, MADE, MADE_EXAMPLES, MADE, MADE),
    ),
    cache=CACHED,
)
def take_steps(
    images, examples, labels, rates, kind, settings, free, table, layer_settings, stride, by_output, by_input, rows,
    floats, example_floats, weights, averages, slots, errors, losses,
):  # fmt: skip
    """Steps of a classifier by the mean cross-entropy of its batches, whose mean and variance normalise inputs.

    Args:
        images: (N, features or more).
        examples, labels: (steps, B).
        rates: (steps,).
        kind, settings: of the rule its kind and numbers.
        free: of each weight 1, or 0 where it stays.
        table: a line for each layer.
        layer_settings: `center` to `momenta` of `forward`.
        stride: as there.
        by_output, by_input: `order` to `parts` of `forward`, `starts` to `parts` of `back`.
        rows: as there, written.
        floats: `made`, `known`, `scaled` and `running` of `forward`, `of_made` and `found` of `back`, written.
        example_floats: (B, outputs) of the last layer, and their gradients, written.
        weights, averages: as for `forward`, become those after the steps.
        slots: (slots, weights), become those after the steps.
        errors, losses: (steps,) before each update, written.
    """
    center, factor, epsilons, momenta = layer_settings
    order, numbers, starts, bounds, parts = by_output
    starts_back, cuts, places, numbers_back, to_starts, bounds_back, parts_back = by_input
    made, known, scaled, running, of_made, found = floats
    outputs, upstream = example_floats
    workers = parts.shape[1] - 1
    for step in range(examples.shape[0]):
        forward(
            *(images, examples[step], weights, averages, True, table, center, factor, epsilons, momenta, stride),
            *(order, numbers, starts, bounds, parts, rows, made, known, scaled, running, outputs),
        )
        wrong, loss = _judge(outputs, labels[step], upstream)
        errors[step] = np.float32(1) - np.float32(outputs.shape[0] - wrong) / np.float32(outputs.shape[0])
        losses[step] = loss
        back(
            *(upstream, weights, True, table, stride, starts_back, cuts, places, numbers_back, to_starts),
            *(bounds_back, parts_back, rows, made, known, scaled, of_made, found),
        )
        _update(weights.size >= _MANY, workers, workers, kind, rates[step], settings, free, found, weights, slots)
        averages[: running.size] = running
        averages[running.size :] = np.float32(1)
