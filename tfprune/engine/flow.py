"""Several layers at once, for inference: a block of examples goes through all of them before the next one does.

Each position of an image is a vector of 16 examples, so a connection of a convolution is one weight, one place to read
from, whatever strides and borders are; nothing is brought into another order between two layers. Where there are blocks
for all threads, each of them takes its own all the way; else the threads share the lines of every step. The order of
sums is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tfprune.engine.compiling import kernels, threads
from tfprune.engine.geometry import Geometry
from tfprune.engine.layout import LANES, Scratch, aligned
from tfprune.engine.steps import Kept, Product, Scale, Step, View
from tfprune.errors import InputError

_NEAR = 400  # vectors in a core's first cache
_LEAST = 9  # connections with a group of channels, on average, for which it pays to keep to it
_PARTS_OF_THREAD = 2

_SCRATCH = Scratch()


@dataclass(frozen=True)
class _Place:
    """Where images lie in a block's memory, in floats."""

    top: int
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


class Flow:
    """What steps make of images; of a batch of any size.

    Args:
        image: height, width, channels of what the first step is given.
        steps: each reads what those before it made; the last one makes the outputs.

    Raises:
        InputError: images are too large.
    """

    def __init__(self, image: tuple[int, int, int], steps: Sequence[Step]):
        self.steps = list(steps)
        self._shapes = [image, *((step.height, step.width, step.channels) for step in steps)]
        self._places = _placed(self._shapes, self.steps)
        self._size = max(place.base + place.size for place in self._places)
        if self._size >= 2**31:  # places are int32
            raise InputError(f"{LANES} images on their way are fewer than 2^31 floats: received {self._size}")
        self._limits = np.array([(step.floor, step.ceiling) for step in steps], np.float32)
        self._weights: tuple[np.ndarray, ...] = ()

    def set_weights(self, weights: Sequence[Kept | tuple[np.ndarray, np.ndarray] | None]) -> None:
        """Takes what each step computes with.

        Args:
            weights: of products; (factors, shifts), float32 (channels,), of scales; None of other steps.
        """
        lines, numbers, kept, bounds = [self._line(0)], [], [], []
        counts = np.zeros(3, np.int64)  # of numbers, connections, bounds
        for i, (step, given) in enumerate(zip(self.steps, weights, strict=True)):
            more, groups, first = (), 0, counts.copy()
            if isinstance(step, Product):
                found = self._connections(step, given)
                kept.append(found[0])
                bounds.append(found[1])
                groups, more = (len(found[1]) - 1) // (step.channels * step.geometry.shape[0]), (given.shifts,)
                counts[1:] += len(found[0]), len(found[1])
            elif isinstance(step, Scale):
                more = given
            numbers += more
            counts[0] += sum(map(len, more))
            lines.append(self._line(i + 1, first, groups))
        self._weights = (
            *(np.array(lines, np.int64), self._limits, _joined(kept, np.int64), _joined(bounds, np.int64)),
            _joined(numbers, np.float32),
        )

    def outputs(self, images: np.ndarray) -> np.ndarray:
        """float32 (B, height, width, channels) of what the last step makes; after `set_weights`.

        Args:
            images: float32 (B, height, width, channels).
        """
        shape = len(images), *self._shapes[-1]
        out = aligned(np.prod(shape)).reshape(shape)
        blocks = -(-len(images) // LANES)
        parts = 1 if blocks >= threads() else _PARTS_OF_THREAD * threads()
        with _SCRATCH as scratch:
            memory = scratch.take("images", self._size * (threads() if parts == 1 else blocks))
            kernels("flow_kernels").flow(
                images.ravel(), out.ravel(), len(images), *self._weights, self._size, parts, memory
            )
        return out

    def _connections(self, step: Product, kept: Kept) -> tuple[np.ndarray, np.ndarray]:
        """Connections and their bounds."""
        place, lines = self._places[step.given[0].number], step.geometry.shape[0]
        y, x, channel, made = step.geometry.taps(kept.indices)
        group = channel // _channels_in_group(step.geometry, len(kept.indices))
        size = (int(group.max(initial=0)) + 1) * step.channels * lines
        key = (group * step.channels + made) * lines + y // step.geometry.dilation[0]
        order = np.argsort(key.astype(np.min_scalar_type(size)), kind="stable")
        starts = (y * place.line + channel * place.row + x * LANES)[order]
        bounds = np.concatenate([[0], np.cumsum(np.bincount(key, minlength=size))])
        return kernels("tiles").packed(kept.values[order], starts), bounds

    def _line(self, number: int, first: Sequence[int] = (0, 0, 0), groups: int = 0) -> np.ndarray:
        """Of the table."""
        height, width, channels = self._shapes[number]
        place = self._places[number]
        named = {"BASE": place.base, "SIZE": place.size, "MADE": place.first, "LINE": place.line, "ROW": place.row}
        named |= {"HEIGHT": height, "WIDTH": width, "CHANNELS": channels}
        named |= {"TOP": place.top, "LEFT": place.left, "RIGHT": place.right}
        columns = kernels("flow_steps")
        if number:
            step = self.steps[number - 1]
            for name, view in zip(("GIVEN", "OTHER"), step.given, strict=False):
                source = self._places[view.number]
                named |= {name: source.of(view, *step.first), f"{name}_LINE": source.line, f"{name}_ROW": source.row}
            if isinstance(step, Product):
                (view,) = step.given
                named |= {"FIRST_LINE": step.first[0] - view.top, "GIVEN_HEIGHT": self._shapes[view.number][0]}
            named |= {"KIND": getattr(columns, type(step).__name__.upper()), **step.columns}
            named |= {"FIRST_NUMBER": first[0], "FIRST_KEPT": first[1], "FIRST_BOUND": first[2]}
            named |= {"GROUPS": groups, "TILE": kernels("tiles").lines_of(width)}
        line = np.zeros(columns.COLUMNS, np.int64)
        for name, value in named.items():
            line[getattr(columns, name)] = value
        return line


def _joined(arrays: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype), *(array.astype(dtype) for array in arrays)])


