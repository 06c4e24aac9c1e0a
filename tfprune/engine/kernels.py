"""The compiled kernels of the engine: rows are shifted, weighted and added.

Activations lie as rows, one for each channel, positions and examples inside: a row is contiguous, so each kept weight
is a multiple of a piece of one row added to another (see `tfprune.engine.geometry`). Rows are there for some examples
at a time, a block, so that those of a dense layer stay in a core's cache. Parallel are blocks, tiles of the pieces,
and parts of the rows made; the order of sums does not depend on how many threads there are.

All rows begin at a multiple of 16 floats (`LANES`); up to there what lies behind a row's end has no meaning. Behind
the last row of a buffer are 16 floats more, which may be read.

Importing this module compiles, or reads what was compiled before: import it by `tfprune.engine.compiling` alone.
"""
# What is compiled into kernels, see tests/engine/test_compiling.py: c6b5ab2ca486

from __future__ import annotations

import numpy as np
from numba import get_thread_id, njit, prange, types

from tfprune.engine.compiling import keeps_compiled
from tfprune.engine.vectors import FOUR_DOTS, LANES, MOST, SIXTEEN_DOTS, add_pieces, transpose

_TILE = 512  # floats of pieces that are multiplied at a time
_CHANNELS = 64  # that are transposed at a time

_VALUES = types.Array(types.float32, 1, "C", readonly=True)
_NUMBERS = types.Array(types.int32, 1, "C", readonly=True)
_BOUNDS = types.Array(types.int64, 1, "C", readonly=True)
_OUT = types.Array(types.float32, 1, "C")
_INT = types.int64
_PACKING, _UNPACKING = types.UniTuple(_INT, 14), types.UniTuple(_INT, 11)

# What may be reordered and contracted; not `fast`, which takes it that there is no NaN.
MATH = {"reassoc", "contract", "nsz"}

CACHED = keeps_compiled()


def _kernel(*arguments):
    return njit(types.void(*arguments), parallel=True, fastmath=MATH, cache=CACHED, nogil=False)


