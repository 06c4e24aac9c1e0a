"""The compiled kernels of dense layers of kept weights that normalise their own inputs, one after the other.

Activations lie as rows, one for each feature, of the whole batch: mean and variance of a feature are those of its row,
so all that a layer does to a feature, forward and back, is one thread's work on rows that are in its cache. Parallel
are features; the order of sums does not depend on how many threads there are.

Rows are `stride` floats apart, an odd number of cache lines, as rows apart by a power of two push each other out of the
caches. What lies behind the batch, up to whole vectors, is 0.

What belongs to a layer lies behind that of the one before it, in arrays for all of them; a table of whole numbers, a
line for each layer, says where (`INPUTS` and what follows are its columns).

Importing this module compiles, or reads what was compiled before: import it by `tfprune.engine.compiling` alone.
"""

from __future__ import annotations

import numpy as np
from numba import get_thread_id, njit, prange, types

from tfprune.engine.kernels import CACHED, MATH, transpose
from tfprune.engine.vectors import FOUR_DOTS, LANES, MOST, SIXTEEN_DOTS, add_far_pieces, transpose_bytes

# Columns of the table: how many features a layer has, how many weights it keeps, whether negative outputs become 0, and
# where the first one lies of its inputs, its outputs, its kept weights, and of all its values, γ, β and b.
INPUTS, OUTPUTS, KEPT, RELU, FIRST_INPUT, FIRST_OUTPUT, FIRST_KEPT, FIRST_WEIGHT = range(8)

_WIDE = 32  # features of examples that are transposed at a time
_CACHED = 2**17  # floats in half of a core's second cache

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


@njit
def _tile(rows, length):
    """Floats of `rows` rows that are used at a time, so that these stay in a core's cache."""
    most = MOST * LANES
    return min(most, length) if rows * most <= 2 * _CACHED else most // 2


@njit
def _give(rows, stride, out):
    """Rows as examples (B, features)."""
    batch, features = out.shape
    transpose(rows, 0, stride, out.reshape(-1), 0, features, features, batch)


@njit(fastmath=MATH)
def _standardised(row, f, measured, epsilon, mean, variance, scale, out):
    """out = (row − mean[f]) · scale[f], of a row's own mean and variance where it is `measured`."""
    batch = row.size
    if measured:
        total = np.float32(0)
        for b in range(batch):
            total += row[b]
        center = total / np.float32(batch)
        total = np.float32(0)
        for b in range(batch):
            total += (row[b] - center) * (row[b] - center)
        mean[f], variance[f] = center, total / np.float32(batch)
    center = mean[f]
    factor = np.float32(1) / np.sqrt(variance[f] + epsilon)
    scale[f] = factor
    for b in range(batch):
        out[b] = (row[b] - center) * factor
    for b in range(batch, out.size):
        out[b] = np.float32(0)


@njit(fastmath=MATH)
def _normalised(scratch, first, wide, batch, stride, measured, epsilon, mean, variance, scale, rows):
    """Rows of some features, from those in the scratch."""
    for f in range(wide):
        row = scratch[f * stride : f * stride + batch]
        out = rows[(first + f) * stride : (first + f + 1) * stride]
        _standardised(row, first + f, measured, epsilon, mean, variance, scale, out)


@njit
def _transpose_pixels(pixels, first, wide, center, factor, out, stride):
    """Rows (pixels − center) · factor of some features."""
    batch, features = pixels.shape
    given = pixels.reshape(-1)
    whole_batch, whole_wide = batch // LANES * LANES, wide // LANES * LANES
    for i in range(0, whole_batch, LANES):
        for j in range(0, whole_wide, LANES):
            at = i * features + first + j
            transpose_bytes(given, at, features, center, factor, first + j, out, j * stride + i, stride)
    for i in range(batch):
        for j in range(0 if i >= whole_batch else whole_wide, wide):
            value = np.float32(given[i * features + first + j]) - center[first + j]
            out[j * stride + i] = value * factor[first + j]


