"""The compiled kernels of a dense layer of kept weights that normalises its own inputs.

As in `tfprune.engine.kernels`, activations lie as rows, one for each feature, of 64 examples: those of a block stay in
a core's cache from when they are normalised until they are weighted. Gradients of weights take longer chunks of the
batch: there a feature's row is used at once, and those of the outputs are to stay in the cache. Parallel are blocks and
features; the order of sums does not depend on how many threads there are.

Importing this module compiles, or reads what was compiled before: import it by `tfprune.engine.compiling` alone.
"""

from __future__ import annotations

import numpy as np
from numba import get_thread_id, njit, prange, types

from tfprune.engine.kernels import CACHED, MATH, transpose
from tfprune.engine.vectors import FOUR_DOTS, SIXTEEN_DOTS, SUMS

BLOCK = 64  # examples in a row

_WIDE = 64  # features of an example that are one thread's work at a time
_CACHED, _LONGEST = 2**17, 1024  # floats in half of a core's second cache; examples in a chunk, at most
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
    """Floats for the rows of features and of outputs, in a block, and a tile of examples."""
    return (features + outputs + _WIDE) * BLOCK


@njit
def chunk_size(outputs):
    """Examples, a multiple of `BLOCK`, for which the rows of all outputs stay in a core's cache."""
    return max(1, min(_LONGEST, _CACHED // outputs) // BLOCK) * BLOCK


@njit
def gradient_scratch(outputs, threads):
    """Floats for the rows of outputs in a chunk, and for each thread some rows of features and a tile of examples."""
    return outputs * chunk_size(outputs) + threads * _WIDE * (chunk_size(outputs) + BLOCK)


@njit
def _turned(out, tile, some, rows, stride, wide):
    """Makes rows of a tile of examples; up to `BLOCK` they are 0 for examples that there are not."""
    transpose(out, tile, _WIDE, out, rows, stride, some, wide)
    if some < BLOCK:
        for f in range(wide):
            out[rows + f * stride + some : rows + f * stride + BLOCK] = np.float32(0)


@njit(fastmath=MATH)
def _normalised(inputs, begin, some, first, wide, mean, scale, out, rows, stride, tile):
    """out[rows + f · stride + b] = (inputs[begin + b, first + f] − mean[first + f]) · scale[first + f], f < wide"""
    center, factor = mean[first : first + wide], scale[first : first + wide]
    for b in range(some):
        given, row = inputs[begin + b, first : first + wide], out[tile + b * _WIDE : tile + b * _WIDE + wide]
        for f in range(wide):
            row[f] = (given[f] - center[f]) * factor[f]
    _turned(out, tile, some, rows, stride, wide)


@njit(fastmath=MATH)
def _passed(upstream, made, relu, begin, some, first, wide, out, rows, stride, tile):
    """out[rows + o · stride + b] = upstream[begin + b, first + o], or 0 with `relu` where `made` is not positive"""
    limit = np.float32(0) if relu else np.float32(-np.inf)
    for b in range(some):
        given, found = upstream[begin + b, first : first + wide], made[begin + b, first : first + wide]
        row = out[tile + b * _WIDE : tile + b * _WIDE + wide]
        for o in range(wide):
            row[o] = given[o] * np.float32(found[o] > limit)  # a factor, as a branch is slow
    _turned(out, tile, some, rows, stride, wide)


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
        for first in range(0, features, _WIDE):
            wide = min(features - first, _WIDE)
            if live[first] < live[first + wide]:
                place = rows + first * BLOCK
                _normalised(inputs, job * BLOCK, some, first, wide, mean, scale, scratch, place, BLOCK, made)
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
        inputs, mean, scale, values, gamma, beta, relu: as for `produce`.
        bounds: (features + 1,), of the connections of each feature, which lie one after the other.
        upstream: (B, outputs), gradients of the outputs.
        made: (B, outputs), what `produce` made.
        starts: `chunk_size` times the output of each connection.
        scratch: `gradient_scratch` floats.
    """
    batch, features = inputs.shape
    outputs = upstream.shape[1]
    chunk = chunk_size(outputs)
    products = np.zeros(values.size, np.float32)
    of_bias[:] = np.float32(0)
    for begin in range(0, batch, chunk):
        end = min(batch, begin + chunk)
        for job in prange((outputs + _WIDE - 1) // _WIDE):
            first = job * _WIDE
            wide = min(outputs - first, _WIDE)
            tile = outputs * chunk + get_thread_id() * _WIDE * (chunk + BLOCK)
            for b in range(begin, end, BLOCK):
                place = first * chunk + b - begin
                _passed(upstream, made, relu, b, min(end - b, BLOCK), first, wide, scratch, place, chunk, tile)
            for o in range(first, first + wide):
                row = scratch[o * chunk : o * chunk + end - begin]
                total = np.float32(0)
                for b in range(end - begin):
                    total += row[b]
                of_bias[o] += total
        for job in prange((features + _WIDE - 1) // _WIDE):
            first = job * _WIDE
            wide = min(features - first, _WIDE)
            tile = outputs * chunk + get_thread_id() * _WIDE * (chunk + BLOCK)
            rows = tile + _WIDE * BLOCK
            if bounds[first] < bounds[first + wide]:
                for b in range(begin, end, BLOCK):
                    some, place = min(end - b, BLOCK), rows + b - begin
                    _normalised(inputs, b, some, first, wide, mean, scale, scratch, place, chunk, tile)
                for f in range(wide):
                    k, last, row = bounds[first + f], bounds[first + f + 1] - 1, rows + f * chunk
                    while k + 15 <= last:
                        SIXTEEN_DOTS(scratch, 0, starts, k, last, scratch, row, end - begin, products)
                        k += 16
                    while k <= last:
                        FOUR_DOTS(scratch, 0, starts, k, last, scratch, row, end - begin, products)
                        k += 4
    for f in prange(features):
        along, beside = np.float32(0), np.float32(0)
        for k in range(bounds[f], bounds[f + 1]):
            more = of_bias[starts[k] // chunk]
            of_values[k] = gamma[f] * products[k] + beta[f] * more
            along += values[k] * products[k]
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
        inputs, upstream, made, relu, values, bounds: as for `of_weights`.
        starts: `BLOCK` times the output of each connection.
        scratch: as for `produce`.
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
        for first in range(0, outputs, _WIDE):
            wide, place, tile = min(outputs - first, _WIDE), back + first * BLOCK, back + outputs * BLOCK
            _passed(upstream, made, relu, job * BLOCK, some, first, wide, scratch, place, BLOCK, tile)
        for f in range(features):
            _SUM(scratch, back, values, starts, bounds[f], bounds[f + 1], scratch, rows + f * BLOCK)
        block = out[job * BLOCK : job * BLOCK + some]
        transpose(scratch, rows, BLOCK, block.reshape(-1), 0, features, features, some)
        for b in range(some):
            row, given = block[b], inputs[job * BLOCK + b]
            for f in range(features):
                row[f] = by_row[f] * row[f] + (by_input[f] * given[f] + constant[f])
