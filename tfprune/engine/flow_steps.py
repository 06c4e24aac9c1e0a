"""What one thread does to some lines of images whose positions are vectors of sixteen examples.

Images lie line by line, in a line channel by channel, in a channel position by position: what a tile reads of all
channels is close together. A step is a line of a table of whole numbers, whose columns these are.

Numba compiles a kernel anew when its own file is another: after a change here a test says what to write there.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from tfprune.engine.kernels import MATH
from tfprune.engine.lanes import LANES
from tfprune.engine.tiles import sum_tile, window_maximum, window_mean
from tfprune.engine.vectors import transpose

PRODUCT, POOL, SCALE, SUM = range(4)
(
    KIND,
    GIVEN,  # where it reads for the first position of what it makes; and floats to the next line and channel
    GIVEN_LINE,
    GIVEN_ROW,
    OTHER,  # the same of a second image
    OTHER_LINE,
    OTHER_ROW,
    STEP_Y,  # lines and positions read further for each that is made
    STEP_X,
    BASE,  # of what it makes: where its memory begins, where the first position lies
    MADE,
    LINE,
    ROW,
    CHANNELS,
    HEIGHT,
    WIDTH,
    TOP,  # zeros around, in lines and positions
    BOTTOM,
    LEFT,
    RIGHT,
    FIRST_NUMBER,  # of a product's shifts, or of factors and then shifts
    FIRST_KEPT,  # of a product's connections and of their bounds; how many groups of channels they read
    FIRST_BOUND,
    GROUPS,
    KERNEL_LINES,  # and so many lines apart in the image; which line of that the first one reads first
    DOWN,
    FIRST_LINE,
    RING,  # lines of the image that are there, in turn; 0: all
    TILE,  # lines
    WINDOW_Y,  # of a pool, which begins so many positions before the image; 0, 1: maximum, mean
    WINDOW_X,
    BEFORE_Y,
    BEFORE_X,
    IS_MEAN,
    GIVEN_HEIGHT,  # of the image that a product or a pool reads
    GIVEN_WIDTH,
) = range(36)
COLUMNS = 36


@njit
def give_lines(images, example, examples, s, rows, base, first, last):
    """Lines of channels-last images, for vectors of these examples; 0 for those that there are not."""
    height, width, channels, line, row = s[HEIGHT], s[WIDTH], s[CHANNELS], s[LINE], s[ROW]
    pixels = height * width * channels
    for y in range(first, last):
        for x in range(width):
            at, pixel = base + s[MADE] + y * line + x * LANES, example * pixels + (y * width + x) * channels
            transpose(images, pixel, pixels, rows, at, row, examples, channels)
            if examples < LANES:
                for channel in range(channels):
                    rows[at + channel * row + examples : at + channel * row + LANES] = np.float32(0)
    _surround(s, rows, base, first, last)


@njit
def take_lines(rows, base, s, example, examples, out, first, last):
    """The other way."""
    height, width, channels = s[HEIGHT], s[WIDTH], s[CHANNELS]
    pixels = height * width * channels
    for y in range(first, last):
        for x in range(width):
            at, pixel = base + s[MADE] + y * s[LINE] + x * LANES, example * pixels + (y * width + x) * channels
            transpose(rows, at, s[ROW], out, pixel, pixels, channels, examples)


@njit
def make_lines(s, rows, base, given, made, first, last, connections, bounds, numbers, floor, ceiling):
    """Some lines of what a step makes.

    Args:
        base: where a block's memory begins.
        given, made: the same for what it reads and what it makes, less the lines in whose place others lie now.
    """
    if s[KIND] == PRODUCT:
        _multiply(s, rows, given, made, first, last, connections, bounds, numbers, floor, ceiling)
    elif s[KIND] == POOL:
        _pool(s, rows, given, made, first, last)
    elif s[KIND] == SCALE:
        _scale(s, rows, given, made, first, last, numbers, floor, ceiling)
    else:
        _add(s, rows, given, base, made, first, last, floor, ceiling)
    _surround(s, rows, made, first, last)


@njit
def _surround(s, rows, base, first, last):
    """Zeros around these lines."""
    if first == 0:
        rows[base + s[BASE] : base + s[BASE] + s[TOP] * s[LINE]] = np.float32(0)
    if last == s[HEIGHT]:
        below = base + s[BASE] + (s[TOP] + last) * s[LINE]
        rows[below : below + s[BOTTOM] * s[LINE]] = np.float32(0)
    left, width, right = s[LEFT] * LANES, s[WIDTH] * LANES, s[RIGHT] * LANES
    if left + right:
        for y in range(first, last):
            for channel in range(s[CHANNELS]):
                at = base + s[MADE] + y * s[LINE] + channel * s[ROW]
                rows[at - left : at] = np.float32(0)
                rows[at + width : at + width + right] = np.float32(0)


@njit
def _kernel_lines(s, y, lines):
    """First and last of a kernel's lines that read something of the image, not zeros around it, for some lines made."""
    above = y * s[STEP_Y] + s[FIRST_LINE]
    below = above + (lines - 1) * s[STEP_Y]
    begin = max(0, -(below // s[DOWN]))
    return begin, max(begin, min(s[KERNEL_LINES], (s[GIVEN_HEIGHT] - 1 - above) // s[DOWN] + 1))


@njit
def _multiply(s, rows, given, made, first, last, connections, bounds, numbers, floor, ceiling):
    channels, width, gap = s[CHANNELS], s[WIDTH], s[STEP_Y] * s[GIVEN_LINE]
    bounds = bounds[s[FIRST_BOUND] : s[FIRST_BOUND] + s[GROUPS] * channels * s[KERNEL_LINES] + 1]
    shifts = numbers[s[FIRST_NUMBER] : s[FIRST_NUMBER] + channels]
    tiles = (width + 7) // 8
    y = first
    while y < last:
        lines = s[TILE] if y + s[TILE] <= last else 1
        begin, end = _kernel_lines(s, y, lines)
        at, middle, back = given + s[GIVEN] + y * gap, end, 0
        if s[RING]:
            above = y * s[STEP_Y] + s[FIRST_LINE]
            turns = above // s[RING]
            at -= turns * s[RING] * s[GIVEN_LINE]
            middle = min(max(begin, -(-((turns + 1) * s[RING] - above) // s[DOWN])), end)
            back = s[RING] * s[GIVEN_LINE]
        for tile in range(tiles):
            x = width * tile // tiles
            sum_tile(
                *(s[STEP_X], lines, width * (tile + 1) // tiles - x),
                *(rows, at + x * s[STEP_X] * LANES, gap, connections[s[FIRST_KEPT] :], bounds, s[KERNEL_LINES]),
                *(begin, middle, end, back, channels, shifts, floor, ceiling),
                *(rows, made + s[MADE] + y * s[LINE] + x * LANES, s[LINE], s[ROW]),
            )
        y += lines


@njit
def _window(s, first, before, window, step, size):
    """Begin and end of a window within an image."""
    begin = first * step - before
    return max(begin, 0), min(begin + window, size)


@njit
def _pool(s, rows, given, made, first, last):
    for y in range(first, last):
        top, bottom = _window(s, y, s[BEFORE_Y], s[WINDOW_Y], s[STEP_Y], s[GIVEN_HEIGHT])
        for x in range(s[WIDTH]):
            left, right = _window(s, x, s[BEFORE_X], s[WINDOW_X], s[STEP_X], s[GIVEN_WIDTH])
            lines, width, gap = bottom - top, right - left, s[GIVEN_LINE]
            share = np.float32(1) / np.float32(lines * width)
            at = given + s[GIVEN] + top * gap + left * LANES
            to = made + s[MADE] + y * s[LINE] + x * LANES
            for channel in range(s[CHANNELS]):
                here, there = at + channel * s[GIVEN_ROW], to + channel * s[ROW]
                if s[IS_MEAN]:
                    window_mean(rows, here, gap, lines, width, rows, there, share)
                else:
                    window_maximum(rows, here, gap, lines, width, rows, there, share)


@njit(fastmath=MATH)
def _scale(s, rows, given, made, first, last, numbers, floor, ceiling):
    channels, length = s[CHANNELS], s[WIDTH] * LANES
    for y in range(first, last):
        for channel in range(channels):
            factor, shift = numbers[s[FIRST_NUMBER] + channel], numbers[s[FIRST_NUMBER] + channels + channel]
            at = given + s[GIVEN] + y * s[GIVEN_LINE] + channel * s[GIVEN_ROW]
            to = made + s[MADE] + y * s[LINE] + channel * s[ROW]
            for i in range(length):
                value = factor * rows[at + i] + shift
                value = floor if floor > value else value
                rows[to + i] = ceiling if ceiling < value else value


@njit(fastmath=MATH)
def _add(s, rows, given, base, made, first, last, floor, ceiling):
    length = s[WIDTH] * LANES
    for y in range(first, last):
        for channel in range(s[CHANNELS]):
            at = given + s[GIVEN] + y * s[GIVEN_LINE] + channel * s[GIVEN_ROW]
            other = base + s[OTHER] + y * s[OTHER_LINE] + channel * s[OTHER_ROW]
            to = made + s[MADE] + y * s[LINE] + channel * s[ROW]
            for i in range(length):
                value = rows[at + i] + rows[other + i]
                value = floor if floor > value else value
                rows[to + i] = ceiling if ceiling < value else value
