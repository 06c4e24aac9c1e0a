"""The compiled kernels of the engine: rows are shifted, weighted and added.

Activations lie as rows, one for each channel, positions and examples inside: a row is contiguous, so each kept weight
is a multiple of a piece of one row added to another (see `tfprune.engine.geometry`). Eight weights go over a tile of
the row they make in one pass. Parallel are tiles and rows, so the order of sums does not depend on how many threads
there are.

Importing this module compiles, or reads what was compiled before: import it by `tfprune.engine.compiling` alone.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange, types

TILE = 256
_BLOCK = 16

_VALUES = types.Array(types.float32, 1, "C", readonly=True)
_STARTS = types.Array(types.int64, 1, "C", readonly=True)
_ROWS = types.Array(types.int32, 1, "C", readonly=True)
_OUT = types.Array(types.float32, 1, "C")
_IMAGES = types.Array(types.float32, 4, "C", readonly=True)
_OUT_IMAGES = types.Array(types.float32, 4, "C")
_INT = types.int64

# What may be reordered and contracted; not `fast`, which takes it that there is no NaN.
_MATH = {"reassoc", "contract", "nsz"}


def _kernel(*arguments):
    return njit(types.void(*arguments), parallel=True, fastmath=_MATH, cache=CACHED, nogil=False)


def _cached() -> bool:
    """Whether Numba finds a place for what it compiles; else it compiles in every process."""
    try:
        njit(types.int64(types.int64), cache=True)(_nothing)
    except RuntimeError:
        return False
    return True


def _nothing(number):
    return number


CACHED = _cached()


@_kernel(_VALUES, _VALUES, _ROWS, _STARTS, _STARTS, _OUT, _INT, _INT, _INT, _INT)
def add_rows(rows, values, order, starts, bounds, out, unit, length, stride, offset):
    """out[o · stride + offset + p] = Σ_k values[order[k]] · rows[starts[k] · unit + p], k in bounds[o] .. bounds[o + 1]

    Args:
        rows: flat; what is weighted.
        values: one for each connection.
        order: of the connections, which are sorted by the row they make.
        starts: where the piece that a connection reads begins, in `unit`s.
        bounds: (rows made + 1,), of the connections of each.
        out: flat; all of the rows made is written, from `offset` on.
        unit: floats.
        length: of a piece, in floats.
        stride: from one row made to the next.
        offset: of the piece in the row made.
    """
    made = bounds.size - 1
    tiles = (length + TILE - 1) // TILE
    # Some rows at a time, so that short rows, too, are work for several threads.
    groups = (made + 63) // 64
    for job in prange(tiles * groups):
        tile = job // groups
        group = job % groups
        begin = tile * TILE
        size = min(TILE, length - begin)
        sums = np.empty(TILE, np.float32)
        for row in range(group * 64, min(made, group * 64 + 64)):
            k = bounds[row]
            end = bounds[row + 1]
            for j in range(size):
                sums[j] = np.float32(0)
            while k + 8 <= end:
                v0, v1, v2, v3 = values[order[k]], values[order[k + 1]], values[order[k + 2]], values[order[k + 3]]
                v4, v5, v6, v7 = values[order[k + 4]], values[order[k + 5]], values[order[k + 6]], values[order[k + 7]]
                x0, x1 = rows[starts[k] * unit + begin :], rows[starts[k + 1] * unit + begin :]
                x2, x3 = rows[starts[k + 2] * unit + begin :], rows[starts[k + 3] * unit + begin :]
                x4, x5 = rows[starts[k + 4] * unit + begin :], rows[starts[k + 5] * unit + begin :]
                x6, x7 = rows[starts[k + 6] * unit + begin :], rows[starts[k + 7] * unit + begin :]
                for j in range(size):
                    sums[j] += ((v0 * x0[j] + v1 * x1[j]) + (v2 * x2[j] + v3 * x3[j])) + (
                        (v4 * x4[j] + v5 * x5[j]) + (v6 * x6[j] + v7 * x7[j])
                    )
                k += 8
            while k < end:
                v0 = values[order[k]]
                x0 = rows[starts[k] * unit + begin :]
                for j in range(size):
                    sums[j] += v0 * x0[j]
                k += 1
            target = out[row * stride + offset + begin :]
            for j in range(size):
                target[j] = sums[j]


@_kernel(_VALUES, _STARTS, _STARTS, _VALUES, _OUT, _INT, _INT, _INT, _INT)
def multiply_rows(rows, starts, bounds, made, out, unit, length, stride, offset):
    """out[k] = Σ_p rows[starts[k] · unit + p] · made[o · stride + offset + p], for every connection k of each row o

    Args:
        rows, starts, bounds, unit, length, stride, offset: as for `add_rows`.
        made: flat; a gradient with respect to the rows made.
        out: one for each connection, in the order of `starts`.
    """
    for row in prange(bounds.size - 1):
        g = made[row * stride + offset :]
        k = bounds[row]
        end = bounds[row + 1]
        while k + 8 <= end:
            x0, x1, x2, x3 = (
                rows[starts[k] * unit :],
                rows[starts[k + 1] * unit :],
                rows[starts[k + 2] * unit :],
                rows[starts[k + 3] * unit :],
            )
            x4, x5, x6, x7 = (
                rows[starts[k + 4] * unit :],
                rows[starts[k + 5] * unit :],
                rows[starts[k + 6] * unit :],
                rows[starts[k + 7] * unit :],
            )
            s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = np.float32(0)
            for j in range(length):
                s0 += g[j] * x0[j]
                s1 += g[j] * x1[j]
                s2 += g[j] * x2[j]
                s3 += g[j] * x3[j]
                s4 += g[j] * x4[j]
                s5 += g[j] * x5[j]
                s6 += g[j] * x6[j]
                s7 += g[j] * x7[j]
            out[k] = s0
            out[k + 1] = s1
            out[k + 2] = s2
            out[k + 3] = s3
            out[k + 4] = s4
            out[k + 5] = s5
            out[k + 6] = s6
            out[k + 7] = s7
            k += 8
        while k < end:
            x0 = rows[starts[k] * unit :]
            s0 = np.float32(0)
            for j in range(length):
                s0 += g[j] * x0[j]
            out[k] = s0
            k += 1


@_kernel(_IMAGES, _OUT, _INT, _INT, _INT, _INT, _INT, _INT, _INT, _INT, _INT, _INT)
def to_rows(images, out, top, left, step_y, step_x, height, width, inner_height, inner_width, stride, offset):
    """Channels-last images as rows: a row for each channel and phase, in it the positions, in these the examples.

    out[((c · step_y + py) · step_x + px) · stride + offset + (y · width + x) · B + b]
        = images[b, y · step_y + py − top, x · step_x + px − left, c] for y < inner_height, x < inner_width, else 0

    Args:
        images: (B, H, W, C).
        out: flat; what lies before `offset` in a row, and after the last position, is set to 0, too.
        top, left: zeros in front of the images.
        step_y, step_x: phases along both axes.
        height, width: positions of a row.
        inner_height, inner_width: those that are no border to the right and below.
        stride: floats from one row to the next.
        offset: floats in front of the first position.
    """
    batch, rows_in, columns_in, channels = images.shape
    phases = step_y * step_x
    blocks = (channels + _BLOCK - 1) // _BLOCK
    for job in prange(blocks * phases * height):
        block = job // (phases * height)
        phase = (job // height) % phases
        y = job % height
        first = block * _BLOCK
        last = min(channels, first + _BLOCK)
        from_y = y * step_y + phase // step_x - top
        inside_y = y < inner_height and 0 <= from_y < rows_in
        for x in range(width):
            from_x = x * step_x + phase % step_x - left
            at = offset + (y * width + x) * batch
            if inside_y and x < inner_width and 0 <= from_x < columns_in:
                for start in range(0, batch, _BLOCK):
                    stop = min(batch, start + _BLOCK)
                    for channel in range(first, last):
                        target = (channel * phases + phase) * stride + at
                        for example in range(start, stop):
                            out[target + example] = images[example, from_y, from_x, channel]
            else:
                for channel in range(first, last):
                    target = (channel * phases + phase) * stride + at
                    for example in range(batch):
                        out[target + example] = np.float32(0)
        if y == 0:
            for channel in range(first, last):
                target = (channel * phases + phase) * stride
                for j in range(offset):
                    out[target + j] = np.float32(0)
        if y == height - 1:
            for channel in range(first, last):
                target = (channel * phases + phase) * stride
                for j in range(offset + height * width * batch, stride):
                    out[target + j] = np.float32(0)


@_kernel(_VALUES, _OUT_IMAGES, _INT, _INT, _INT, _INT, _INT, _INT, _INT)
def to_images(rows, out, top, left, step_y, step_x, width, stride, offset):
    """The other way: out[b, y, x, c] is what `to_rows` would have taken from there.

    Args:
        rows: flat.
        out: (B, H, W, C).
        top, left, step_y, step_x, width, stride, offset: as for `to_rows`.
    """
    batch, rows_out, columns_out, channels = out.shape
    blocks = (channels + _BLOCK - 1) // _BLOCK
    for job in prange(blocks * rows_out):
        block = job // rows_out
        y = job % rows_out
        first = block * _BLOCK
        last = min(channels, first + _BLOCK)
        for x in range(columns_out):
            phase = ((y + top) % step_y) * step_x + (x + left) % step_x
            at = offset + ((y + top) // step_y * width + (x + left) // step_x) * batch
            for start in range(0, batch, _BLOCK):
                stop = min(batch, start + _BLOCK)
                for example in range(start, stop):
                    for channel in range(first, last):
                        source = (channel * step_y * step_x + phase) * stride + at
                        out[example, y, x, channel] = rows[source + example]
