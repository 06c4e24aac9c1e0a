"""The compiled kernels of dense layers of kept weights that normalise their own inputs, one after the other.

Activations lie as rows, one for each feature, of the whole batch: mean and variance of a feature are those of its row,
so all that a layer does to a feature, forward and back, is one thread's work on rows that are in its cache. Parallel
are features; the order of sums does not depend on how many threads there are.

Rows are `stride` floats apart, an odd number of cache lines, as rows apart by a power of two push each other out of the
caches. What lies behind the batch, up to whole vectors, is 0.

What belongs to a layer lies behind that of the one before it, in arrays for all of them; a table of whole numbers, a
line for each layer, says where (its columns are in `tfprune.engine.normalized_rows`).

Importing this module compiles, or reads what was compiled before: import it by `tfprune.engine.compiling` alone.
"""

from __future__ import annotations

import numpy as np
from numba import get_thread_id, njit, prange, types

from tfprune.engine.kernels import CACHED, MATH, transpose
from tfprune.engine.normalized_rows import (
    FIRST_INPUT,
    FIRST_KEPT,
    FIRST_OUTPUT,
    FIRST_WEIGHT,
    INPUTS,
    KEPT,
    RELU,
    give_examples,
    make_gradients,
    make_outputs,
    normalised,
    standardised,
    take_upstream,
    transpose_pixels,
)

_WIDE = 32  # features of examples that are transposed at a time

_GIVEN = types.Array(types.float32, 1, "C", readonly=True)
_MADE = types.Array(types.float32, 1, "C")
_EXAMPLES = types.Array(types.float32, 2, "C", readonly=True)
_MADE_EXAMPLES = types.Array(types.float32, 2, "C")
_BYTES = types.Array(types.uint8, 2, "C", readonly=True)
_NUMBERS = types.Array(types.int32, 1, "C", readonly=True)
_BOUNDS = types.Array(types.int64, 1, "C", readonly=True)
_TABLE = types.Array(types.int64, 2, "C", readonly=True)
_INT, _FLOAT, _BOOL = types.int64, types.float32, types.boolean


def _kernel(*arguments):
    return njit(types.void(*arguments), parallel=True, fastmath=MATH, cache=CACHED)


@njit
def scratch_size(stride):
    """Floats of a thread's scratch, in which inputs are transposed."""
    return _WIDE * stride


