"""Where the images of a flow lie in a block's memory, and in which order their lines are made.

A thread that takes a block through all steps need not make one large image after the other: steps with few weights make
some lines each, in turn, so that what one has made is still in a core's caches where the next one reads it. Images of
which no more than that is needed are there in few lines, in whose place others lie later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tfprune.engine.compiling import kernels
from tfprune.engine.layout import LANES
from tfprune.engine.steps import Product, Step, View

_LARGE = 1 << 17  # floats of an image that would leave a core's second cache
_FEW = 1 << 14  # weights that stay there


@dataclass(frozen=True)
class Place:
    """Where an image lies, in floats."""

    top: int
    bottom: int
    left: int
    right: int
    row: int
    line: int
    size: int
    base: int = 0

    @property
    def first(self) -> int:
        return self.base + self.top * self.line + self.left * LANES

    def of(self, view: View, y: int, x: int) -> int:
        """Of a view's line and position."""
        return self.first + (y - view.top) * self.line + (x - view.left) * LANES


class Memory:
    """Of all images that a block of examples becomes.

    Args:
        image: height, width, channels of what the first step is given.
        steps: each reads what those before it made.
        kept: how many weights each step has; None where every step makes all lines before the next one does.

    Attributes:
        places: of the images given, and of what each step makes.
        size: floats.
        passed: images, by their number, of which only those lines are there that the next step takes at a time, and
            how many for each of its own.
        rings: images of which the last so many lines are there, in turn.
        order: int64 (jobs, 5): a step, counted from 1; the first of its lines that are made, and the one behind the
            last; and, where lines lie where earlier ones lay, by how many lines: of what it reads, and of what it
            makes.
    """

    def __init__(self, image: tuple[int, int, int], steps: Sequence[Step], kept: Sequence[int] | None = None):
        self._steps = list(steps)
        self._shapes = [image, *((step.height, step.width, step.channels) for step in steps)]
        self._turns = [[number] for number in range(1, len(self._shapes))] if kept is None else self._in_turn(kept)
        readers = self._only_readers()
        self.passed = {
            number: step.lines_for_lines
            for number, (step, view) in readers.items()
            if step.lines_for_lines and view == View(number, *self._shapes[number][:2])
        }
        self._at_once = self._lines_at_once()
        self.rings = {
            number: lines
            for number, (step, _) in readers.items()
            if number not in self.passed and (lines := self._ring(number, step))
        }
        self.places = self._placed()
        self.size = max(place.base + place.size for place in self.places)
        self.order = np.array([job for turn in self._turns for job in self._jobs(turn)], np.int64)

    def _in_turn(self, kept: Sequence[int]) -> list[list[int]]:
        """Steps that make some lines each: what is between them is large, and their weights are few."""
        turns, weights = [[1]], kept[0]
        for number in range(2, len(self._shapes)):
            more = kept[number - 1]
            is_large = np.prod(self._shapes[number - 1]) * LANES >= _LARGE
            follows = any(view.number == number - 1 for view in self._steps[number - 1].given)
            if is_large and follows and (weights + more <= _FEW or not more):
                turns[-1].append(number)
                weights += more
            else:
                turns.append([number])
                weights = more
        return turns

    def _only_readers(self) -> dict[int, tuple[Step, View]]:
        """Images that the next step in turn reads and no other does: that step, and its view of them."""
        found = {}
        times = Counter(view.number for step in self._steps for view in step.given)
        for turn in self._turns:
            for number in turn[:-1]:
                step = self._steps[number]
                views = [view for view in step.given if view.number == number]
                if views and times[number] == 1:
                    found[number] = step, views[0]
        return found

    def _lines_at_once(self) -> list[int]:
        """Of each image: all, or in turn whole tiles of a product, and what is made of such."""
        found = [height for height, _, _ in self._shapes]
        for turn in self._turns:
            if len(turn) > 1:
                for number in turn:
                    lines = _tile(self._steps[number - 1])
                    if number - 1 in self.passed:
                        lines = max(lines, -(-found[number - 1] // self.passed[number - 1]))
                    found[number] = lines
                for number in reversed(turn):
                    if number in self.passed:
                        found[number] = found[number + 1] * self.passed[number]
        return found

    def _ring(self, number: int, reader: Step) -> int:
        """Lines that a ring of an image has; 0 where the image is there as a whole."""
        if not isinstance(reader, Product) or _tile(reader) > 1:
            return 0
        each = self._at_once[number]
        read = reader.lines_read(self._at_once[number + 1] - 1) - reader.first[0]
        lines = -(-(read + each - 1) // each) * each
        return lines if lines < self._shapes[number][0] else 0

    def _jobs(self, turn: list[int]) -> Iterator[tuple[int, int, int, int, int]]:
        made = dict.fromkeys(turn, 0)

        def make(number: int, lines: int) -> Iterator[tuple[int, int, int, int, int]]:
            """The first lines of an image, as far as they are not made."""
            step, height = self._steps[number - 1], self._shapes[number][0]
            while made[number] < lines:
                begin = made[number]
                end = lines if number in self.passed else min(begin + self._at_once[number], height)
                given = 0
                for view in step.given:
                    if view.number in made:
                        read = step.lines_read(end - 1) - view.top
                        if view.number in self.passed:
                            given, read = (line * self.passed[view.number] for line in (begin, end))
                        yield from make(view.number, min(read, self._shapes[view.number][0]))
                there = begin if number in self.passed else begin - begin % self.rings.get(number, height)
                yield number, begin, end, given, there
                made[number] = end

        for number in reversed(turn):  # of what others read besides, all lines
            if number not in self.passed and number not in self.rings:
                yield from make(number, self._shapes[number][0])

    def _placed(self) -> list[Place]:
        """Where all images lie: what is read no more makes room."""
        borders = np.zeros((len(self._shapes), 4), np.int64)  # top, left, bottom, right
        until = np.arange(len(self._shapes))
        for turn in self._turns:
            for number in turn:
                step, until[number] = self._steps[number - 1], turn[-1]
                for view in step.given:
                    height, width, _ = self._shapes[view.number]
                    before = [view.top - step.first[0], view.left - step.first[1]]
                    behind = [step.last[0] - view.top - height + 1, step.last[1] - view.left - width + 1]
                    borders[view.number] = np.maximum(borders[view.number], [*before, *behind])
                    until[view.number] = turn[-1]
        until[-1] = len(self._shapes)
        places: list[Place] = []
        for i, (height, width, channels) in enumerate(self._shapes):
            top, left, bottom, right = borders[i].tolist()
            if i in self.passed:
                height = min(height, self._at_once[i])
            if i in self.rings:  # zeros above and below are not read
                top, height, bottom = 0, self.rings[i], 0
            row = (width + left + right) | 1  # rows apart by a power of two push each other out of the caches
            line = channels * row * LANES
            place = Place(top, bottom, left, right, row * LANES, line, (top + height + bottom) * line)
            taken = sorted((one.base, one.base + one.size) for j, one in enumerate(places) if until[j] >= i)
            base = 0
            for begin, end in taken:
                if base + place.size <= begin:
                    break
                base = max(base, end)
            places.append(replace(place, base=base))
        return places


def _tile(step: Step) -> int:
    return kernels("tiles").lines_of(step.width) if isinstance(step, Product) else 1
