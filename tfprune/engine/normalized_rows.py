"""What one thread does to some features in dense layers of kept weights that normalise their own inputs.

Rows lie as `tfprune.engine.normalized_kernels` says, of whose kernels these are compiled as parts.

Numba compiles a kernel anew when its own file is another: after a change here a test says what to write there.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from tfprune.engine.kernels import MATH
from tfprune.engine.vectors import (
    FOUR_DOTS,
    LANES,
    MOST,
    MOST_BYTES,
    SIXTEEN_DOTS,
    add_far_pieces,
    sums_about,
    take_columns,
    transpose,
)

# Columns of the table: how many features a layer has, how many weights it keeps, whether negative outputs become 0;
# where the first one lies of its inputs, its outputs, its kept weights, and of all its values, γ, β and b; from one of
# the rows it reads to the next, and whether there is work for several threads, forward and back.
INPUTS, OUTPUTS, KEPT, RELU, FIRST_INPUT, FIRST_OUTPUT, FIRST_KEPT, FIRST_WEIGHT, STEP, SHARED, SHARED_BACK = range(11)
# Lines of what is known of inputs x: mean and variance, x̂ = slope · x + offset, and γ · x̂ + β = gain · x + lift.
MEAN, VARIANCE, SLOPE, OFFSET, GAIN, LIFT = range(6)

_CACHED = 2**20  # bytes in a core's second cache


@njit
def _tile(rows, size, length):
    """Numbers of `rows` rows that are used at a time, so that these stay in a core's cache."""
    most = MOST * LANES
    return min(most, length) if rows * most * size <= _CACHED else most // 2


@njit(fastmath=MATH)
def take_rows(inputs, numbers, first, last, stride, measured, rows, known):
    """Rows of some inputs of the examples with these numbers; mean and variance where `measured`."""
    batch, step, given, middle = len(numbers), inputs.shape[1], inputs.reshape(-1), last - (last - first) % LANES
    sums = np.zeros((2, last - first), np.int64)
    for begin in range(0, batch, MOST_BYTES):
        end = min(begin + MOST_BYTES, batch)
        for f in range(first, middle, LANES):
            totals, squares = sums[0, f - first :], sums[1, f - first :]
            take_columns(given, numbers, begin, end, step, f, rows, f * stride, stride, totals, squares)
    for b in range(batch):
        for f in range(middle, last):
            found = rows[f * stride + b] = given[numbers[b] * step + f]
            if rows.itemsize == 1:
                sums[0, f - first] += found
                sums[1, f - first] += found * found
    if not measured:
        return
    if rows.itemsize == 1:  # exactly, without a look at the rows
        share = 1 / batch
        for f in range(first, last):
            total, square = sums[0, f - first], sums[1, f - first]
            known[MEAN, f] = total * share
            known[VARIANCE, f] = (batch * square - total * total) * share * share
    else:
        measure(rows, stride, batch, first, last, known)


@njit(fastmath=MATH)
def measure(rows, stride, batch, first, last, known):
    """Mean and variance of some rows."""
    share = np.float32(1) / np.float32(batch)
    for f in range(first, last):
        mean = known[MEAN, f] = sums_about(rows, f * stride, batch, np.float32(0))[0] * share
        known[VARIANCE, f] = sums_about(rows, f * stride, batch, mean)[1] * share


@njit(fastmath=MATH)
def know(center, factor, epsilon, gamma, beta, measured, first, last, known):
    """Fills in columns of what is known of inputs, which are (row − center) · factor.

    Mean and variance are there; where `measured` those of rows, and become those of inputs.
    """
    for f in range(first, last):
        if measured:
            known[MEAN, f] = (known[MEAN, f] - center[f]) * factor[f]
            known[VARIANCE, f] *= factor[f] * factor[f]
        scale = np.float32(1) / np.sqrt(known[VARIANCE, f] + epsilon)
        slope = scale * factor[f]
        offset = -(known[MEAN, f] * scale + center[f] * slope)
        known[SLOPE, f], known[OFFSET, f] = slope, offset
        known[GAIN, f], known[LIFT, f] = gamma[f] * slope, beta[f] + gamma[f] * offset


@njit
def layer_parts(values, line):
    """A layer's kept weights, γ, β and b, or the gradients of these."""
    n, features, begin = line[KEPT], line[INPUTS], line[FIRST_WEIGHT]
    gamma, beta, bias = begin + n, begin + n + features, begin + n + 2 * features
    return values[begin:gamma], values[gamma:beta], values[beta:bias], values[bias : bias + line[OUTPUTS]]


