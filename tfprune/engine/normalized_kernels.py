"""The compiled kernels of dense layers of kept weights that normalise their own inputs, one after the other.

Activations lie as rows, one for each feature, of the whole batch: mean and variance of a feature are those of its row,
so all that a layer does to a feature, forward and back, is one thread's work on rows that are in its cache. Parallel
are features; the order of sums does not depend on how many threads there are.

Normalisation is part of the weights: with `x̂ = slope · x + offset` rows hold x, of the first layer the inputs, which
may be bytes, of the others what the one before made. Rows are an odd number of cache lines apart, as rows apart by a
power of two push each other out of the caches. What lies behind the batch, up to whole vectors, is 0.

What belongs to a layer lies behind that of the one before it, in arrays for all of them; a table of whole numbers, a
line for each layer, says where (its columns are in `tfprune.engine.normalized_rows`).

Importing this module compiles, or reads what was compiled before: import it by `tfprune.engine.compiling` alone.
"""
# What is compiled into kernels, see tests/engine/test_compiling.py: c6b5ab2ca486

from __future__ import annotations

import numpy as np
from numba import njit, prange, types

from tfprune.engine.kernels import CACHED, MATH
from tfprune.engine.normalized_rows import (
    FIRST_INPUT,
    FIRST_KEPT,
    FIRST_OUTPUT,
    INPUTS,
    KEPT,
    MEAN,
    OUTPUTS,
    RELU,
    SHARED,
    SHARED_BACK,
    STEP,
    VARIANCE,
    input_gradients,
    know,
    layer_parts,
    make_outputs,
    measure,
    take_rows,
    take_upstream,
    weight_gradients,
)
from tfprune.engine.vectors import transpose

_WIDE = 64  # features of examples that are taken at a time: of bytes a cache line
LINES = 6  # of what is known of inputs

GIVEN = types.Array(types.float32, 1, "C", readonly=True)
MADE = types.Array(types.float32, 1, "C")
_EXAMPLES = types.Array(types.float32, 2, "C", readonly=True)
MADE_EXAMPLES = types.Array(types.float32, 2, "C")
NUMBERS = types.Array(types.int32, 1, "C", readonly=True)
BOUNDS = types.Array(types.int64, 1, "C", readonly=True)
TABLE = types.Array(types.int64, 2, "C", readonly=True)
BYTES, BYTE_ROWS = types.Array(types.uint8, 2, "C", readonly=True), types.Array(types.uint8, 1, "C")
INT, _BOOL = types.int64, types.boolean


@njit
def _known(known, line):
    """What is known of a layer's inputs, (lines, inputs)."""
    first, features = line[FIRST_INPUT], line[INPUTS]
    return known[LINES * first : LINES * (first + features)].reshape(LINES, features)


@njit(fastmath=MATH)
def _take_part(job, table, inputs, numbers, weights, measured, center, factor, epsilons, rows, known):
    """Rows of some inputs, and what is known of them."""
    line = table[0]
    first, last = job * _WIDE, min(line[INPUTS], (job + 1) * _WIDE)
    of_layer, (_, gamma, beta, _) = _known(known, line), layer_parts(weights, line)
    take_rows(inputs, numbers, first, last, line[STEP], measured, rows, of_layer)
    know(center, factor, epsilons[0], gamma, beta, measured, first, last, of_layer)


def in_parts(work):
    """What does all parts of a layer's work, by one thread where there is little to do, which need not wake others."""

    @njit(parallel=True)
    def all_parts(is_shared, parts, *given):
        if is_shared:
            for part in prange(parts):
                work(part, *given)
        else:
            for part in range(parts):
                work(part, *given)

    return all_parts


_take = in_parts(_take_part)


@njit(fastmath=MATH)
def _make_part(
    part, table, i, parts, rows, batch, weights, measured, center, factor, epsilons, stride, order, numbers, starts,
    bounds, made, known, scaled,
):  # fmt: skip
    """A part of what a layer makes, and what the next one wants to know of that."""
    line, first, last = table[i], parts[i, part], parts[i, part + 1]
    begin, end, to = line[FIRST_KEPT], line[FIRST_KEPT] + line[KEPT], line[FIRST_OUTPUT]
    here = made[to * stride : (to + line[OUTPUTS]) * stride]
    make_outputs(
        *(rows, batch, stride, weights, line, _known(known, line), order[begin:end], numbers[begin:end]),
        *(starts[begin:], bounds[to + i :], first, last, scaled[begin:end], here),
    )
    if i + 1 < table.shape[0]:
        next_line = table[i + 1]
        next_known, (_, gamma, beta, _) = _known(known, next_line), layer_parts(weights, next_line)
        if measured:
            measure(here, stride, batch, first, last, next_known)
        given = center[next_line[FIRST_INPUT] :], factor[next_line[FIRST_INPUT] :]
        know(*given, epsilons[i + 1], gamma, beta, measured, first, last, next_known)


