"""Images as rows of bytes on the host: what the sources of images hand over, before TensorFlow sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# XLA reads a buffer in place only if it starts at a multiple of this many bytes.
_ALIGNMENT = 64
_CHUNK = 4096


@dataclass(frozen=True)
class Rows:
    """Labelled images.

    Attributes:
        parts: uint8 (n_i, D) each, one after the other the images, flattened c, y, x. One array in memory, or
            arrays mapped from several files.
        labels: int32 (sum of n_i,), from 0.
    """

    parts: Sequence[np.ndarray]
    labels: np.ndarray

    @property
    def size(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Source:
    """What a data set gives before its labels are merged into super-classes.

    Attributes:
        train: the training images that are used.
        validation: the first images of the set's test or validation part.
        mean: float32 (D,), in units of the bytes.
        scale: what a byte less its mean is multiplied by.
        image_shape: (channels, height, width); their product is D.
        classes: labels are below this.
        mapped: whether the rows stay in their files.
    """

    train: Rows
    validation: Rows
    mean: np.ndarray
    scale: float
    image_shape: tuple[int, int, int]
    classes: int
    mapped: bool = False


def empty_rows(count: int, width: int) -> np.ndarray:
    """An uninitialised uint8 array (count, width) that TensorFlow and XLA can use without a copy."""
    raw = np.empty(count * width + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + count * width].reshape(count, width)


def aligned(rows: np.ndarray) -> np.ndarray:
    """`rows` itself if TensorFlow can use it without a copy, else a copy for which that holds."""
    if rows.ctypes.data % _ALIGNMENT == 0 and rows.flags.c_contiguous and rows.flags.writeable:
        return rows
    copy = empty_rows(*rows.shape)
    copy[:] = rows
    return copy


def pixel_mean(rows: np.ndarray) -> np.ndarray:
    """Mean of each component over all rows: uint8 (N, D) to float32 (D,), the sums exact."""
    total = np.zeros(rows.shape[1], np.int64)
    for start in range(0, len(rows), _CHUNK):
        total += rows[start : start + _CHUNK].sum(axis=0, dtype=np.int64)
    return (total / len(rows)).astype(np.float32)