@njit(fastmath=MATH)
def make_outputs(rows, batch, stride, weights, line, known, order, numbers, starts, bounds, first, last, scaled, made):
    """Some rows of x̂ · (γ ∘ W) + (β · W + b); negative ones are 0 with `RELU`."""
    values, _, _, bias = layer_parts(weights, line)
    gain, lift = known[GAIN], known[LIFT]
    shifts = np.empty(last - first, np.float32)
    for o in range(first, last):
        shift = bias[o]
        for k in range(bounds[o], bounds[o + 1]):
            value = values[order[k]]
            scaled[k] = gain[numbers[k]] * value
            shift += lift[numbers[k]] * value
        shifts[o - first] = shift
    least = np.float32(0) if line[RELU] else np.float32(-np.inf)
    length = (batch + LANES - 1) // LANES * LANES
    tile = _tile(line[INPUTS], rows.itemsize, length)
    for at in range(0, length, tile):
        vectors = min(tile, length - at) // LANES
        for o in range(first, last):
            begin, end, to = bounds[o], bounds[o + 1], o * stride + at
            add_far_pieces(rows, at, vectors, scaled, starts, begin, end, made, to, 0, shifts[o - first], least)
    for o in range(first, last):
        made[o * stride + batch : o * stride + length] = np.float32(0)


@njit(fastmath=MATH)
def take_upstream(upstream, made, relu, stride, out, of_bias):
    """Rows of gradients, 0 with `relu` where `made` is not positive, and the sum of each."""
    batch, outputs = upstream.shape
    transpose(upstream.reshape(-1), 0, outputs, out, 0, stride, batch, outputs)
    for o in range(outputs):
        row, found = out[o * stride : (o + 1) * stride], made[o * stride : o * stride + batch]
        of_bias[o] = _finish(row, found, np.float32(1), np.float32(0), np.float32(0), relu)


@njit(fastmath=MATH)
def _finish(row, made, gain, falling, constant, relu):
    """row becomes gain · row − falling · made − constant, 0 behind the batch; gives its sum.

    With `relu` also 0 where `made` is not positive.
    """
    total, sign = np.float32(0), np.float32(not relu)
    for b in range(made.size):
        # A factor, as a branch is slow.
        is_on = max(sign, np.float32(made[b] > np.float32(0)))
        row[b] = (gain * row[b] - (constant + falling * made[b])) * is_on
        total += row[b]
    row[made.size :] = np.float32(0)
    return total


@njit(fastmath=MATH)
def weight_gradients(
    rows, upstream, batch, stride, weights, found, line, known, starts, begins, ends, places, numbers, bounds, first,
    last, products,
):  # fmt: skip
    """The gradients of some features' values, γ and β."""
    values, of_bias = layer_parts(weights, line)[0], layer_parts(found, line)[3]
    of_values, of_gamma, of_beta, _ = layer_parts(found, line)
    for o in range(line[OUTPUTS]):
        products[begins[o] : ends[o]] = np.float32(0)
    length = (batch + LANES - 1) // LANES * LANES
    vectors = length // LANES
    pieces = max(1, min(length * line[INPUTS] * rows.itemsize // _CACHED, vectors // 4))
    for piece in range(pieces):
        at = vectors * piece // pieces * LANES
        some = vectors * (piece + 1) // pieces * LANES - at
        for o in range(line[OUTPUTS]):
            k, last_one, to = begins[o], ends[o] - 1, o * stride + at
            while k + 15 <= last_one:
                SIXTEEN_DOTS(rows, at, starts, k, last_one, upstream, to, some, products)
                k += 16
            while k <= last_one:
                FOUR_DOTS(rows, at, starts, k, last_one, upstream, to, some, products)
                k += 4
    for f in range(first, last):
        along, beside = np.float32(0), np.float32(0)
        for k in range(bounds[f], bounds[f + 1]):
            product, more = products[places[k]], of_bias[numbers[k]]
            of_values[k] = known[GAIN, f] * product + known[LIFT, f] * more
            along += values[k] * product
            beside += values[k] * more
        of_gamma[f] = known[SLOPE, f] * along + known[OFFSET, f] * beside
        of_beta[f] = beside


@njit(fastmath=MATH)
def input_gradients(
    rows, upstream, batch, stride, weights, found, line, known, starts, bounds, first, last, measured, relu, out,
    of_bias,
):  # fmt: skip
    """The gradients of some inputs, 0 with `relu` where these are not positive, and the sum of each."""
    values, (_, of_gamma, of_beta, _) = layer_parts(weights, line)[0], layer_parts(found, line)
    length = (batch + LANES - 1) // LANES * LANES
    tile = _tile(line[OUTPUTS], upstream.itemsize, length)
    nothing, least = np.float32(0), np.float32(-np.inf)
    for at in range(0, length, tile):
        vectors = min(tile, length - at) // LANES
        for f in range(first, last):
            begin, end, to = bounds[f], bounds[f + 1], f * stride + at
            add_far_pieces(upstream, at, vectors, values, starts, begin, end, out, to, 0, nothing, least)
    for f in range(first, last):
        # Through mean and variance: Σ_b of the gradients of x̂ is γ ∘ of_beta, Σ_b of these by x̂ is γ ∘ of_gamma.
        share = known[GAIN, f] / np.float32(batch) if measured else np.float32(0)
        constant = share * (of_beta[f] + of_gamma[f] * known[OFFSET, f])
        falling = share * of_gamma[f] * known[SLOPE, f]
        row, given = out[f * stride : f * stride + length], rows[f * line[STEP] : f * line[STEP] + batch]
        of_bias[f] = _finish(row, given, known[GAIN, f], falling, constant, relu)