@_kernel(_EXAMPLES, _BOOL, _FLOAT, _INT, _MADE, _MADE, _MADE, _MADE, _MADE)
def take_inputs(inputs, measured, epsilon, stride, mean, variance, scale, rows, scratch):
    """Rows of normalised inputs (B, features); see `forward` for what else it is given."""
    batch, features = inputs.shape
    size = scratch_size(stride)
    for job in prange((features + _WIDE - 1) // _WIDE):
        mine = scratch[get_thread_id() * size : (get_thread_id() + 1) * size]
        first, wide = job * _WIDE, min(features - job * _WIDE, _WIDE)
        transpose(inputs.reshape(-1), first, features, mine, 0, stride, batch, wide)
        normalised(mine, first, wide, batch, stride, measured, epsilon, mean, variance, scale, rows)


@_kernel(_BYTES, _GIVEN, _GIVEN, _BOOL, _FLOAT, _INT, _MADE, _MADE, _MADE, _MADE, _MADE)
def take_pixels(pixels, center, factor, measured, epsilon, stride, mean, variance, scale, rows, scratch):
    """As `take_inputs`, of inputs that are (pixels − center) · factor."""
    batch, features = pixels.shape
    size = scratch_size(stride)
    for job in prange((features + _WIDE - 1) // _WIDE):
        mine = scratch[get_thread_id() * size : (get_thread_id() + 1) * size]
        first, wide = job * _WIDE, min(features - job * _WIDE, _WIDE)
        transpose_pixels(pixels, first, wide, center, factor, mine, stride)
        normalised(mine, first, wide, batch, stride, measured, epsilon, mean, variance, scale, rows)


@_kernel(
    *(_INT, _GIVEN, _BOOL, _TABLE, _GIVEN, _INT),
    *(_NUMBERS, _NUMBERS, _NUMBERS, _BOUNDS, _TABLE),
    *(_MADE, _MADE, _MADE, _MADE, _MADE, _MADE, _MADE_EXAMPLES),
)
def forward(
    batch, weights, measured, table, epsilons, stride,
    order, numbers, starts, bounds, parts,
    rows, made, mean, variance, scale, scaled, outputs,
):  # fmt: skip
    """Each layer: x̂ · (γ ∘ W) + (β · W + b) with `x̂ = (x − mean) · scale` and `scale = 1 / sqrt(variance + ε)`.

    Args:
        batch: examples.
        weights: flat.
        measured: whether mean and variance are those of the batch and are written; else they are given.
        table: a line for each layer.
        epsilons: (layers,).
        stride: floats from one row to the next.
        order: of the kept weights, sorted by output in each layer: which of its layer's values each one is.
        numbers, starts: the input of each in its layer, and `stride` times that; of both `AHEAD` more at the end.
        bounds: of the weights of each output, one bound more than outputs in each layer.
        parts: (layers, n + 1), bounds of the outputs that are one thread's work.
        rows: flat, of all normalised inputs; those of the first layer are given, the others written.
        made: flat, of all outputs, written.
        mean, variance, scale: of all inputs, likewise.
        scaled: floats for each kept weight.
        outputs: (B, outputs) of the last layer, written.
    """
    shifts = np.empty(made.size // stride, np.float32)
    layers = table.shape[0]
    for i in range(layers):
        for part in prange(parts.shape[1] - 1):
            line, first, last = table[i], parts[i, part], parts[i, part + 1]
            begin, end = line[FIRST_KEPT], line[FIRST_KEPT] + line[KEPT]
            at, to, here = line[FIRST_INPUT], line[FIRST_OUTPUT], made[line[FIRST_OUTPUT] * stride :]
            make_outputs(
                *(rows[at * stride :], batch, stride, weights[line[FIRST_WEIGHT] :], line),
                *(order[begin:end], numbers[begin:end], starts[begin:], bounds[to + i :], first, last),
                *(scaled[begin:end], shifts[to:], here),
            )
            if i + 1 < layers:
                after = table[i + 1, FIRST_INPUT]
                for o in range(first, last):
                    out = rows[(after + o) * stride : (after + o + 1) * stride]
                    row = here[o * stride : o * stride + batch]
                    standardised(row, after + o, measured, epsilons[i + 1], mean, variance, scale, out)
    give_examples(made[table[layers - 1, FIRST_OUTPUT] * stride :], stride, outputs)


@_kernel(
    *(_EXAMPLES, _GIVEN, _BOOL, _TABLE, _INT, _NUMBERS, _NUMBERS, _BOUNDS, _TABLE),
    *(_GIVEN, _GIVEN, _GIVEN, _MADE, _MADE, _MADE),
)
def back(
    upstream, weights, measured, table, stride, numbers, starts, bounds, parts, rows, made, scale, products, of_made,
    found,
):  # fmt: skip
    """The gradients of all weights.

    Args:
        upstream: (B, outputs), of the outputs.
        weights, measured, table, stride, rows, made, scale: as for `forward`, which has been there.
        numbers, starts: of the kept weights, as they lie: the output of each, and `stride` times that; of both `AHEAD`
            more at the end.
        bounds: of the weights of each input, one bound more than inputs in each layer.
        parts: (layers, n + 1), bounds of the inputs that are one thread's work.
        products: floats for each kept weight.
        of_made: flat, the gradients of all outputs before relu, written.
        found: the gradients, as `weights` lie, written.
    """
    batch = upstream.shape[0]
    last = table[table.shape[0] - 1]
    bias = last[FIRST_WEIGHT] + last[KEPT] + 2 * last[INPUTS]
    to = last[FIRST_OUTPUT] * stride
    take_upstream(upstream, made[to:], last[RELU] == 1, stride, of_made[to:], found[bias:])
    for back in range(table.shape[0]):
        i = table.shape[0] - 1 - back
        for part in prange(parts.shape[1] - 1):
            line, before = table[i], table[max(i - 1, 0)]
            begin, end, at = line[FIRST_KEPT], line[FIRST_KEPT] + line[KEPT], line[FIRST_INPUT]
            place = before[FIRST_OUTPUT] * stride
            bias_before = before[FIRST_WEIGHT] + before[KEPT] + 2 * before[INPUTS]
            make_gradients(
                *(rows[at * stride :], of_made[line[FIRST_OUTPUT] * stride :], batch, stride),
                *(weights[line[FIRST_WEIGHT] :], found[line[FIRST_WEIGHT] :], line, numbers[begin:end]),
                *(starts[begin:], bounds[at + i :], parts[i, part], parts[i, part + 1], products[begin:end]),
                *(i > 0, measured, scale[at:], made[place:], before[RELU] == 1, of_made[place:], found[bias_before:]),
            )


@njit(types.void(_GIVEN, _GIVEN, _TABLE, _GIVEN, _GIVEN, _MADE), cache=CACHED)
def mix(averages, keep, table, mean, variance, out):
    """Running means and then variances: keep · averages + (1 − keep) · those of the batch, `keep` one of each layer."""
    inputs = mean.size
    for i in range(table.shape[0]):
        old, new = keep[i], np.float32(1) - keep[i]
        for f in range(table[i, FIRST_INPUT], table[i, FIRST_INPUT] + table[i, INPUTS]):
            out[f] = old * averages[f] + new * mean[f]
            out[inputs + f] = old * averages[inputs + f] + new * variance[f]


@_kernel(
    *(_INT, _GIVEN, _BOOL, _TABLE, _INT, _NUMBERS, _NUMBERS, _BOUNDS, _TABLE),
    *(_GIVEN, _GIVEN, _GIVEN, _MADE, _MADE, _MADE, _MADE_EXAMPLES),
)
def of_inputs(
    batch, weights, measured, table, stride, numbers, starts, bounds, parts, rows, of_made, scale, products, found,
    out_rows, out,
):  # fmt: skip
    """The gradients of the inputs, (B, features), after `back`, whose arguments they are.

    Args:
        found: the gradients of the first layer's weights, written again.
        out_rows: flat, rows of `out`, written.
        out: (B, features), written.
    """
    line = table[0]
    nothing = np.empty(line[INPUTS], np.float32)
    for part in prange(parts.shape[1] - 1):
        make_gradients(
            *(rows, of_made, batch, stride, weights, found, line, numbers, starts, bounds),
            *(parts[0, part], parts[0, part + 1], products, True, measured, scale, rows, False, out_rows, nothing),
        )
    give_examples(out_rows, stride, out)
