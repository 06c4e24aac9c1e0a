"""Images where the training loop wants them: fetched by index, as bytes, inside compiled functions.

The bytes are held once. Normalisation is the network's first step, `(x - mean) * scale`, so that no float copy of a
data set ever exists (ImageNet32: 3.9 GB as bytes, 15.7 GB as float32).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfprune.data.rows import aligned

_WORD = 8


class Images(ABC):
    """Labelled images, fetched by index.

    Attributes:
        size: number of images.
        width: bytes per image, D.
        labels: int32 (size,), from 0.
        resident: whether the rows are on the device; only then can functions that fetch be compiled by XLA.
        array: uint8 (size, D or more), the rows where they are one array in memory; else None.
    """

    resident: bool
    array: np.ndarray | None = None

    def __init__(self, width: int, labels: np.ndarray):
        self.size = len(labels)
        self.width = width
        self.labels = labels
        self._device_labels = tf.constant(labels, tf.int32)

    @abstractmethod
    def fetch(self, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Rows and labels by index; works eagerly, in a `tf.function` and in its loops.

        Args:
            indices: int32 or int64 (B,), in [0, size).

        Returns:
            uint8 (B, D), flattened c, y, x, and int32 (B,).
        """

    def labels_of(self, indices: tf.Tensor) -> tf.Tensor:
        """Labels by index, int32 (B,)."""
        return tf.gather(self._device_labels, indices)

    def chunks(self, rows: int = 4096) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All images in order, at most `rows` at a time: uint8 (B, D) and int32 (B,)."""
        for start in range(0, self.size, rows):
            indices = tf.range(start, min(start + rows, self.size))
            yield self.fetch(indices)[0].numpy(), self.labels[start : start + rows]


class ResidentImages(Images):
    """Images held once on the device: the GPU if there is one, else the array handed in."""

    resident = True

    def __init__(self, rows: np.ndarray, labels: np.ndarray):
        """Takes the rows over.

        Args:
            rows: uint8 (N, D). On a CPU TensorFlow reads this very array if it comes from `rows.empty_rows` and D is
                a multiple of 8; it must not be changed any more.
            labels: int32 (N,), from 0.
        """
        super().__init__(rows.shape[1], labels)
        if self.width % _WORD:
            rows = np.pad(rows, ((0, 0), (0, -self.width % _WORD)))
        # On a GPU TensorFlow has no gather for bytes, so that they travel as words of eight.
        rows = aligned(rows)
        words = rows.view(np.int64)
        # tf.constant copies an array; dlpack hands it over.
        self._words = tf.experimental.dlpack.from_dlpack(words.__dlpack__())
        gpus = tf.config.list_logical_devices("GPU")
        if gpus:
            with tf.device(gpus[0].name):
                self._words = tf.identity(self._words)
        else:
            self.array = rows

    def fetch(self, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        indices = tf.convert_to_tensor(indices)
        words = tf.gather(self._words, indices)
        rows = tf.reshape(tf.bitcast(words, tf.uint8), [-1, words.shape[1] * _WORD])[:, : self.width]
        rows.set_shape([*indices.shape, self.width])
        return rows, self.labels_of(indices)


class MappedImages(Images):
    """Images that stay in their files and are read at each fetch, through the operating system's page cache."""

    resident = False

    def __init__(self, parts: Sequence[np.ndarray], labels: np.ndarray):
        """Keeps the arrays.

        Args:
            parts: uint8 (n_i, D) each, mapped from files.
            labels: int32 (sum of n_i,), from 0.
        """
        super().__init__(parts[0].shape[1], labels)
        self._parts = list(parts)
        self._starts = np.cumsum([0, *(len(part) for part in parts)])

    def fetch(self, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        indices = tf.convert_to_tensor(indices)
        rows = tf.numpy_function(self._gather, [indices], tf.uint8)
        rows.set_shape([*indices.shape, self.width])
        return rows, self.labels_of(indices)

    def _gather(self, indices: np.ndarray) -> np.ndarray:
        rows = np.empty((len(indices), self.width), np.uint8)
        owners = np.searchsorted(self._starts, indices, side="right") - 1
        for owner in np.unique(owners):
            places = np.flatnonzero(owners == owner)
            rows[places] = self._parts[owner][indices[places] - self._starts[owner]]
        return rows


@dataclass(frozen=True)
class ImageSet:
    """A data set ready for training.

    Attributes:
        train: the training images.
        validation: the validation images.
        mean: float32 (D,), in units of the bytes; the network sees (x - mean) * scale.
        scale: 1/255; 1/16 for digits.
        image_shape: (channels, height, width) of a row.
        classes: number of classes; labels are below it.
        held_out: training images that `train` lacks, to choose by; None where none are set aside.
    """

    train: Images
    validation: Images
    mean: np.ndarray
    scale: float
    image_shape: tuple[int, int, int]
    classes: int
    held_out: Images | None = None
