"""The connections of a kernel's kept weights, sorted for both directions, and what is computed with them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tfprune.engine.compiling import kernels, threads
from tfprune.engine.geometry import Geometry
from tfprune.engine.layout import LANES, Layout, Scratch, aligned, whole
from tfprune.engine.rule import rows_in_group
from tfprune.errors import InputError

_EXAMPLES, _IMAGES = 64, 16  # at most, in a block
_FEW = 32  # examples
_PARTS = 16  # of the rows made, for threads
_KNOWN = 4  # sizes of blocks that places are remembered for

_SCRATCH = Scratch()


class Structure:
    """What is computed with the kept weights of a kernel; with a batch of any size.

    A batch is taken in blocks of examples, as many at a time as there are threads: their rows are in a cache from when
    they are made of images until they are images again.

    Args:
        geometry: of the kernel.
        indices: (n,) of the kept weights in the flattened kernel, in any order; the order of values is theirs.

    Raises:
        InputError: an index lies outside of the kernel, or is there twice; images are too large.
    """

    def __init__(self, geometry: Geometry, indices: np.ndarray):
        self.indices = indices
        order = ascending_order(self.indices, geometry.size)
        rows, shifts, made = geometry.connections(self.indices)
        self._inputs, self._outputs = Layout.of_inputs(geometry), Layout.of_outputs(geometry)
        self._pixels, self._gradients = Layout.of_pixels(geometry), Layout.of_gradients(geometry)
        read, number = self._inputs.rows, geometry.out_channels
        groups = [rows_in_group(geometry.shape[0], len(rows), *both) for both in ((read, number), (number, read))]
        self._forward = _Direction(rows, shifts, made, read, number, order, groups[0])
        self._backward = _Direction(made, geometry.most_shifted - shifts, rows, number, read, order, groups[1])
        self._most = _EXAMPLES if geometry.positions == 1 else _IMAGES
        floats = max(side.size(self._most) for side in (self._inputs, self._gradients))
        if floats >= 2**31:  # places of pieces are int32
            raise InputError(f"{self._most} images are fewer than 2^31 floats for a kept kernel: received {floats}")

    def outputs(self, images: np.ndarray, values: np.ndarray) -> np.ndarray:
        """The product.

        Args:
            images: float32 (B, height, width, channels).
            values: float32 (n,).

        Returns:
            float32 (B, out_height, out_width, out_channels).
        """
        return self._product(self._forward, self._inputs, self._outputs, images, values)

    def inputs(self, images: np.ndarray, values: np.ndarray) -> np.ndarray:
        """The other way: gradients with respect to the inputs, of those with respect to the outputs."""
        return self._product(self._backward, self._gradients, self._pixels, images, values)

    def of_values(self, inputs: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        """float32 (n,), the gradients of the values, of images of inputs and of gradients of the outputs."""
        sides = (self._inputs, inputs), (self._gradients, gradients)
        direction, made, front = self._forward, self._outputs, self._gradients.front
        if self._inputs.rows > self._gradients.rows:  # pieces are taken from where rows are fewer: these are in a cache
            sides = sides[::-1]
            direction, made, front = self._backward, self._pixels, self._pixels.first
        (pieces, given), (rows, others) = sides
        found = np.zeros(len(self.indices), np.float32)
        with _SCRATCH as scratch:
            for block, blocks, some in self._waves(len(inputs)):
                read = scratch.take("read", blocks * pieces.size(block))
                pieces.pack(given[some], block, read)
                other = scratch.take("made", blocks * rows.size(block))
                rows.pack(others[some], block, other)
                connections = direction.starts(pieces.stride(block), block), direction.bounds, direction.parts
                lengths = pieces.size(block), made.positions * block
                places = rows.size(block), rows.stride(block), front * block
                kernels().multiply_rows(
                    read[made.first * block :], *connections, other, found, direction.number, blocks, *lengths, *places
                )
            return direction.unsorted(found)

    def _product(self, direction, given: Layout, made: Layout, images: np.ndarray, values: np.ndarray) -> np.ndarray:
        shape = len(images), *made.image
        out = aligned(np.prod(shape)).reshape(shape)
        with _SCRATCH as scratch:
            ordered = direction.sorted(values, len(images), scratch)
            block = self._shared(len(images))
            if block:
                size = given.size(block) + made.size(block) + LANES
                kernels().multiply_images(
                    *(images.ravel(), out.ravel(), ordered, direction.starts(given.stride(block), block)),
                    *(direction.bounds, len(images), block, given.packing(block), made.unpacking(block)),
                    *(made.first * block, made.positions * block, scratch.take("rows", threads() * size)),
                )
                return out
            for block, blocks, some in self._waves(len(images)):
                read = scratch.take("read", blocks * given.size(block))
                given.pack(images[some], block, read)
                rows = scratch.take("made", blocks * made.size(block))
                lengths = given.size(block), made.positions * block, made.stride(block)
                connections = direction.starts(given.stride(block), block), direction.bounds, direction.parts
                kernels().add_rows(
                    read[made.first * block :], ordered, *connections, rows, direction.number, blocks, *lengths
                )
                made.unpack(rows, block, out[some])
        return out

    def _shared(self, batch: int) -> int | None:
        """Examples in a block, where these are enough to fill vectors and there are blocks for all threads."""
        block = self._block(batch)
        return block if batch >= LANES and batch > block * (threads() - 1) else None

    def _block(self, batch: int) -> int:
        """Examples in a block, whatever the number of threads: the order of sums in a tile depends on its length."""
        number = max(1, -(-batch // self._most))
        block = max(1, -(-batch // number))
        return whole(block) if number > 1 or self._inputs.positions == 1 else block

    def _waves(self, batch: int) -> Iterator[tuple[int, int, slice]]:
        """Examples in a block, blocks, and their examples."""
        block = self._block(batch)
        for first in range(0, batch, block * threads()):
            some = min(batch - first, block * threads())
            yield block, -(-some // block), slice(first, first + some)


class _Direction:
    """Connections sorted by the rows they make.

    Where there are many they are sorted by groups of the rows they read first, and the rows of a group are read for all
    that are made before those of the next.

    Args:
        rows, shifts: from where they read.
        made: the row that each makes.
        read, number: how many rows there are to read, and to make.
        ascending: an order of the connections.
        group: rows in a group.
    """

    def __init__(self, rows, shifts, made, read: int, number: int, ascending: np.ndarray, group: int):
        self.number = number
        groups = -(-read // group)
        place = (rows // group) * number + made
        # NumPy sorts short integers in linear time.
        order = ascending[np.argsort(place[ascending].astype(np.min_scalar_type(groups * number)), kind="stable")]
        self._rows, self._shifts = rows[order].astype(np.int32), shifts[order].astype(np.int32)
        self._order = None if np.array_equal(order, np.arange(len(order))) else order.astype(np.int32)
        counts = np.bincount(place, minlength=groups * number)
        self.bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        # A row costs as much as some connections.
        costs = np.concatenate([[0], np.cumsum(counts.reshape(groups, number).sum(0) + 4)])
        self.parts = np.searchsorted(costs, np.linspace(0, costs[-1], _PARTS + 1)).astype(np.int64)
        self._sorted: tuple[np.ndarray, np.ndarray] | None = None
        self._known: dict[tuple[int, int], np.ndarray] = {}

    def sorted(self, values: np.ndarray, batch: int, scratch: Scratch) -> np.ndarray:
        """Values in the order of the connections; for few examples, with which that costs most, it is remembered."""
        if self._order is None:
            return values
        if batch > _FEW:
            found = scratch.take("values", len(values))
            kernels().sort_values(values, self._order, found)
            return found
        if self._sorted is None or not np.array_equal(self._sorted[0], values):
            self._sorted = values.copy(), np.empty_like(values)
            kernels().sort_values(values, self._order, self._sorted[1])
        return self._sorted[1]

    def unsorted(self, values: np.ndarray) -> np.ndarray:
        """The other way."""
        if self._order is None:
            return values
        found = np.empty_like(values)
        kernels().unsort_values(values, self._order, found)
        return found

    def starts(self, stride: int, block: int) -> np.ndarray:
        """Where pieces begin among rows with a stride, of blocks of some examples."""
        known = self._known.get((stride, block))
        if known is None:
            if len(self._known) == _KNOWN:
                self._known.clear()
            known = self._known[stride, block] = self._rows * np.int32(stride) + self._shifts * np.int32(block)
        return known


def ascending_order(indices: np.ndarray, size: int) -> np.ndarray:
    """The order of indices.

    Raises:
        InputError: an index lies outside of 0 .. size − 1, or is there twice.
    """
    order = np.arange(len(indices)) if np.all(indices[1:] > indices[:-1]) else np.argsort(indices, kind="stable")
    ascending = indices[order]
    for outermost in ascending[:1], ascending[-1:]:
        if np.any((outermost < 0) | (outermost >= size)):
            raise InputError(f"indices of kept weights lie in 0 .. {size - 1}: received {outermost[0]}")
    again = ascending[1:][ascending[1:] == ascending[:-1]]
    if len(again):
        raise InputError(f"indices of kept weights are there once each: received {again[0]} more than once")
    return order
