"""The compiled kernels of a dense layer of kept weights that normalises its own inputs.

As in `tfprune.engine.kernels`, activations lie as rows, one for each feature, of 64 examples: those of a block stay in
a core's cache from when they are normalised until they are weighted. Parallel are blocks, features, and parts of the
batch whose number is always the same; the order of sums does not depend on how many threads there are.

Importing this module compiles, or reads what was compiled before: import it by `tfprune.engine.compiling` alone.
"""

from __future__ import annotations

import numpy as np
from numba import get_thread_id, njit, prange, types

from tfprune.engine.kernels import CACHED, MATH, transpose
from tfprune.engine.vectors import FOUR_DOTS, SIXTEEN_DOTS, SUMS

BLOCK = 64  # examples in a row
PARTS = 4  # of the batch, in each of which gradients are summed

_WIDE = 64  # features of an example that are one thread's work at a time
_SUM = SUMS[BLOCK // 16]

_GIVEN = types.Array(types.float32, 1, "C", readonly=True)
_MADE = types.Array(types.float32, 1, "C")
_EXAMPLES = types.Array(types.float32, 2, "C", readonly=True)
_MADE_EXAMPLES = types.Array(types.float32, 2, "C")
_STARTS = types.Array(types.int32, 1, "C", readonly=True)
_BOUNDS = types.Array(types.int64, 1, "C", readonly=True)


def _kernel(*arguments):
    return njit(types.void(*arguments), parallel=True, fastmath=MATH, cache=CACHED)


@njit
def scratch_size(features, outputs):
    """Floats for the rows of features, those of outputs, and a tile of examples."""
    return (features + outputs + _WIDE) * BLOCK


@njit
def _turned(out, tile, some, rows, wide):
    """Makes rows of a tile of examples, 0 for examples that there are not."""
    transpose(out, tile, _WIDE, out, rows, BLOCK, some, wide)
    if some < BLOCK:
        for f in range(wide):
            out[rows + f * BLOCK + some : rows + (f + 1) * BLOCK] = np.float32(0)


@njit(fastmath=MATH)
def _normalised_rows(inputs, begin, some, mean, scale, bounds, out, rows, tile):
    """out[rows + f · BLOCK + b] = (inputs[begin + b, f] − mean[f]) · scale[f], for features near connections"""
    features = inputs.shape[1]
    for first in range(0, features, _WIDE):
        wide = min(features - first, _WIDE)
        if bounds[first] == bounds[first + wide]:
            continue
        center, factor = mean[first : first + wide], scale[first : first + wide]
        for b in range(some):
            given, row = inputs[begin + b, first : first + wide], out[tile + b * _WIDE : tile + b * _WIDE + wide]
            for f in range(wide):
                row[f] = (given[f] - center[f]) * factor[f]
        _turned(out, tile, some, rows + first * BLOCK, wide)


@njit(fastmath=MATH)
def _upstream_rows(upstream, made, relu, begin, some, out, rows, tile):
    """out[rows + o · BLOCK + b] = upstream[begin + b, o], or 0 with `relu` where what was made is not positive"""
    outputs = upstream.shape[1]
    limit = np.float32(0) if relu else np.float32(-np.inf)
    for first in range(0, outputs, _WIDE):
        wide = min(outputs - first, _WIDE)
        for b in range(some):
            given, found = upstream[begin + b, first : first + wide], made[begin + b, first : first + wide]
            row = out[tile + b * _WIDE : tile + b * _WIDE + wide]
            for o in range(wide):
                row[o] = given[o] * np.float32(found[o] > limit)  # a factor, as a branch is slow
        _turned(out, tile, some, rows + first * BLOCK, wide)


@_kernel(_EXAMPLES, _MADE, _MADE)
def measure(inputs, mean, variance):
    """Mean and variance of each feature, (features,), of inputs (B, features)."""
    batch, features = inputs.shape
    for job in prange((features + _WIDE - 1) // _WIDE):
        first = job * _WIDE
        some = min(features - first, _WIDE)
        totals = np.zeros(_WIDE, np.float32)
        for b in range(batch):
            row = inputs[b, first : first + some]
            for f in range(some):
                totals[f] += row[f]
        center = totals / np.float32(batch)
        totals[:] = np.float32(0)
        for b in range(batch):
            row = inputs[b, first : first + some]
            for f in range(some):
                totals[f] += (row[f] - center[f]) * (row[f] - center[f])
        for f in range(some):
            mean[first + f] = center[f]
            variance[first + f] = totals[f] / np.float32(batch)


@_kernel(
    *(_EXAMPLES, _GIVEN, _GIVEN, _BOUNDS),
    *(_GIVEN, _GIVEN, _GIVEN, _GIVEN, _STARTS, _STARTS, _BOUNDS, _MADE, types.boolean, _MADE_EXAMPLES, _MADE),
)
def produce(inputs, mean, scale, live, values, gamma, beta, bias, order, starts, bounds, scaled, relu, out, scratch):
    """out = x̂ · (γ ∘ W) + (β · W + b), with x̂ = (inputs − mean) · scale; negative outputs are 0 with `relu`

    Args:
        inputs: (B, features).
        mean, scale, gamma, beta: (features,).
        live: (features + 1,), bounds of the connections of each feature.
        values: one for each connection.
        bias: (outputs,).
        order: connections, sorted by output.
        starts: `BLOCK` times the feature of each, in that order.
        bounds: (outputs + 1,), of the connections of each output, in that order.
        scaled: γ ∘ W is written there, in that order.
        out: (B, outputs).
        scratch: `scratch_size` floats for each thread.
    """
    batch, features = inputs.shape
    outputs = bounds.size - 1
    shift = np.empty(outputs, np.float32)
    for o in prange(outputs):
        total = bias[o]
        for k in range(bounds[o], bounds[o + 1]):
            value, feature = values[order[k]], starts[k] // BLOCK
            scaled[k] = gamma[feature] * value
            total += beta[feature] * value
        shift[o] = total
    size = scratch_size(features, outputs)
    floor = np.float32(0) if relu else np.float32(-np.inf)
    for job in prange((batch + BLOCK - 1) // BLOCK):
        rows = get_thread_id() * size
        made = rows + features * BLOCK
        some = min(batch - job * BLOCK, BLOCK)
        _normalised_rows(inputs, job * BLOCK, some, mean, scale, live, scratch, rows, made)
        for o in range(outputs):
            _SUM(scratch, rows, scaled, starts, bounds[o], bounds[o + 1], scratch, made + o * BLOCK)
        block = out[job * BLOCK : job * BLOCK + some]
        transpose(scratch, made, BLOCK, block.reshape(-1), 0, outputs, outputs, some)
        for b in range(some):
            row = block[b]
            for o in range(outputs):
                value = row[o] + shift[o]
                row[o] = floor if value < floor else value


@_kernel(
    *(_EXAMPLES, _GIVEN, _GIVEN, _BOUNDS, _EXAMPLES, _EXAMPLES, types.boolean),
    *(_GIVEN, _GIVEN, _GIVEN, _STARTS, _MADE, _MADE, _MADE, _MADE, _MADE),
)
def of_weights(
    inputs, mean, scale, bounds, upstream, made, relu, values, gamma, beta, starts, of_values, of_gamma, of_beta,
    of_bias, scratch,
):  # fmt: skip
    """The gradients of values, γ, β and b.

    Args:
        inputs, mean, scale, values, gamma, beta, relu, scratch: as for `produce`.
        bounds: (features + 1,), of the connections of each feature, which lie one after the other.
        upstream: (B, outputs), gradients of the outputs.
        made: (B, outputs), what `produce` made.
        starts: `BLOCK` times the output of each connection.
    """
    batch, features = inputs.shape
    outputs, count = upstream.shape[1], values.size
    blocks = (batch + BLOCK - 1) // BLOCK
    products = np.zeros(PARTS * count, np.float32)
    sums = np.zeros(PARTS * outputs, np.float32)
    size = scratch_size(features, outputs)
    for part in prange(PARTS):
        rows = get_thread_id() * size
        back = rows + features * BLOCK
        tile = back + outputs * BLOCK
        found, total = products[part * count : (part + 1) * count], sums[part * outputs : (part + 1) * outputs]
        for job in range(blocks * part // PARTS, blocks * (part + 1) // PARTS):
            some = min(batch - job * BLOCK, BLOCK)
            _normalised_rows(inputs, job * BLOCK, some, mean, scale, bounds, scratch, rows, tile)
            _upstream_rows(upstream, made, relu, job * BLOCK, some, scratch, back, tile)
            for o in range(outputs):
                one = np.float32(0)
                row = scratch[back + o * BLOCK : back + (o + 1) * BLOCK]
                for b in range(BLOCK):
                    one += row[b]
                total[o] += one
            for f in range(features):
                k, end = bounds[f], bounds[f + 1]
                while k + 16 <= end:
                    SIXTEEN_DOTS(scratch, back, starts, k, end - 1, scratch, rows + f * BLOCK, BLOCK, found)
                    k += 16
                while k < end:
                    FOUR_DOTS(scratch, back, starts, k, end - 1, scratch, rows + f * BLOCK, BLOCK, found)
                    k += 4
    for o in range(outputs):
        of_bias[o] = ((sums[o] + sums[outputs + o]) + sums[2 * outputs + o]) + sums[3 * outputs + o]
    for f in prange(features):
        along, beside = np.float32(0), np.float32(0)
        for k in range(bounds[f], bounds[f + 1]):
            product = ((products[k] + products[count + k]) + products[2 * count + k]) + products[3 * count + k]
            more = of_bias[starts[k] // BLOCK]
            of_values[k] = gamma[f] * product + beta[f] * more
            along += values[k] * product
            beside += values[k] * more
        of_gamma[f] = along
        of_beta[f] = beside


@_kernel(
    *(_EXAMPLES, _EXAMPLES, _EXAMPLES, types.boolean, _GIVEN, _STARTS, _BOUNDS),
    *(_GIVEN, _GIVEN, _GIVEN, _MADE_EXAMPLES, _MADE),
)
def of_inputs(inputs, upstream, made, relu, values, starts, bounds, by_row, by_input, constant, out, scratch):
    """out = by_row ∘ (upstream · Wᵀ) + by_input ∘ inputs + constant

    Args:
        inputs, upstream, made, relu, values, starts, bounds, scratch: as for `of_weights`.
        by_row, by_input, constant: (features,).
        out: (B, features).
    """
    batch, features = inputs.shape
    outputs = upstream.shape[1]
    size = scratch_size(features, outputs)
    for job in prange((batch + BLOCK - 1) // BLOCK):
        rows = get_thread_id() * size
        back = rows + features * BLOCK
        some = min(batch - job * BLOCK, BLOCK)
        _upstream_rows(upstream, made, relu, job * BLOCK, some, scratch, back, back + outputs * BLOCK)
        for f in range(features):
            _SUM(scratch, back, values, starts, bounds[f], bounds[f + 1], scratch, rows + f * BLOCK)
        block = out[job * BLOCK : job * BLOCK + some]
        transpose(scratch, rows, BLOCK, block.reshape(-1), 0, features, features, some)
        for b in range(some):
            row, given = block[b], inputs[job * BLOCK + b]
            for f in range(features):
                row[f] = by_row[f] * row[f] + (by_input[f] * given[f] + constant[f])