@_kernel(_EXAMPLES, _BOOL, _FLOAT, _INT, _MADE, _MADE, _MADE, _MADE, _MADE)
def take_inputs(inputs, measured, epsilon, stride, mean, variance, scale, rows, scratch):
    """Rows of normalised inputs (B, features); see `forward` for what else it is given."""
    batch, features = inputs.shape
    size = scratch_size(stride)
    for job in prange((features + _WIDE - 1) // _WIDE):
        mine = scratch[get_thread_id() * size : (get_thread_id() + 1) * size]
        first, wide = job * _WIDE, min(features - job * _WIDE, _WIDE)
        transpose(inputs.reshape(-1), first, features, mine, 0, stride, batch, wide)
        _normalised(mine, first, wide, batch, stride, measured, epsilon, mean, variance, scale, rows)


@_kernel(_BYTES, _GIVEN, _GIVEN, _BOOL, _FLOAT, _INT, _MADE, _MADE, _MADE, _MADE, _MADE)
def take_pixels(pixels, center, factor, measured, epsilon, stride, mean, variance, scale, rows, scratch):
    """As `take_inputs`, of inputs that are (pixels − center) · factor."""
    batch, features = pixels.shape
    size = scratch_size(stride)
    for job in prange((features + _WIDE - 1) // _WIDE):
        mine = scratch[get_thread_id() * size : (get_thread_id() + 1) * size]
        first, wide = job * _WIDE, min(features - job * _WIDE, _WIDE)
        _transpose_pixels(pixels, first, wide, center, factor, mine, stride)
        _normalised(mine, first, wide, batch, stride, measured, epsilon, mean, variance, scale, rows)


@njit(fastmath=MATH)
def _produce(rows, batch, stride, weights, line, order, numbers, starts, bounds, first, last, scaled, shifts, made):
    """Some rows of x̂ · (γ ∘ W) + (β · W + b); negative ones are 0 with `RELU`."""
    n, features = line[KEPT], line[INPUTS]
    values, gamma, beta = weights[:n], weights[n : n + features], weights[n + features : n + 2 * features]
    bias = weights[n + 2 * features :]
    for o in range(first, last):
        shift = bias[o]
        for k in range(bounds[o], bounds[o + 1]):
            value = values[order[k]]
            scaled[k] = gamma[numbers[k]] * value
            shift += beta[numbers[k]] * value
        shifts[o] = shift
    length = (batch + LANES - 1) // LANES * LANES
    tile = _tile(features, length)
    for at in range(0, length, tile):
        vectors = min(tile, length - at) // LANES
        for o in range(first, last):
            add_far_pieces(rows, at, vectors, scaled, starts, bounds[o], bounds[o + 1], made, o * stride + at, 0)
    floor = np.float32(0) if line[RELU] else np.float32(-np.inf)
    for o in range(first, last):
        shift = shifts[o]
        row = made[o * stride : o * stride + batch]
        for b in range(batch):
            value = row[b] + shift
            row[b] = floor if value < floor else value


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
            _produce(
                *(rows[at * stride :], batch, stride, weights[line[FIRST_WEIGHT] :], line),
                *(order[begin:end], numbers[begin:end], starts[begin:], bounds[to + i :], first, last),
                *(scaled[begin:end], shifts[to:], here),
            )
            if i + 1 < layers:
                after = table[i + 1, FIRST_INPUT]
                for o in range(first, last):
                    out = rows[(after + o) * stride : (after + o + 1) * stride]
                    row = here[o * stride : o * stride + batch]
                    _standardised(row, after + o, measured, epsilons[i + 1], mean, variance, scale, out)
    _give(made[table[layers - 1, FIRST_OUTPUT] * stride :], stride, outputs)


@njit(fastmath=MATH)
def _take_upstream(upstream, made, relu, stride, out, of_bias):
    """Rows of gradients, 0 with `relu` where `made` is not positive, and the sum of each."""
    batch, outputs = upstream.shape
    transpose(upstream.reshape(-1), 0, outputs, out, 0, stride, batch, outputs)
    for o in range(outputs):
        row, found = out[o * stride : o * stride + batch], made[o * stride : o * stride + batch]
        if relu:
            for b in range(batch):
                row[b] *= np.float32(found[b] > np.float32(0))  # a factor, as a branch is slow
        total = np.float32(0)
        for b in range(batch):
            total += row[b]
        of_bias[o] = total
        for b in range(batch, stride):
            out[o * stride + b] = np.float32(0)


@njit(fastmath=MATH)
def _back(
    rows, upstream, batch, stride, weights, found, line, numbers, starts, bounds, first, last, products, goes_on,
    measured, scale, made, relu, of_inputs, of_bias_before,
):  # fmt: skip
    """The gradients of some features' values, γ and β, and, where it `goes_on`, of the inputs."""
    n, features, outputs = line[KEPT], line[INPUTS], line[OUTPUTS]
    values, gamma, beta = weights[:n], weights[n : n + features], weights[n + features : n + 2 * features]
    of_values, of_gamma, of_beta = found[:n], found[n : n + features], found[n + features : n + 2 * features]
    of_bias = found[n + 2 * features :]
    length = (batch + LANES - 1) // LANES * LANES
    tile = _tile(outputs, length)
    piece = max(LANES, min(length, _CACHED // outputs // LANES * LANES))
    for k in range(bounds[first], bounds[last]):
        products[k] = np.float32(0)
    for at in range(0, length, piece):
        some = min(piece, length - at)
        for f in range(first, last):
            k, end, row = bounds[f], bounds[f + 1] - 1, f * stride + at
            while k + 15 <= end:
                SIXTEEN_DOTS(upstream, at, starts, k, end, rows, row, some, products)
                k += 16
            while k <= end:
                FOUR_DOTS(upstream, at, starts, k, end, rows, row, some, products)
                k += 4
            if goes_on:
                for more in range(0, some, tile):
                    vectors = min(tile, some - more) // LANES
                    here = at + more
                    begin, end = bounds[f], bounds[f + 1]
                    add_far_pieces(upstream, here, vectors, values, starts, begin, end, of_inputs, row + more, 0)
    share = np.float32(1) / np.float32(batch)
    for f in range(first, last):
        along, beside = np.float32(0), np.float32(0)
        for k in range(bounds[f], bounds[f + 1]):
            more = of_bias[numbers[k]]
            of_values[k] = gamma[f] * products[k] + beta[f] * more
            along += values[k] * products[k]
            beside += values[k] * more
        of_gamma[f] = along
        of_beta[f] = beside
        if goes_on:
            # Through mean and variance: Σ_b of the gradients of x̂ is γ ∘ of_beta, Σ_b of these by x̂ is γ ∘ of_gamma.
            factor = scale[f] * gamma[f]
            slope = share * along if measured else np.float32(0)
            constant = share * beside if measured else np.float32(0)
            row, given = of_inputs[f * stride : f * stride + batch], rows[f * stride : f * stride + batch]
            for b in range(batch):
                row[b] = factor * (row[b] - (constant + slope * given[b]))
            if relu:
                before = made[f * stride : f * stride + batch]
                for b in range(batch):
                    row[b] *= np.float32(before[b] > np.float32(0))
            total = np.float32(0)
            for b in range(batch):
                total += row[b]
            of_bias_before[f] = total
            for b in range(batch, stride):
                of_inputs[f * stride + b] = np.float32(0)


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
    _take_upstream(upstream, made[to:], last[RELU] == 1, stride, of_made[to:], found[bias:])
    for back in range(table.shape[0]):
        i = table.shape[0] - 1 - back
        for part in prange(parts.shape[1] - 1):
            line, before = table[i], table[max(i - 1, 0)]
            begin, end, at = line[FIRST_KEPT], line[FIRST_KEPT] + line[KEPT], line[FIRST_INPUT]
            place = before[FIRST_OUTPUT] * stride
            bias_before = before[FIRST_WEIGHT] + before[KEPT] + 2 * before[INPUTS]
            _back(
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
        _back(
            *(rows, of_made, batch, stride, weights, found, line, numbers, starts, bounds),
            *(parts[0, part], parts[0, part + 1], products, True, measured, scale, rows, False, out_rows, nothing),
        )
    _give(out_rows, stride, out)
