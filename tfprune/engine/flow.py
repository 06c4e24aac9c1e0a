"""Several layers at once, for inference: a block of examples goes through all of them before the next one does.

Each position of an image is a vector of 16 examples, so a connection of a convolution is one weight, one place to read
from, whatever strides and borders are; nothing is brought into another order between two layers. Where there are blocks
for all threads, each of them takes its own all the way, in the order that `tfprune.engine.flow_memory` says; else the
threads share the lines of every step. The order of sums is the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfprune.engine.compiling import kernels, threads
from tfprune.engine.flow_memory import Memory
from tfprune.engine.geometry import Geometry
from tfprune.engine.layout import LANES, Scratch, aligned
from tfprune.engine.steps import Kept, Product, Scale, Step
from tfprune.errors import InputError

_NEAR = 500  # vectors in a core's first cache
_LEAST = 14  # connections with a group of channels, on average, for which it pays to keep to it
_PARTS_OF_THREAD = 2

_SCRATCH = Scratch()


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
        self._shared = self._alone = Memory(image, self.steps)  # of several threads; of one, once weights are known
        if self._shared.size >= 2**31:  # places are int32
            raise InputError(f"{LANES} images on their way are fewer than 2^31 floats: received {self._shared.size}")
        self._limits = np.array([(step.floor, step.ceiling) for step in steps], np.float32)
        self._tables: list[np.ndarray] = []  # for the memory of one thread, and of several
        self._weights: tuple[np.ndarray, ...] = ()

    def set_weights(self, weights: Sequence[Kept | tuple[np.ndarray, np.ndarray] | None]) -> None:
        """Takes what each step computes with.

        Args:
            weights: of products; (factors, shifts), float32 (channels,), of scales; None of other steps.
        """
        columns, numbers, kept, bounds = [{}], [], [], []
        counts = np.zeros(3, np.int64)  # of numbers, connections, bounds
        for step, given in zip(self.steps, weights, strict=True):
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
            names = "GROUPS", "FIRST_NUMBER", "FIRST_KEPT", "FIRST_BOUND"
            columns.append(dict(zip(names, (groups, *first), strict=True)))
        kept_of_steps = [len(given.indices) if isinstance(given, Kept) else 0 for given in weights]
        self._alone = Memory(self._shapes[0], self.steps, kept_of_steps)
        self._tables = [
            np.array([self._line(memory, number, named) for number, named in enumerate(columns)])
            for memory in (self._alone, self._shared)
        ]
        self._weights = (
            *(self._limits, _joined(kept, np.int64), _joined(bounds, np.int64)),
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
        memory, table = (self._alone, self._tables[0]) if parts == 1 else (self._shared, self._tables[1])
        with _SCRATCH as scratch:
            room = scratch.take("images", memory.size * (threads() if parts == 1 else blocks))
            kernels("flow_kernels").flow(
                *(images.ravel(), out.ravel(), len(images), table, memory.order),
                *(*self._weights, memory.size, parts, room),
            )
        return out

    def _connections(self, step: Product, kept: Kept) -> tuple[np.ndarray, np.ndarray]:
        """Connections and their bounds."""
        place, lines = self._shared.places[step.given[0].number], step.geometry.shape[0]  # as far apart in both
        y, x, channel, made = step.geometry.taps(kept.indices)
        group = channel // _channels_in_group(step.geometry, len(kept.indices))
        size = (int(group.max(initial=0)) + 1) * step.channels * lines
        key = (group * step.channels + made) * lines + y // step.geometry.dilation[0]
        order = np.argsort(key.astype(np.min_scalar_type(size)), kind="stable")
        starts = (y * place.line + channel * place.row + x * LANES)[order]
        bounds = np.concatenate([[0], np.cumsum(np.bincount(key, minlength=size))])
        return kernels("tiles").packed(kept.values[order], starts), bounds

    def _line(self, memory: Memory, number: int, named: dict[str, int]) -> np.ndarray:
        """Of the table.

        Args:
            memory: where images lie.
            number: of the image made.
            named: columns that do not follow from the step.
        """
        (height, width, channels), place = self._shapes[number], memory.places[number]
        named = {**named, "BASE": place.base, "MADE": place.first, "LINE": place.line, "ROW": place.row}
        named |= {"HEIGHT": height, "WIDTH": width, "CHANNELS": channels}
        named |= {"TOP": place.top, "BOTTOM": place.bottom, "LEFT": place.left, "RIGHT": place.right}
        columns = kernels("flow_steps")
        if number:
            step = self.steps[number - 1]
            # What is there in few lines is read first: it is moved.
            views = sorted(step.given, key=lambda view: view.number not in memory.passed)
            for name, view in zip(("GIVEN", "OTHER"), views, strict=False):
                source = memory.places[view.number]
                named |= {name: source.of(view, *step.first), f"{name}_LINE": source.line, f"{name}_ROW": source.row}
            if isinstance(step, Product):
                (view,) = step.given
                named |= {"FIRST_LINE": step.first[0] - view.top, "GIVEN_HEIGHT": self._shapes[view.number][0]}
                named |= {"RING": memory.rings.get(view.number, 0)}
            named |= {"KIND": getattr(columns, type(step).__name__.upper()), **step.columns}
            named |= {"TILE": kernels("tiles").lines_of(width)}
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
