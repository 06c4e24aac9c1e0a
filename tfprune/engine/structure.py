"""The connections of a kernel's kept weights, sorted for both directions, and what is computed with them."""

from __future__ import annotations

import math

import numpy as np

from tfprune.engine.compiling import kernels
from tfprune.engine.geometry import Geometry
from tfprune.errors import InputError

_LANES = 16  # floats of a vector; rows begin at multiples
_EXAMPLES, _IMAGES = 64, 32  # at most, in a block
_PARTS = 16  # of the rows made, for threads
_KNOWN = 4  # sizes of blocks that places are remembered for


class Structure:
    """What is computed with the kept weights of a kernel; with a batch of any size.

    Rows are flat arrays: blocks of examples, in these the rows, in these the positions, in these the examples.

    Args:
        geometry: of the kernel.
        indices: (n,) of the kept weights in the flattened kernel, in any order; the order of values is theirs.

    Raises:
        InputError: an index lies outside of the kernel, or is there twice.
    """

    def __init__(self, geometry: Geometry, indices: np.ndarray):
        self.geometry = geometry
        self.indices = np.array(indices)
        ascending = _ascending(self.indices, geometry.size)
        rows, shifts, made = geometry.connections(self.indices)
        self._inputs = geometry.channels * geometry.phases
        self._forward = _Direction(rows, shifts, made, geometry.out_channels, ascending)
        # A row of gradients has zeros in front, as many as a connection can shift it.
        self._backward = _Direction(made, geometry.most_shifted - shifts, rows, self._inputs, ascending)

    def rows_of_inputs(self, images: np.ndarray) -> np.ndarray:
        """float32 flat rows of float32 (B, height, width, channels)."""
        geometry, batch = self.geometry, len(images)
        block, blocks = self._blocks(batch)
        stride = _whole(geometry.positions * block)
        rows = _empty(blocks * self._inputs * stride)
        place = (geometry.top, geometry.left, *geometry.strides, geometry.row_height, geometry.row_width)
        inner = geometry.row_height, geometry.row_width
        kernels().to_rows(images.ravel(), rows, *images.shape, *place, *inner, block, self._inputs * stride, stride, 0)
        return rows

    def images_of_inputs(self, rows: np.ndarray, batch: int) -> np.ndarray:
        """The other way."""
        geometry = self.geometry
        place = (geometry.top, geometry.left, *geometry.strides, geometry.row_width)
        shape = batch, geometry.height, geometry.width, geometry.channels
        return self._images(rows, shape, place, self._inputs, geometry.positions)

    def rows_of_outputs(self, images: np.ndarray) -> np.ndarray:
        """float32 flat rows of float32 (B, out_height, out_width, out_channels), with the zeros that shifts need."""
        geometry, batch = self.geometry, len(images)
        block, blocks = self._blocks(batch)
        stride = self._stride_of_gradients(block)
        size = geometry.out_channels * stride
        rows = _empty(blocks * size)
        place = 0, 0, 1, 1, geometry.out_height, geometry.row_width, geometry.out_height, geometry.out_width
        offset = geometry.most_shifted * block
        kernels().to_rows(images.ravel(), rows, *images.shape, *place, block, size, stride, offset)
        return rows

    def images_of_outputs(self, rows: np.ndarray, batch: int) -> np.ndarray:
        """float32 (B, out_height, out_width, out_channels) of what `forward` made."""
        geometry = self.geometry
        shape = batch, geometry.out_height, geometry.out_width, geometry.out_channels
        return self._images(rows, shape, (0, 0, 1, 1, geometry.row_width), geometry.out_channels, geometry.span)

    def forward(self, rows: np.ndarray, values: np.ndarray, batch: int) -> np.ndarray:
        """Rows of outputs, `span` positions each, of rows of inputs."""
        geometry = self.geometry
        block, blocks = self._blocks(batch)
        stride = _whole(geometry.positions * block)
        return self._forward.add(rows, values, block, blocks, self._inputs, stride, geometry.span)

    def backward(self, gradients: np.ndarray, values: np.ndarray, batch: int) -> np.ndarray:
        """Gradients of rows of inputs, of those that `rows_of_outputs` gives."""
        geometry = self.geometry
        block, blocks = self._blocks(batch)
        stride = self._stride_of_gradients(block)
        return self._backward.add(gradients, values, block, blocks, geometry.out_channels, stride, geometry.positions)

    def of_values(self, rows: np.ndarray, gradients: np.ndarray, batch: int) -> np.ndarray:
        """(n,) gradients of the values, of rows of inputs and `rows_of_outputs` of the gradients."""
        geometry, made = self.geometry, self.geometry.out_channels
        block, blocks = self._blocks(batch)
        stride, other = _whole(geometry.positions * block), self._stride_of_gradients(block)
        of_inputs, of_outputs = (rows, self._inputs, stride), (gradients, made, other)
        # Pieces are taken from where rows are fewer: these stay in a cache.
        if self._inputs <= made:
            offset = geometry.most_shifted * block
            return self._forward.multiply(*of_inputs, *of_outputs, offset, block, blocks, geometry.span)
        return self._backward.multiply(*of_outputs, *of_inputs, 0, block, blocks, geometry.positions)

    def _blocks(self, batch: int) -> tuple[int, int]:
        """Examples in a block, and blocks."""
        dense = self.geometry.positions == 1
        number = -(-batch // (_EXAMPLES if dense else _IMAGES))
        block = max(1, -(-batch // max(1, number)))
        return (_whole(block) if dense else block), number

    def _stride_of_gradients(self, block: int) -> int:
        return _whole((self.geometry.most_shifted + self.geometry.positions) * block)

    def _images(self, rows: np.ndarray, shape: tuple, place: tuple, number: int, positions: int) -> np.ndarray:
        block, _ = self._blocks(shape[0])
        stride = _whole(positions * block)
        images = _empty(math.prod(shape))
        kernels().to_images(rows, images, *shape, *place, block, number * stride, stride)
        return images[: math.prod(shape)].reshape(shape)


class _Direction:
    """Connections sorted by the rows they make.

    Args:
        rows, shifts: from where they read.
        made: the row that each makes.
        number: of rows made.
        ascending: an order of the connections.
    """

    def __init__(self, rows: np.ndarray, shifts: np.ndarray, made: np.ndarray, number: int, ascending: np.ndarray):
        order = ascending[np.argsort(made[ascending], kind="stable")]
        self._rows, self._shifts = rows[order].astype(np.int32), shifts[order].astype(np.int32)
        self._order = None if np.array_equal(order, np.arange(len(order))) else order.astype(np.int32)
        self._bounds = np.concatenate([[0], np.cumsum(np.bincount(made, minlength=number))]).astype(np.int64)
        # A row costs as much as some connections.
        costs = self._bounds + 4 * np.arange(number + 1)
        self._parts = np.searchsorted(costs, np.linspace(0, costs[-1], _PARTS + 1)).astype(np.int64)
        self._known: dict[tuple[int, int], np.ndarray] = {}

    def add(self, rows, values, block: int, blocks: int, given: int, stride: int, positions: int) -> np.ndarray:
        """Rows made, of `given` rows with a stride."""
        length = positions * block
        out = _empty(blocks * (len(self._bounds) - 1) * _whole(length))
        if self._order is not None:
            values, unsorted = np.empty_like(values), values
            kernels().sort_values(unsorted, self._order, values)
        starts, size = self._starts(stride, block), given * stride
        kernels().add_rows(rows, values, starts, self._bounds, self._parts, out, blocks, size, length, _whole(length))
        return out

    def multiply(
        self, rows, given: int, stride: int, made, number: int, made_stride: int, offset: int, block: int, blocks: int,
        positions: int,
    ) -> np.ndarray:  # fmt: skip
        """(n,) products of the pieces that connections read and the rows they make."""
        count = len(self._rows)
        found = _empty(count)
        lengths = given * stride, positions * block, number * made_stride, made_stride, offset
        starts = self._starts(stride, block)
        kernels().multiply_rows(rows, starts, self._bounds, self._parts, made, found, blocks, *lengths)
        if self._order is not None:
            found, ordered = _empty(count), found
            kernels().unsort_values(ordered, self._order, found)
        return found[:count]

    def _starts(self, stride: int, block: int) -> np.ndarray:
        known = self._known.get((stride, block))
        if known is None:
            if len(self._known) == _KNOWN:
                self._known.clear()
            known = self._known[stride, block] = self._rows * np.int32(stride) + self._shifts * np.int32(block)
        return known


def _whole(floats: int) -> int:
    """As many as fill vectors."""
    return -(-floats // _LANES) * _LANES


def _ascending(indices: np.ndarray, size: int) -> np.ndarray:
    """The order of indices, which are checked."""
    order = np.arange(len(indices)) if np.all(indices[1:] > indices[:-1]) else np.argsort(indices, kind="stable")
    ascending = indices[order]
    for outermost in ascending[:1], ascending[-1:]:
        if np.any((outermost < 0) | (outermost >= size)):
            raise InputError(f"indices of kept weights lie in 0 .. {size - 1}: received {outermost[0]}")
    again = ascending[1:][ascending[1:] == ascending[:-1]]
    if len(again):
        raise InputError(f"indices of kept weights are there once each: received {again[0]} more than once")
    return order


def _empty(size: int) -> np.ndarray:
    """float32, (size,) and a vector more, which lies as TensorFlow takes it over without a copy."""
    alignment = 4 * _LANES
    padded = np.empty(size + 2 * _LANES, np.float32)
    first = -padded.ctypes.data % alignment // 4
    return padded[first : first + size + _LANES]
