"""The compiled kernels of a dense layer that normalises its own inputs: what lies between its products, in few passes.

Examples (B, features) become rows (features, B) and the other way in blocks of 16 × 16; what is computed of a row is
computed while it is in the cache. Parallel are blocks of rows or of examples, and each sum is one of a whole row, so no
number depends on how many threads there are.

Importing this module compiles, or reads what was compiled before: import it by `tfprune.engine.compiling` alone.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange, types

from tfprune.engine.kernels import CACHED

_SIDE = 16
_WIDE = 64  # rows that a thread makes at a time: 256 bytes of an example

_GIVEN = types.Array(types.float32, 1, "C", readonly=True)
_MADE = types.Array(types.float32, 1, "C")
_EXAMPLES = types.Array(types.float32, 2, "C", readonly=True)
_MADE_EXAMPLES = types.Array(types.float32, 2, "C")
_STARTS = types.Array(types.int64, 1, "C", readonly=True)
_NUMBERS = types.Array(types.int32, 1, "C", readonly=True)

# As in `tfprune.engine.kernels`: sums may be reordered, and NaN stays what it is.
_MATH = {"reassoc", "contract", "nsz"}


def _kernel(*arguments):
    return njit(types.void(*arguments), parallel=True, fastmath=_MATH, cache=CACHED)


@njit(fastmath=_MATH, inline="always")
def _to_rows(examples, begin, stop, first, last, block, rows):
    """rows[f − first, b] = examples[b, f] for b in begin .. stop and f in first .. last; at most 16 examples."""
    for left in range(first, last, _SIDE):
        if stop - begin == _SIDE and left + _SIDE <= last:
            for b in range(_SIDE):
                example = examples[begin + b, left : left + _SIDE]
                for f in range(_SIDE):
                    block[b, f] = example[f]
            for f in range(_SIDE):
                row = rows[left - first + f, begin : begin + _SIDE]
                for b in range(_SIDE):
                    row[b] = block[b, f]
        else:
            for f in range(left, min(last, left + _SIDE)):
                for b in range(begin, stop):
                    rows[f - first, b] = examples[b, f]


@_kernel(_EXAMPLES, _STARTS, _MADE, _MADE, _MADE_EXAMPLES, types.float32, types.boolean)
def normalise(inputs, bounds, mean, variance, rows, epsilon, measured):
    """rows[f, b] = (inputs[b, f] − mean[f]) / sqrt(variance[f] + ε), for those f that have a connection

    Args:
        inputs: (B, features).
        bounds: (features + 1,), of the connections of each feature.
        mean, variance: (features,); made of the inputs if `measured`, else given.
        rows: (features, B); those without a connection are left as they are.
    """
    batch, features = inputs.shape
    for job in prange((features + _WIDE - 1) // _WIDE):
        first = job * _WIDE
        last = min(features, first + _WIDE)
        block = np.empty((_SIDE, _SIDE), np.float32)
        found = np.empty((_WIDE, batch), np.float32)
        for begin in range(0, batch, _SIDE):
            _to_rows(inputs, begin, min(batch, begin + _SIDE), first, last, block, found)
        for f in range(first, last):
            row = found[f - first]
            if measured:
                total = np.float32(0)
                for b in range(batch):
                    total += row[b]
                total /= np.float32(batch)
                squares = np.float32(0)
                for b in range(batch):
                    squares += (row[b] - total) * (row[b] - total)
                mean[f] = total
                variance[f] = squares / np.float32(batch)
            if bounds[f] < bounds[f + 1]:
                center = mean[f]
                scale = np.float32(1) / np.sqrt(variance[f] + epsilon)
                target = rows[f]
                for b in range(batch):
                    target[b] = (row[b] - center) * scale


@_kernel(_GIVEN, _GIVEN, _GIVEN, _GIVEN, _NUMBERS, _STARTS, _NUMBERS, _MADE, _MADE)
def fold(values, gamma, beta, bias, inputs, bounds, order, scaled, shift):
    """scaled[k] = γ · values[k]  and  shift[o] = bias[o] + Σ_k β · values[k]

    Args:
        values: one for each connection.
        inputs: which input each comes from.
        bounds: (outputs + 1,), of the connections of each output in `order`.
        order: connections, sorted by output.
    """
    for o in prange(bounds.size - 1):
        total = bias[o]
        for j in range(bounds[o], bounds[o + 1]):
            k = order[j]
            scaled[k] = gamma[inputs[k]] * values[k]
            total += beta[inputs[k]] * values[k]
        shift[o] = total


@_kernel(_EXAMPLES, _GIVEN, types.boolean, _MADE_EXAMPLES)
def shifted(rows, shift, relu, outputs):
    """outputs[b, o] = rows[o, b] + shift[o], or 0 where that is negative and `relu`"""
    features, batch = rows.shape
    for job in prange((batch + _SIDE - 1) // _SIDE):
        begin = job * _SIDE
        stop = min(batch, begin + _SIDE)
        block = np.empty((_SIDE, _SIDE), np.float32)
        for first in range(0, features, _SIDE):
            last = min(features, first + _SIDE)
            if stop - begin == _SIDE and last - first == _SIDE:
                for f in range(_SIDE):
                    row = rows[first + f, begin : begin + _SIDE]
                    more = shift[first + f]
                    for b in range(_SIDE):
                        value = row[b] + more
                        block[f, b] = np.float32(0) if relu and value < 0 else value
                for b in range(_SIDE):
                    example = outputs[begin + b, first : first + _SIDE]
                    for f in range(_SIDE):
                        example[f] = block[f, b]
            else:
                for b in range(begin, stop):
                    for f in range(first, last):
                        value = rows[f, b] + shift[f]
                        outputs[b, f] = np.float32(0) if relu and value < 0 else value


@_kernel(_EXAMPLES, _EXAMPLES, types.boolean, _MADE_EXAMPLES, _MADE)
def upstream_rows(upstream, outputs, relu, rows, sums):
    """rows[o, b] = upstream[b, o], or 0 where `relu` and outputs[b, o] is not positive; sums[o] = Σ_b rows[o, b]"""
    limit = np.float32(0) if relu else np.float32(-np.inf)
    batch, features = upstream.shape
    for job in prange((features + _SIDE - 1) // _SIDE):
        first = job * _SIDE
        last = min(features, first + _SIDE)
        block = np.empty((_SIDE, _SIDE), np.float32)
        for begin in range(0, batch, _SIDE):
            stop = min(batch, begin + _SIDE)
            if stop - begin == _SIDE and last - first == _SIDE:
                for b in range(_SIDE):
                    example = upstream[begin + b, first : first + _SIDE]
                    output = outputs[begin + b, first : first + _SIDE]
                    for f in range(_SIDE):
                        block[b, f] = example[f] * np.float32(output[f] > limit)  # a factor, as a branch is slow
                for f in range(_SIDE):
                    row = rows[first + f, begin : begin + _SIDE]
                    for b in range(_SIDE):
                        row[b] = block[b, f]
            else:
                for f in range(first, last):
                    for b in range(begin, stop):
                        rows[f, b] = upstream[b, f] * np.float32(outputs[b, f] > limit)
        for f in range(first, last):
            row = rows[f]
            total = np.float32(0)
            for b in range(batch):
                total += row[b]
            sums[f] = total


@_kernel(_GIVEN, _GIVEN, _GIVEN, _GIVEN, _GIVEN, _STARTS, _NUMBERS, _MADE, _MADE, _MADE)
def unfold(products, values, gamma, beta, sums, bounds, outputs, of_values, of_gamma, of_beta):
    """The gradients of what `fold` takes, where `products` are those of `scaled` and `sums` those of `shift`.

    Args:
        bounds: (inputs + 1,), of the connections of each input, which lie one after the other.
        outputs: which output each connection goes to.
    """
    for i in prange(bounds.size - 1):
        along, beside = np.float32(0), np.float32(0)
        for k in range(bounds[i], bounds[i + 1]):
            more = sums[outputs[k]]
            of_values[k] = gamma[i] * products[k] + beta[i] * more
            along += values[k] * products[k]
            beside += values[k] * more
        of_gamma[i] = along
        of_beta[i] = beside


@_kernel(_EXAMPLES, _EXAMPLES, _GIVEN, _GIVEN, _GIVEN, _STARTS, types.boolean, _MADE_EXAMPLES)
def normalised_gradients(back, rows, scale, mean, slope, bounds, measured, out):
    """out[b, f] = scale[f] · (back[f, b] − mean[f] − rows[f, b] · slope[f]), without the last two if not `measured`

    Args:
        back: (features, B), gradients of `rows`.
        rows: as `normalise` made them.
        scale: (features,), the 1 / sqrt(variance + ε) of `normalise`.
        mean, slope: (features,), the means over the batch of `back` and of `back` · `rows`.
        bounds: as for `normalise`; features without a connection get 0.
        out: (B, features).
    """
    features, batch = back.shape
    for job in prange((batch + _SIDE - 1) // _SIDE):
        begin = job * _SIDE
        stop = min(batch, begin + _SIDE)
        block = np.empty((_SIDE, _SIDE), np.float32)
        for first in range(0, features, _SIDE):
            last = min(features, first + _SIDE)
            for f in range(first, last):
                if bounds[f] == bounds[f + 1]:
                    for b in range(_SIDE):
                        block[f - first, b] = np.float32(0)
                elif stop - begin == _SIDE:
                    gradient = back[f, begin : begin + _SIDE]
                    row = rows[f, begin : begin + _SIDE]
                    for b in range(_SIDE):
                        value = gradient[b]
                        if measured:
                            value -= mean[f] + row[b] * slope[f]
                        block[f - first, b] = scale[f] * value
                else:
                    for b in range(begin, stop):
                        value = back[f, b]
                        if measured:
                            value -= mean[f] + rows[f, b] * slope[f]
                        block[f - first, b - begin] = scale[f] * value
            if stop - begin == _SIDE and last - first == _SIDE:
                for b in range(_SIDE):
                    example = out[begin + b, first : first + _SIDE]
                    for f in range(_SIDE):
                        example[f] = block[f, b]
            else:
                for b in range(begin, stop):
                    for f in range(first, last):
                        out[b, f] = block[f - first, b - begin]
