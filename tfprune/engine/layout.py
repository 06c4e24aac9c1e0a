"""Images as rows and back, for some examples at a time; and the memory that rows lie in."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, replace

import numpy as np

from tfprune.engine.compiling import kernels
from tfprune.engine.geometry import Geometry

LANES = 16  # floats of a vector; rows begin at multiples
_REMEMBERED = 2**24  # floats, at most, of memory that is kept from call to call


@dataclass(frozen=True)
class Layout:
    """How the images of one side of a product lie as rows.

    Attributes:
        image: height, width, channels.
        strides: phases along both axes; each is a row of its own.
        top, left: zeros in front of the images.
        height, width: positions of a row.
        first: position that there is in memory.
        positions: of those that there are.
        front: positions more, of zeros, in front of these.
    """

    image: tuple[int, int, int]
    strides: tuple[int, int] = (1, 1)
    top: int = 0
    left: int = 0
    height: int = 1
    width: int = 1
    first: int = 0
    positions: int = 1
    front: int = 0

    @classmethod
    def of_inputs(cls, geometry: Geometry) -> Layout:
        image = geometry.height, geometry.width, geometry.channels
        place = geometry.top, geometry.left, geometry.row_height, geometry.row_width
        return cls(image, geometry.strides, *place, positions=geometry.positions)

    @classmethod
    def of_pixels(cls, geometry: Geometry) -> Layout:
        """Of the inputs, from the first position that is one in any phase to the last."""
        (y, x), width = geometry.strides, geometry.row_width
        first = geometry.top // y * width + geometry.left // x
        last = (geometry.top + geometry.height - 1) // y * width + (geometry.left + geometry.width - 1) // x
        return replace(cls.of_inputs(geometry), first=first, positions=last + 1 - first)

    @classmethod
    def of_outputs(cls, geometry: Geometry) -> Layout:
        image = geometry.out_height, geometry.out_width, geometry.out_channels
        return cls(image, height=geometry.out_height, width=geometry.row_width, positions=geometry.span)

    @classmethod
    def of_gradients(cls, geometry: Geometry) -> Layout:
        """Of the outputs, with as many zeros around as a connection can shift a row."""
        image = geometry.out_height, geometry.out_width, geometry.out_channels
        place = {"height": geometry.out_height, "width": geometry.row_width, "positions": geometry.positions}
        return cls(image, front=geometry.most_shifted, **place)

    @property
    def rows(self) -> int:
        return self.image[2] * math.prod(self.strides)

    def stride(self, block: int) -> int:
        """Floats from one row to the next, with `block` examples at each position."""
        return whole((self.front + self.positions) * block)

    def size(self, block: int) -> int:
        """Floats of all rows."""
        return self.rows * self.stride(block)

    def pack(self, images: np.ndarray, block: int, rows: np.ndarray) -> None:
        """Writes float32 (B, height, width, channels) as blocks of rows."""
        *place, size, stride, offset = self.packing(block)
        kernels().to_rows(images.ravel(), rows, len(images), *place, block, size, stride, offset)

    def unpack(self, rows: np.ndarray, block: int, images: np.ndarray) -> None:
        """Reads blocks of rows into float32 (B, height, width, channels)."""
        *place, size, stride, skipped = self.unpacking(block)
        kernels().to_images(rows, images.ravel(), len(images), *place, block, size, stride, skipped)

    def packing(self, block: int) -> tuple[int, ...]:
        """What `to_rows` takes between `batch` and `block`, and behind."""
        inner = min(self.height, self._inner(0)), min(self.width, self._inner(1))
        place = (*self.image, self.top, self.left, *self.strides, self.height, self.width, *inner)
        return (*place, self.size(block), self.stride(block), self.front * block)

    def unpacking(self, block: int) -> tuple[int, ...]:
        """What `to_images` takes between `batch` and `block`, and behind."""
        place = (*self.image, self.top, self.left, *self.strides, self.width)
        return (*place, self.size(block), self.stride(block), self.first * block)

    def _inner(self, axis: int) -> int:
        """Positions up to the last pixel."""
        return -(-(self.image[axis] + (self.top, self.left)[axis]) // self.strides[axis])


class Scratch:
    """Memory that is used again from call to call, by one thread at a time.

    What the system gives anew costs as much for its first touch as a product with few weights.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._arrays: dict[str, np.ndarray] = {}

    def __enter__(self) -> Scratch:
        self._lock.acquire()
        return self

    def __exit__(self, *_) -> None:
        self._arrays = {name: array for name, array in self._arrays.items() if array.size <= _REMEMBERED}
        self._lock.release()

    def take(self, name: str, size: int) -> np.ndarray:
        """float32 of at least a size, and a vector more; what was taken under the name before is overwritten."""
        found = self._arrays.get(name)
        if found is None or len(found) < size + LANES:
            found = self._arrays[name] = aligned(size + LANES)
        return found


def aligned(size: int) -> np.ndarray:
    """float32 (size,) that lies as TensorFlow takes it over without a copy."""
    padded = np.empty(size + LANES, np.float32)
    first = -padded.ctypes.data % (4 * LANES) // 4
    return padded[first : first + size]


def whole(floats: int) -> int:
    """As many as fill vectors."""
    return -(-floats // LANES) * LANES