_make = in_parts(_make_part)


@njit
def _move(averages, momenta, measured, table, known, running):
    """Running means and then variances, after this batch."""
    inputs = (averages.size - momenta.size) // 2
    for i in range(table.shape[0]):
        of_layer = _known(known, table[i])
        keep = momenta[i] * averages[2 * inputs + i]
        for f in range(table[i, INPUTS]):
            at = table[i, FIRST_INPUT] + f
            for place, line in ((at, MEAN), (inputs + at, VARIANCE)):
                found = keep * averages[place] + (np.float32(1) - keep) * of_layer[line, f]
                running[place] = found if measured else averages[place]


@njit
def _recall(averages, table, known):
    """Takes mean and variance from running ones."""
    inputs = (averages.size - table.shape[0]) // 2
    for i in range(table.shape[0]):
        of_layer = _known(known, table[i])
        for f in range(table[i, INPUTS]):
            of_layer[MEAN, f] = averages[table[i, FIRST_INPUT] + f]
            of_layer[VARIANCE, f] = averages[inputs + table[i, FIRST_INPUT] + f]


def _forward(inputs, rows):
    return types.void(
        *(inputs, NUMBERS, GIVEN, GIVEN, _BOOL, TABLE, GIVEN, GIVEN, GIVEN, GIVEN, INT),
        *(NUMBERS, NUMBERS, NUMBERS, BOUNDS, TABLE),
        *(rows, MADE, MADE, MADE, MADE, MADE_EXAMPLES),
    )


@njit([_forward(_EXAMPLES, MADE), _forward(BYTES, BYTE_ROWS)], cache=CACHED)
def forward(
    inputs, examples, weights, averages, measured, table, center, factor, epsilons, momenta, stride,
    order, numbers, starts, bounds, parts,
    rows, made, known, scaled, running, outputs,
):  # fmt: skip
    """Each layer: x̂ · (γ ∘ W) + (β · W + b) with `x̂ = (x − mean) / sqrt(variance + ε)`.

    Args:
        inputs: (N, features or more) of the first layer, floats or bytes: x is (inputs − center) · factor.
        examples: (B,), which of them.
        weights: flat.
        averages: running means and variances of all layers, and for each layer whether these hold anything yet.
        measured: whether mean and variance are those of the batch; else the running ones.
        table: a line for each layer.
        center, factor: of all inputs; 0 and 1 behind the first layer.
        epsilons, momenta: (layers,).
        stride: floats from one row made to the next.
        order: of the kept weights, sorted by output in each layer: which of its layer's values each one is.
        numbers, starts: the input of each in its layer, and where its row begins; of `starts` `AHEAD` more at the end.
        bounds: of the weights of each output, one bound more than outputs in each layer.
        parts: (layers, n + 1), bounds of the outputs that are one thread's work.
        rows: flat, of the inputs, written.
        made: flat, of all outputs, written.
        known: of all inputs, layer by layer, written.
        scaled: floats for each kept weight.
        running: means and variances after this batch, written.
        outputs: (B, outputs) of the last layer, written.
    """
    batch, last = len(examples), table[-1]
    if not measured:
        _recall(averages, table, known)
    jobs, of_inputs = (table[0, INPUTS] + _WIDE - 1) // _WIDE, (center, factor, epsilons)
    _take(table[0, SHARED], jobs, table, inputs, examples, weights, measured, *of_inputs, rows, known)
    given = batch, weights, measured, *of_inputs, stride, order, numbers, starts, bounds, made, known, scaled
    workers = parts.shape[1] - 1
    _make(table[0, SHARED], workers, table, 0, parts, rows, *given)
    for i in range(1, table.shape[0]):
        _make(table[i, SHARED], workers, table, i, parts, made[table[i - 1, FIRST_OUTPUT] * stride :], *given)
    _move(averages, momenta, measured, table, known, running)
    features = outputs.shape[1]
    transpose(made, last[FIRST_OUTPUT] * stride, stride, outputs.reshape(-1), 0, features, features, batch)