@njit
def _add(rows, at, values, starts, bounds, begin, end, out, to, made, vectors, tile, tiles, stride):
    """A tile of some rows made: what is read of a group of rows stays in a core's first cache meanwhile."""
    first = vectors * tile // tiles
    at_once = vectors * (tile + 1) // tiles - first
    at += first * LANES
    to += first * LANES
    nothing, least = np.float32(0), np.float32(-np.inf)
    for group in range((bounds.size - 1) // made):
        for row in range(begin, end):
            k = group * made + row
            add_pieces(
                *(rows, at, at_once, values, starts, bounds[k], bounds[k + 1]),
                *(out, to + row * stride, group, nothing, least),
            )


@_kernel(_VALUES, _NUMBERS, _OUT)
def sort_values(values, order, out):
    """out[k] = values[order[k]]"""
    for k in prange(order.size):
        out[k] = values[order[k]]


@_kernel(_VALUES, _NUMBERS, _OUT)
def unsort_values(values, order, out):
    """out[order[k]] = values[k]"""
    for k in prange(order.size):
        out[order[k]] = values[k]


@_kernel(_VALUES, _VALUES, _NUMBERS, _BOUNDS, _BOUNDS, _OUT, _INT, _INT, _INT, _INT, _INT)
def add_rows(rows, values, starts, bounds, parts, out, made, blocks, size, length, stride):
    """out[o · stride + p] = Σ_k values[k] · rows[starts[k] + p] for all connections k of row o, p < length

    The same for every block, in which all rows are `size` floats, and those made follow those of the block before.

    Args:
        rows: flat; what is weighted.
        values, starts: of the connections, which are sorted by groups of the rows they read, in these by the row they
            make: weight, and where the piece of the rows begins that is read.
        bounds: (groups · made + 1,), of the connections of each row made, group by group.
        parts: bounds of the rows made that are one thread's work at a time.
        out: flat.
        made: rows made.
        blocks: number of blocks.
        size: of a block, in floats.
        length: of a piece, in floats.
        stride: from one row made to the next.
    """
    vectors = (length + LANES - 1) // LANES
    tiles = (vectors + MOST - 1) // MOST
    several = parts.size - 1
    for job in prange(blocks * tiles * several):
        block, part = job // (tiles * several), job % several
        to = block * made * stride
        _add(
            *(rows, block * size, values, starts, bounds, parts[part], parts[part + 1], out, to, made),
            *(vectors, job // several % tiles, tiles, stride),
        )


@_kernel(_VALUES, _NUMBERS, _BOUNDS, _BOUNDS, _VALUES, _OUT, _INT, _INT, _INT, _INT, _INT, _INT, _INT)
def multiply_rows(rows, starts, bounds, parts, made, out, number, blocks, size, length, made_size, stride, offset):
    """out[k] += Σ_p rows[starts[k] + p] · made[o · stride + offset + p], for every connection k of each row o

    Summed over blocks.

    Args:
        rows, starts, bounds, parts, blocks, size, length: as for `add_rows`.
        made: flat; a gradient with respect to the rows made.
        out: one for each connection, in the order of `starts`.
        number: of rows made.
        made_size: of a block of `made`, in floats.
        stride: from one row of `made` to the next.
        offset: of the piece in it.
    """
    tiles = max(1, length // _TILE)
    for part in prange(parts.size - 1):
        for job in range(blocks * tiles):
            block = job // tiles
            begin = length * (job % tiles) // tiles
            some = length * (job % tiles + 1) // tiles - begin
            at = block * size + begin
            for group in range((bounds.size - 1) // number):
                for row in range(parts[part], parts[part + 1]):
                    k = bounds[group * number + row]
                    end = bounds[group * number + row + 1]
                    to = block * made_size + row * stride + offset + begin
                    while k + 16 <= end:
                        SIXTEEN_DOTS(rows, at, starts, k, end - 1, made, to, some, out)
                        k += 16
                    while k < end:
                        FOUR_DOTS(rows, at, starts, k, end - 1, made, to, some, out)
                        k += 4


@njit
def _pack(
    images, out, example, examples, rows_in, columns_in, channels, top, left, step_y, step_x, height, width,
    inner_height, inner_width, block, base, stride, offset, y, phase, part,
):  # fmt: skip
    """What `to_rows` does to some channels of a line of the positions, in the block that begins at `base`."""
    phases = step_y * step_x
    pixels = rows_in * columns_in * channels
    first = part * _CHANNELS
    some = min(channels - first, _CHANNELS)
    rows = base + (first * phases + phase) * stride
    step = phases * stride
    at = rows + offset + y * width * block
    from_y = y * step_y + phase // step_x - top
    # Positions from `begin` to `end` are pixels.
    shift = phase % step_x - left
    begin = min(width, max(0, (step_x - 1 - shift) // step_x))
    end = max(begin, min(inner_width, (columns_in - shift + step_x - 1) // step_x))
    if y >= inner_height or from_y < 0 or from_y >= rows_in:
        begin = end = width
    pixel = (example * rows_in + from_y) * columns_in + begin * step_x + shift
    pixel = pixel * channels + first
    if block == 1:
        transpose(images, pixel, step_x * channels, out, at + begin, step, end - begin, some)
    else:
        for x in range(begin, end):
            transpose(images, pixel, pixels, out, at + x * block, step, examples, some)
            pixel += step_x * channels
    for channel in range(some):
        row = rows + channel * step
        here = at + channel * step
        out[here : here + begin * block] = np.float32(0)
        out[here + end * block : here + width * block] = np.float32(0)
        if examples < block:
            for x in range(begin, end):
                out[here + x * block + examples : here + (x + 1) * block] = np.float32(0)
        if y == 0:
            out[row : row + offset] = np.float32(0)
        if y == height - 1:
            out[row + offset + height * width * block : row + stride] = np.float32(0)


@njit
def _unpack(
    rows, out, example, examples, rows_out, columns_out, channels, top, left, step_y, step_x, width, block, base,
    stride, skipped, y, part,
):  # fmt: skip
    """What `to_images` does to some channels of a line of the images, from the block that begins at `base`."""
    phases = step_y * step_x
    pixels = rows_out * columns_out * channels
    first = part * _CHANNELS
    some = min(channels - first, _CHANNELS)
    line = (y + top) // step_y * width
    pixel = (example * rows_out + y) * columns_out * channels + first
    for x in range(min(step_x, columns_out) if block == 1 else columns_out):
        phase = (y + top) % step_y * step_x + (x + left) % step_x
        at = base + (first * phases + phase) * stride + (line + (x + left) // step_x) * block - skipped
        step = phases * stride
        if block == 1:  # all pixels of the phase
            several_x = (columns_out - x + step_x - 1) // step_x
            transpose(rows, at, step, out, pixel + x * channels, step_x * channels, some, several_x)
        else:
            transpose(rows, at, step, out, pixel + x * channels, pixels, some, examples)


@_kernel(_VALUES, _OUT, *[_INT] * 16)
def to_rows(
    images, out, batch, rows_in, columns_in, channels, top, left, step_y, step_x, height, width, inner_height,
    inner_width, block, size, stride, offset,
):  # fmt: skip
    """Channels-last images as rows: a row for each channel and phase, in it the positions, in these the examples.

    out[n · size + ((c · step_y + py) · step_x + px) · stride + offset + (y · width + x) · block + b]
        = images[n · block + b, y · step_y + py − top, x · step_x + px − left, c] for y < inner_height, x < inner_width
    and 0 in all other places of a row, and for examples that there are not.

    Args:
        images: flat, of (batch, rows_in, columns_in, channels).
        out: flat.
        top, left: zeros in front of the images.
        step_y, step_x: phases along both axes.
        height, width: positions of a row.
        inner_height, inner_width: those that are no border to the right and below.
        block: examples at a time.
        size: of a block of rows, in floats.
        stride: floats from one row to the next.
        offset: floats in front of the first position.
    """
    phases = step_y * step_x
    blocks = (batch + block - 1) // block
    several = (channels + _CHANNELS - 1) // _CHANNELS
    for job in prange(blocks * height * phases * several):
        number = job // (height * phases * several)
        _pack(
            *(
                images,
                out,
                number * block,
                min(block, batch - number * block),
                rows_in,
                columns_in,
                channels,
                top,
                left,
            ),
            *(step_y, step_x, height, width, inner_height, inner_width, block, number * size, stride, offset),
            *(job // (phases * several) % height, job // several % phases, job % several),
        )


@_kernel(_VALUES, _OUT, *[_INT] * 13)
def to_images(
    rows, out, batch, rows_out, columns_out, channels, top, left, step_y, step_x, width, block, size, stride, skipped
):  # fmt: skip
    """The other way: out[b, y, x, c] is what `to_rows` would have taken from there, without an offset.

    Args:
        skipped: floats of each row, at its beginning, that are not there.
    """
    blocks = (batch + block - 1) // block
    several = (channels + _CHANNELS - 1) // _CHANNELS
    for job in prange(blocks * rows_out * several):
        number = job // (rows_out * several)
        _unpack(
            *(
                rows,
                out,
                number * block,
                min(block, batch - number * block),
                rows_out,
                columns_out,
                channels,
                top,
                left,
            ),
            *(step_y, step_x, width, block, number * size, stride, skipped, job // several % rows_out, job % several),
        )


@_kernel(_VALUES, _OUT, _VALUES, _NUMBERS, _BOUNDS, _INT, _INT, _PACKING, _UNPACKING, _INT, _INT, _OUT)
def multiply_images(images, out, values, starts, bounds, batch, block, given, made, first, length, scratch):
    """`to_rows`, `add_rows` and `to_images` at once, each block by one thread, whose caches its rows are in.

    Args:
        images, out: flat, of examples.
        values, starts, bounds: as for `add_rows`.
        batch, block: examples, and those of a block.
        given: what else `to_rows` is given, without `block`.
        made: what else `to_images` is given, without `block`.
        first: float of a block's rows from which on `starts` count.
        length: of a piece, in floats.
        scratch: for each thread floats for the rows of a block, given and made.
    """
    rows_in, columns_in, channels, top, left, step_y, step_x, height, width = given[:9]
    inner_height, inner_width, size, stride, offset = given[9:]
    rows_out, columns_out, channels_out, top_out, left_out, step_y_out, step_x_out, width_out = made[:8]
    size_out, stride_out, skipped = made[8:]
    vectors = (length + LANES - 1) // LANES
    tiles = (vectors + MOST - 1) // MOST
    number_made = channels_out * step_y_out * step_x_out
    for number in prange((batch + block - 1) // block):
        base = get_thread_id() * (size + size_out + LANES)
        back = base + size + LANES  # behind the rows that are read are floats that may be read
        examples = min(block, batch - number * block)
        for y in range(height):
            for phase in range(step_y * step_x):
                for part in range((channels + _CHANNELS - 1) // _CHANNELS):
                    _pack(
                        *(images, scratch, number * block, examples, rows_in, columns_in, channels, top, left),
                        *(step_y, step_x, height, width, inner_height, inner_width, block, base, stride, offset),
                        *(y, phase, part),
                    )
        for tile in range(tiles):
            _add(
                *(scratch, base + first, values, starts, bounds, 0, number_made, scratch, back, number_made),
                *(vectors, tile, tiles, stride_out),
            )
        for y in range(rows_out):
            for part in range((channels_out + _CHANNELS - 1) // _CHANNELS):
                _unpack(
                    *(scratch, out, number * block, examples, rows_out, columns_out, channels_out, top_out, left_out),
                    *(step_y_out, step_x_out, width_out, block, back, stride_out, skipped, y, part),
                )
