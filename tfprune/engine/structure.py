"""The connections of a kernel's kept weights, sorted for both directions, and what is computed with them."""

from __future__ import annotations

import numpy as np

from tfprune.engine.compiling import kernels
from tfprune.engine.geometry import Geometry
from tfprune.errors import InputError

_ALIGNMENT = 64  # bytes; TensorFlow takes over what lies so without a copy


class Structure:
    """What is computed with the kept weights of a kernel; with a batch of any size.

    The order of the weights is that of the kernel's rows of outputs, in each by where they read (`sorted_indices`).

    Args:
        geometry: of the kernel.
        indices: (n,) of the kept weights in the flattened kernel, in any order; the order of values is theirs.

    Raises:
        InputError: an index lies outside of the kernel, or is there twice.
    """

    def __init__(self, geometry: Geometry, indices: np.ndarray):
        self.geometry = geometry
        self.indices = np.array(indices)
        _check(self.indices, geometry.size)
        rows, shifts, made = geometry.connections(self.indices)
        starts = rows * geometry.positions + shifts
        self._forward = _Direction(made, starts, geometry.out_channels)
        # A row of gradients has zeros in front, as many as a connection can shift it.
        length = geometry.most_shifted + geometry.positions
        back = made * length + geometry.most_shifted - shifts
        self._backward = _Direction(rows, back, geometry.channels * geometry.phases)

    def rows_of_inputs(self, images: np.ndarray) -> np.ndarray:
        """float32 flat rows of float32 (B, height, width, channels)."""
        geometry, batch = self.geometry, len(images)
        stride = geometry.positions * batch
        rows = _empty(geometry.channels * geometry.phases * stride)
        place = (geometry.top, geometry.left, *geometry.strides, geometry.row_height, geometry.row_width)
        kernels().to_rows(images, rows, *place, geometry.row_height, geometry.row_width, stride, 0)
        return rows

    def images_of_inputs(self, rows: np.ndarray, batch: int) -> np.ndarray:
        """The other way."""
        geometry = self.geometry
        images = _empty(batch * geometry.height * geometry.width * geometry.channels)
        images = images.reshape(batch, geometry.height, geometry.width, geometry.channels)
        place = (geometry.top, geometry.left, *geometry.strides, geometry.row_width)
        kernels().to_images(rows, images, *place, geometry.positions * batch, 0)
        return images

    def rows_of_outputs(self, images: np.ndarray) -> np.ndarray:
        """float32 flat rows of float32 (B, out_height, out_width, out_channels), with the zeros that shifts need."""
        geometry, batch = self.geometry, len(images)
        stride = (geometry.most_shifted + geometry.positions) * batch
        rows = _empty(geometry.out_channels * stride)
        inner = geometry.out_height, geometry.out_width
        offset = geometry.most_shifted * batch
        kernels().to_rows(images, rows, 0, 0, 1, 1, geometry.out_height, geometry.row_width, *inner, stride, offset)
        return rows

    def images_of_outputs(self, rows: np.ndarray, batch: int) -> np.ndarray:
        """float32 (B, out_height, out_width, out_channels) of what `forward` made."""
        geometry = self.geometry
        images = _empty(batch * geometry.out_height * geometry.out_width * geometry.out_channels)
        images = images.reshape(batch, geometry.out_height, geometry.out_width, geometry.out_channels)
        kernels().to_images(rows, images, 0, 0, 1, 1, geometry.row_width, geometry.span * batch, 0)
        return images

    def forward(self, rows: np.ndarray, values: np.ndarray, batch: int) -> np.ndarray:
        """Rows of outputs, `span` positions each, of rows of inputs."""
        length = self.geometry.span * batch
        out = _empty(self.geometry.out_channels * length)
        self._forward.add(rows, values, out, batch, length)
        return out

    def backward(self, gradients: np.ndarray, values: np.ndarray, batch: int) -> np.ndarray:
        """Gradients of rows of inputs, of those that `rows_of_outputs` gives."""
        length = self.geometry.positions * batch
        out = _empty(self.geometry.channels * self.geometry.phases * length)
        self._backward.add(gradients, values, out, batch, length)
        return out

    def of_values(self, rows: np.ndarray, gradients: np.ndarray, batch: int) -> np.ndarray:
        """(n,) gradients of the values, of rows of inputs and `rows_of_outputs` of the gradients."""
        geometry = self.geometry
        stride = (geometry.most_shifted + geometry.positions) * batch
        return self._forward.multiply(
            rows, gradients, batch, geometry.span * batch, stride, geometry.most_shifted * batch
        )


class _Direction:
    """Connections sorted by the rows they make."""

    def __init__(self, made: np.ndarray, starts: np.ndarray, rows: int):
        order = np.lexsort((starts, made))
        self._order = order.astype(np.int32)
        self._starts = np.ascontiguousarray(starts[order], np.int64)
        self._bounds = np.concatenate([[0], np.cumsum(np.bincount(made, minlength=rows))]).astype(np.int64)

    def add(self, rows, values, out, batch: int, length: int) -> None:
        kernels().add_rows(rows, values, self._order, self._starts, self._bounds, out, batch, length, length, 0)

    def multiply(self, rows, gradients, batch: int, length: int, stride: int, offset: int) -> np.ndarray:
        found = np.empty(len(self._order), np.float32)
        kernels().multiply_rows(rows, self._starts, self._bounds, gradients, found, batch, length, stride, offset)
        values = _empty(len(found))
        values[self._order] = found
        return values


def _check(indices: np.ndarray, size: int) -> None:
    ascending = indices if np.all(indices[1:] >= indices[:-1]) else np.sort(indices)
    for outermost in ascending[:1], ascending[-1:]:
        if np.any((outermost < 0) | (outermost >= size)):
            raise InputError(f"indices of kept weights lie in 0 .. {size - 1}: received {outermost[0]}")
    again = ascending[1:][ascending[1:] == ascending[:-1]]
    if len(again):
        raise InputError(f"indices of kept weights are there once each: received {again[0]} more than once")


def _empty(size: int) -> np.ndarray:
    """float32 (size,), as TensorFlow wants it."""
    padded = np.empty(size + _ALIGNMENT // 4, np.float32)
    first = -padded.ctypes.data % _ALIGNMENT // 4
    return padded[first : first + size]
