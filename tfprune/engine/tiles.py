"""Weighted sums of tiles of an image whose positions are whole vectors.

A tile is some positions of one line, or of few short lines one below the other. Its sums stay in registers while all
connections of a channel are added.

Numba compiles a kernel anew when its own file is another: after a change here a test says what to write there.
"""

from __future__ import annotations

from itertools import chain

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from tfprune.engine.lanes import (
    FLOAT,
    HALF,
    INT,
    LANES,
    VECTOR,
    at_once,
    larger,
    load,
    maximum,
    multiply_add,
    smaller,
    spread,
    store,
    unpacked,
    zeros,
)


def packed(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """int64 (n,): of each connection where it reads, as int32, and its weight behind that.

    Args:
        values: float32 (n,).
        starts: (n,), below 2³¹.
    """
    return np.stack([starts.astype(np.int32), values.view(np.int32)], axis=1).view(np.int64)[:, 0]


def _tile_sum(lines: int, width: int, step: int):
    """The intrinsic for a tile of `lines` times `width` positions, which reads every `step`-th position of a line."""

    @intrinsic
    def tile_sum(
        typing, rows, at, gap, connections, first, last, out, to, gap_out, more, shift, is_limited, floor, ceiling
    ):
        """out[to + l · gap_out + 16 · x + b] = Σ_k value_k · rows[at + start_k + l · gap + 16 · step · x + b]

        For k in first .. last − 1; added to what is there if there is `more`, else to `shift`; then, if it is limited,
        at least `floor` and at most `ceiling`.
        """

        def generate(context, builder, signature, arguments):
            rows, at, gap, connections, first, last, out, to, gap_out, more, shift, is_limited, floor, ceiling = (
                unpacked(context, builder, signature, arguments)
            )
            here, target = builder.gep(rows, [at]), builder.gep(out, [to])
            sums = [[cgutils.alloca_once(builder, VECTOR) for _ in range(width)] for _ in range(lines)]

            def line_of(pointer, gap, line):
                return builder.gep(pointer, [builder.mul(gap, INT(line))]) if line else pointer

            def add(k):
                start = builder.bitcast(builder.gep(connections, [k]), HALF.as_pointer())
                weight = builder.bitcast(builder.gep(start, [INT(1)]), FLOAT.as_pointer())
                value = spread(builder, builder.load(weight))
                piece = builder.gep(here, [builder.zext(builder.load(start), INT)])
                for line, some in enumerate(sums):
                    place = at_once(builder, line_of(piece, gap, line))
                    for x, one in enumerate(some):
                        found = load(builder, place, x * step)
                        builder.store(multiply_add(builder, value, found, builder.load(one)), one)

            with builder.if_else(builder.icmp_signed("!=", more, INT(0))) as (is_more, is_first):
                with is_more:
                    for line, some in enumerate(sums):
                        for x, one in enumerate(some):
                            builder.store(load(builder, line_of(target, gap_out, line), x), one)
                with is_first:
                    for one in chain(*sums):
                        builder.store(spread(builder, shift), one)
            behind = builder.sub(last, INT(1))  # two at a time: LLVM does not see through `at_once`
            with cgutils.for_range_slice(builder, first, behind, INT(2), INT) as (k, _):
                add(k)
                add(builder.add(k, INT(1)))
            odd = builder.and_(builder.sub(last, first), INT(1))
            with builder.if_then(builder.icmp_signed("!=", odd, INT(0))):
                add(behind)
            with builder.if_then(builder.icmp_signed("!=", is_limited, INT(0))):
                low, high = spread(builder, floor), spread(builder, ceiling)
                for one in chain(*sums):
                    builder.store(smaller(builder, high, larger(builder, low, builder.load(one))), one)
            for line, some in enumerate(sums):
                for x, one in enumerate(some):
                    store(builder, builder.load(one), line_of(target, gap_out, line), x)
            return context.get_dummy_value()

        given = rows, at, gap, connections, first, last, out, to, gap_out, more, shift, is_limited, floor, ceiling
        return types.void(*given), generate

    return tile_sum


def _summing(lines: int, width: int, step: int):
    """The function that makes such a tile of all channels; see `sum_tile` for what it is given."""
    tile_sum = _tile_sum(lines, width, step)

    @njit
    def of_all(
        rows, at, gap, connections, bounds, kernel_lines, begin, middle, end, back, made, shifts, floor, ceiling, out,
        to, gap_out, row_out,
    ):  # fmt: skip
        groups = (bounds.size - 1) // (made * kernel_lines)
        start = 1 if middle == begin else 0
        stop = 2 if start == 1 or middle < end else 1
        for group in range(groups):
            for o in range(made):
                k = (group * made + o) * kernel_lines
                for part in range(start, stop):
                    first, last, here = (middle, end, at - back) if part else (begin, middle, at)
                    is_limited = part == stop - 1 and group == groups - 1
                    tile_sum(
                        *(rows, here, gap, connections, bounds[k + first], bounds[k + last]),
                        *(out, to + o * row_out, gap_out, group + part - start, shifts[o]),
                        *(int(is_limited), floor, ceiling),
                    )

    return of_all


def _window(is_mean: bool):
    """The intrinsic for one position of a pool."""

    @intrinsic
    def window(typing, rows, at, gap, lines, width, out, to, share):
        """out[to + b] = max or share · Σ of rows[at + l · gap + 16 · x + b], for l < lines, x < width, both ≥ 1"""

        def generate(context, builder, signature, arguments):
            rows, at, gap, lines, width, out, to, share = unpacked(context, builder, signature, arguments)
            found = cgutils.alloca_once(builder, VECTOR)
            start = load(builder, builder.gep(rows, [at]), 0)
            builder.store(zeros() if is_mean else start, found)
            with cgutils.for_range(builder, lines, intp=INT) as line:
                first = builder.gep(rows, [builder.add(at, builder.mul(gap, line.index))])
                with cgutils.for_range(builder, width, intp=INT) as x:
                    one = load(builder, builder.gep(first, [builder.mul(x.index, INT(LANES))]), 0)
                    so_far = builder.load(found)
                    builder.store(builder.fadd(so_far, one) if is_mean else maximum(builder, so_far, one), found)
            result = builder.load(found)
            if is_mean:
                result = builder.fmul(result, spread(builder, share))
            store(builder, result, builder.gep(out, [to]), 0)
            return context.get_dummy_value()

        return types.void(rows, at, gap, lines, width, out, to, share), generate

    return window


window_maximum, window_mean = _window(False), _window(True)


def lines_of(width: int) -> int:
    """Lines of a tile, of an image of some width: tiles of two or four vectors alone would wait for their sums."""
    return 1 if width > 4 else 2 if width > 2 else 4


def _by_width(lines: int, step: int) -> list:
    widths = range(1, 9) if lines == 1 else [width for width in range(1, 5) if lines_of(width) == lines]
    return [_summing(lines, width, step) for width in widths]


def _choosing(step: int):
    one, two, three, four, five, six, seven, eight = _by_width(1, step)
    two_of_three, two_of_four = _by_width(2, step)
    four_of_one, four_of_two = _by_width(4, step)

    @njit
    def choose(lines, width, *given):
        if lines == 4 and width == 2:
            four_of_two(*given)
        elif lines == 4:
            four_of_one(*given)
        elif lines == 2 and width == 4:
            two_of_four(*given)
        elif lines == 2:
            two_of_three(*given)
        elif width == 8:
            eight(*given)
        elif width == 7:
            seven(*given)
        elif width == 6:
            six(*given)
        elif width == 5:
            five(*given)
        elif width == 4:
            four(*given)
        elif width == 3:
            three(*given)
        elif width == 2:
            two(*given)
        else:
            one(*given)

    return choose


_EACH, _EVERY_SECOND = _choosing(1), _choosing(2)


@njit
def sum_tile(
    step, lines, width, rows, at, gap, connections, bounds, kernel_lines, begin, middle, end, back, made, shifts, floor,
    ceiling, out, to, gap_out, row_out,
):  # fmt: skip
    """A tile of all channels that a product makes.

    Args:
        step: along a line, 1 or 2.
        lines, width: positions of the tile: one line of up to 8, or `lines_of` a width of up to 4.
        rows, at: flat; where connections read from, for the tile's first position.
        gap: from what the first line reads to what the next does.
        connections: see `packed`; sorted by groups of the channels they read, in these by the one they make, and then
            by lines of the kernel.
        bounds: (groups · made · lines of the kernel + 1,), of these connections.
        kernel_lines, begin, middle, end: how many, and which are taken: from the middle one on what lies so many floats
            further back.
        back: these floats.
        made: channels.
        shifts: (made,), added.
        floor, ceiling: of what is made.
        out, to: flat; where the tile's first position lies of the first channel.
        gap_out, row_out: from one line, and one channel, to the next.
    """
    given = rows, at, gap, connections, bounds, kernel_lines, begin, middle, end, back, made, shifts, floor, ceiling
    given = *given, out, to, gap_out, row_out
    if step == 1:
        _EACH(lines, width, *given)
    else:
        _EVERY_SECOND(lines, width, *given)