def _channels_in_group(geometry: Geometry, kept: int) -> int:
    """Channels that are read for all that are made, before the next ones are: as many as a first cache holds tiles of.

    More where they would have few connections with a channel that is made.
    """
    lines = kernels("tiles").lines_of(geometry.out_width)
    (down, right), (y, x) = geometry.dilation, geometry.strides
    wide = (min(8, geometry.out_width) - 1) * x + 1 + (geometry.shape[1] - 1) * right
    high = min(lines * geometry.shape[0], (lines - 1) * y + (geometry.shape[0] - 1) * down + 1)
    near = max(1, _NEAR // (wide * high))
    return max(near, -(-_LEAST * geometry.channels * geometry.out_channels // max(1, kept)))


def _placed(shapes: list[tuple[int, int, int]], steps: list[Step]) -> list[_Place]:
    """Where all images lie: what is read no more makes room."""
    borders = np.zeros((len(shapes), 4), np.int64)  # top, left, bottom, right
    until = np.arange(len(shapes))
    for i, step in enumerate(steps):
        for view in step.given:
            height, width, _ = shapes[view.number]
            before = [view.top - step.first[0], view.left - step.first[1]]
            behind = [step.last[0] - view.top - height + 1, step.last[1] - view.left - width + 1]
            borders[view.number] = np.maximum(borders[view.number], [*before, *behind])
            until[view.number] = i + 1
    until[-1] = len(shapes)
    places: list[_Place] = []
    for i, ((height, width, channels), border) in enumerate(zip(shapes, borders.tolist(), strict=True)):
        top, left, bottom, right = border
        row = (width + left + right) | 1  # rows apart by a power of two push each other out of the caches
        line = channels * row * LANES
        place = _Place(top, left, right, row * LANES, line, (top + height + bottom) * line)
        taken = sorted((one.base, one.base + one.size) for j, one in enumerate(places) if until[j] >= i)
        base = 0
        for begin, end in taken:
            if base + place.size <= begin:
                break
            base = max(base, end)
        places.append(replace(place, base=base))
    return places