@njit(fastmath=MATH)
def _part_back(
    part, table, i, parts, rows, batch, weights, measured, stride, starts, cuts, places, numbers, to_starts, bounds,
    of_made, known, products, found,
):  # fmt: skip
    """For a part of a layer's inputs the gradients of weights, and of what the layer before made."""
    line, before, first, last = table[i], table[max(0, i - 1)], parts[i, part], parts[i, part + 1]
    begin, end, to, at = line[FIRST_KEPT], line[FIRST_KEPT] + line[KEPT], line[FIRST_OUTPUT], line[FIRST_INPUT]
    upstream, of_layer = of_made[to * stride : (to + line[OUTPUTS]) * stride], _known(known, line)
    weight_gradients(
        *(rows, upstream, batch, stride, weights, found, line, of_layer, starts[begin:], cuts[part, to:]),
        *(cuts[part + 1, to:], places[begin:end], numbers[begin:end], bounds[at + i :], first, last),
        products[begin:end],
    )
    if i > 0:
        out, of_bias = of_made[before[FIRST_OUTPUT] * stride :], layer_parts(found, before)[3]
        input_gradients(
            *(rows, upstream, batch, stride, weights, found, line, of_layer, to_starts[begin:], bounds[at + i :]),
            *(first, last, measured, before[RELU] == 1, out, of_bias),
        )


_go_back = in_parts(_part_back)


def _back(rows):
    return types.void(
        *(_EXAMPLES, GIVEN, _BOOL, TABLE, INT, NUMBERS, TABLE, NUMBERS, NUMBERS, NUMBERS, BOUNDS, TABLE),
        *(rows, GIVEN, GIVEN, MADE, MADE, MADE),
    )


@njit([_back(GIVEN), _back(types.Array(types.uint8, 1, "C", readonly=True))], cache=CACHED)
def back(
    upstream, weights, measured, table, stride, starts, cuts, places, numbers, to_starts, bounds, parts, rows, made,
    known, products, of_made, found,
):  # fmt: skip
    """The gradients of all weights.

    Args:
        upstream: (B, outputs), of the outputs.
        weights, measured, table, stride, starts, rows, made, known: as for `forward`, which has been there.
        cuts: (n + 1, outputs), of the weights of each output, sorted by output, the first of a part of the inputs.
        places: of the kept weights, as they lie: which one each is of those that are sorted by output.
        numbers, to_starts: the output of each, and where its row begins; of `to_starts` `AHEAD` more at the end.
        bounds: of the weights of each input, one bound more than inputs in each layer.
        parts: (layers, n + 1), bounds of the inputs that are one thread's work.
        products: floats for each kept weight.
        of_made: flat, the gradients of all outputs before relu, written.
        found: the gradients, as `weights` lie, written.
    """
    batch, last = upstream.shape[0], table[-1]
    to = last[FIRST_OUTPUT] * stride
    take_upstream(upstream, made[to:], last[RELU] == 1, stride, of_made[to:], layer_parts(found, last)[3])
    given = batch, weights, measured, stride, starts, cuts, places, numbers, to_starts, bounds
    given, workers = (*given, of_made, known, products, found), parts.shape[1] - 1
    for i in range(table.shape[0] - 1, 0, -1):
        _go_back(table[i, SHARED_BACK], workers, table, i, parts, made[table[i - 1, FIRST_OUTPUT] * stride :], *given)
    _go_back(table[0, SHARED_BACK], workers, table, 0, parts, rows, *given)


@njit(
    types.void(
        *(GIVEN, GIVEN, _BOOL, TABLE, INT, NUMBERS, BOUNDS, TABLE, GIVEN, GIVEN, GIVEN, MADE),
        MADE_EXAMPLES,
    ),
    parallel=True,
    cache=CACHED,
)
def of_inputs(
    weights, found, measured, table, stride, to_starts, bounds, parts, rows, known, of_made, out_rows, out
):  # fmt: skip
    """The gradients of the inputs, (B, features), after `back`, whose arguments they are.

    Args:
        out_rows: flat, rows of `out`, written.
        out: (B, features), written.
    """
    batch, features = out.shape
    nothing = np.empty(features, np.float32)
    for part in prange(parts.shape[1] - 1):
        input_gradients(
            *(rows, of_made, batch, stride, weights, found, table[0], _known(known, table[0]), to_starts, bounds),
            *(parts[0, part], parts[0, part + 1], measured, False, out_rows, nothing),
        )
    transpose(out_rows, 0, stride, out.reshape(-1), 0, features, features, batch)
