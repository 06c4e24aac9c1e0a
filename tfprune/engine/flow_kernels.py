"""The compiled kernel of several layers at once: see `tfprune.engine.flow` and `tfprune.engine.flow_steps`.

Importing this module compiles, or reads what was compiled before: import it by `tfprune.engine.compiling` alone.
"""
# What is compiled into kernels, see tests/engine/test_compiling.py: c6b5ab2ca486

from __future__ import annotations

from numba import get_thread_id, njit, prange, types

from tfprune.engine.flow_steps import GIVEN_LINE, HEIGHT, LANES, LINE, give_lines, make_lines, take_lines
from tfprune.engine.kernels import CACHED, MATH

_VALUES = types.Array(types.float32, 1, "C", readonly=True)
_NUMBERS = types.Array(types.int64, 1, "C", readonly=True)
_TABLE = types.Array(types.int64, 2, "C", readonly=True)
_LIMITS = types.Array(types.float32, 2, "C", readonly=True)
_OUT = types.Array(types.float32, 1, "C")
_INT = types.int64


@njit
def _lines(height, part, parts, tile):
    """First and last of a part's lines: whole tiles."""
    tiles = (height + tile - 1) // tile
    return min(height, tiles * part // parts * tile), min(height, tiles * (part + 1) // parts * tile)


@njit(
    types.void(_VALUES, _OUT, _INT, _TABLE, _TABLE, _LIMITS, _NUMBERS, _NUMBERS, _VALUES, _INT, _INT, _OUT),
    parallel=True,
    fastmath=MATH,
    cache=CACHED,
)
def flow(images, out, batch, table, order, limits, connections, bounds, numbers, size, parts, scratch):
    """All steps.

    Args:
        images, out: flat, channels last, of examples.
        batch: examples.
        table: a line for the images as they are given, then one for each step.
        order: jobs of one thread, see `tfprune.engine.flow_memory.Memory`.
        limits: (steps, 2), floor and ceiling of what a step makes.
        connections: of all products, see `tfprune.engine.tiles.packed`.
        bounds: of these, for each channel made.
        numbers: shifts of products, factors and shifts of scales.
        size: floats of the memory for all images of a block of 16 examples.
        parts: of the lines of each step, for threads; 1 gives each block to one thread, from images to images.
        scratch: such memory for each thread, or with several parts for each block.
    """
    blocks = (batch + LANES - 1) // LANES
    last = table.shape[0] - 1
    if parts == 1:
        for block in prange(blocks):
            base, example = get_thread_id() * size, block * LANES
            examples = min(LANES, batch - example)
            give_lines(images, example, examples, table[0], scratch, base, 0, table[0, HEIGHT])
            for j in range(order.shape[0]):
                i, first, behind, given, made = order[j]
                floor, ceiling = limits[i - 1, 0], limits[i - 1, 1]
                given, made = base - given * table[i, GIVEN_LINE], base - made * table[i, LINE]
                make_lines(
                    *(table[i], scratch, base, given, made, first, behind),
                    *(connections, bounds, numbers, floor, ceiling),
                )
            take_lines(scratch, base, table[last], example, examples, out, 0, table[last, HEIGHT])
    else:
        for job in prange(blocks * parts):
            example = job // parts * LANES
            begin, end = _lines(table[0, HEIGHT], job % parts, parts, 1)
            base, examples = job // parts * size, min(LANES, batch - example)
            give_lines(images, example, examples, table[0], scratch, base, begin, end)
        for i in range(1, last + 1):
            floor, ceiling = limits[i - 1, 0], limits[i - 1, 1]
            for job in prange(blocks * parts):
                begin, end = _lines(table[i, HEIGHT], job % parts, parts, 4)
                base = job // parts * size
                make_lines(
                    *(table[i], scratch, base, base, base, begin, end),
                    *(connections, bounds, numbers, floor, ceiling),
                )
        for job in prange(blocks * parts):
            example = job // parts * LANES
            begin, end = _lines(table[last, HEIGHT], job % parts, parts, 1)
            base, examples = job // parts * size, min(LANES, batch - example)
            take_lines(scratch, base, table[last], example, examples, out, begin, end)
