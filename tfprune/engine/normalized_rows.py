"""What one thread does to some features in dense layers of kept weights that normalise their own inputs.

Rows lie as `tfprune.engine.normalized_kernels` says, of whose kernels these are compiled as parts. Numba compiles a
kernel anew when its own file is another: after a change here, touch that one.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from tfprune.engine.kernels import MATH, transpose
from tfprune.engine.vectors import FOUR_DOTS, LANES, MOST, SIXTEEN_DOTS, add_far_pieces, transpose_bytes

# Columns of the table: how many features a layer has, how many weights it keeps, whether negative outputs become 0, and
# where the first one lies of its inputs, its outputs, its kept weights, and of all its values, γ, β and b.
INPUTS, OUTPUTS, KEPT, RELU, FIRST_INPUT, FIRST_OUTPUT, FIRST_KEPT, FIRST_WEIGHT = range(8)

_CACHED = 2**17  # floats in half of a core's second cache


@njit
def _tile(rows, length):
    """Floats of `rows` rows that are used at a time, so that these stay in a core's cache."""
    most = MOST * LANES
    return min(most, length) if rows * most <= 2 * _CACHED else most // 2


@njit
def give_examples(rows, stride, out):
    """Rows as examples (B, features)."""
    batch, features = out.shape
    transpose(rows, 0, stride, out.reshape(-1), 0, features, features, batch)


@njit(fastmath=MATH)
def standardised(row, f, measured, epsilon, mean, variance, scale, out):
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
def normalised(scratch, first, wide, batch, stride, measured, epsilon, mean, variance, scale, rows):
    """Rows of some features, from those in the scratch."""
    for f in range(wide):
        row = scratch[f * stride : f * stride + batch]
        out = rows[(first + f) * stride : (first + f + 1) * stride]
        standardised(row, first + f, measured, epsilon, mean, variance, scale, out)


@njit
def transpose_pixels(pixels, first, wide, center, factor, out, stride):
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


@njit(fastmath=MATH)
def make_outputs(rows, batch, stride, weights, line, order, numbers, starts, bounds, first, last, scaled, shifts, made):
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


@njit(fastmath=MATH)
def _through_relu(row, made, relu):
    """Makes a row of gradients 0 behind the batch, with `relu` also where `made` is not positive; gives its sum."""
    total = np.float32(0)
    if relu:
        for b in range(made.size):
            row[b] *= np.float32(made[b] > np.float32(0))  # a factor, as a branch is slow
    for b in range(made.size):
        total += row[b]
    for b in range(made.size, row.size):
        row[b] = np.float32(0)
    return total


@njit(fastmath=MATH)
def take_upstream(upstream, made, relu, stride, out, of_bias):
    """Rows of gradients, 0 with `relu` where `made` is not positive, and the sum of each."""
    batch, outputs = upstream.shape
    transpose(upstream.reshape(-1), 0, outputs, out, 0, stride, batch, outputs)
    for o in range(outputs):
        row, found = out[o * stride : (o + 1) * stride], made[o * stride : o * stride + batch]
        of_bias[o] = _through_relu(row, found, relu)


@njit(fastmath=MATH)
def make_gradients(
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
            row, given = of_inputs[f * stride : (f + 1) * stride], rows[f * stride : f * stride + batch]
            for b in range(batch):
                row[b] = factor * (row[b] - (constant + slope * given[b]))
            of_bias_before[f] = _through_relu(row, made[f * stride : f * stride + batch], relu)
