"""Where the training loop's batches come from: rows fetched by index on the device, or a stream of `tf.data`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import tensorflow as tf

from tfprune.training.samplers import Sampler


class Feed(Protocol):
    """Batches, a function of (stream, step) alone: a run that is resumed sees those it would have seen.

    Attributes:
        resident: whether XLA may compile a loop that takes them.
        pixels: how inputs are made of bytes where that is all that is done to these, and `stored` gives what it
            speaks of; else None.
    """

    resident: bool
    pixels: Pixels | None

    def begin(self, stream: int, step: int) -> None:
        """Makes ready, on the host, for the steps from `step` to the end of its epoch.

        Due before the first of them that is taken, wherever in the epoch that is; doing it again does no harm.
        """

    def epoch_end(self, step: int) -> int:
        """The first step of the epoch after that of `step`, `samplers.NEVER` if there are no epochs."""

    def batch_size(self, step: int) -> int | None:
        """Examples in the batch of `step`; None leaves it to the batch, whose shape then is dynamic."""

    def batch(self, stream: tf.Tensor, step: tf.Tensor, size: int | None) -> tuple[tf.Tensor, tf.Tensor]:
        """Inside a compiled function: float32 inputs (size, ...) and int32 labels (size,)."""


class Rows(Protocol):
    """Images as rows that can be fetched inside a compiled function (see `tfprune.data`).

    Those with an attribute `array`, uint8 (size, D or more) in memory, have `labels_of`, too: indices -> labels.
    """

    size: int

    def fetch(self, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """uint8 rows (B, D) and int32 labels (B,) for integer indices (B,)."""


Preparation = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""What is stored of a batch, stream, step -> the model's inputs."""

Batches = Callable[[int, int, int], tf.data.Dataset]
"""(stream, epoch, first) -> the batches of an epoch, without the `first` ones."""


@dataclass(frozen=True, eq=False)
class Normalised:
    """A `Preparation` of rows: `(x − mean) · scale`.

    Attributes:
        mean: float32 (D,).
        scale: a number or float32 (D,).
    """

    mean: np.ndarray
    scale: float | np.ndarray

    def __call__(self, rows, stream, step):
        return normalise(rows, *(tf.constant(values, tf.float32) for values in (self.mean, self.scale)))


@dataclass(frozen=True, eq=False)
class Pixels(Normalised):
    """How inputs are made of stored bytes.

    Attributes:
        images: uint8 (N, D or more), whose rows the bytes are; None where these are fetched batch by batch.
    """

    images: np.ndarray | None = None


def normalise(rows, mean, scale):
    """`(rows − mean) · scale` as float32; the only place where pixels become floats."""
    return (tf.cast(rows, tf.float32) - mean) * scale


class RowsFeed:
    """A `Feed` of images that are fetched by index.

    Args:
        images: the training rows, on the device or in their files.
        sampler: which of them make a batch.
        prepare: makes inputs of rows; draws are pure functions of (stream, step).
    """

    def __init__(self, images: Rows, sampler: Sampler, prepare: Preparation):
        self.resident = getattr(images, "resident", False)
        self._images = images
        self._sampler = sampler
        self._prepare = prepare
        is_normalised = isinstance(prepare, Normalised)
        self.pixels = Pixels(prepare.mean, prepare.scale, getattr(images, "array", None)) if is_normalised else None

    def begin(self, stream: int, step: int) -> None:
        self._sampler.begin(stream, step)

    def epoch_end(self, step: int) -> int:
        return self._sampler.epoch_end(step)

    def batch_size(self, step: int) -> int:
        return self._sampler.batch_size(step)

    def batch(self, stream: tf.Tensor, step: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
        rows, labels = self._images.fetch(self._sampler(stream, step, size))
        return self._prepare(rows, stream, step), labels

    def stored(self, stream: tf.Tensor, step: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
        """As `batch`, of what the inputs are made of: int32 (size,), numbers of the images that `pixels` has.

        Or uint8 (size, D) where it has none.
        """
        numbers = self._sampler(stream, step, size)
        if self.pixels.images is None:
            return self._images.fetch(numbers)
        return tf.cast(numbers, tf.int32), self._images.labels_of(numbers)


class StreamFeed:
    """A `Feed` that reads a `tf.data` pipeline from inside the compiled loop, without a return to Python.

    Steps must be taken in their order after `begin`.

    Args:
        batches: opens an epoch at any of its batches: pairs of inputs and labels, always of the same types and ranks.
        steps_per_epoch: batches in each epoch; the last may be shorter.
        prepare: what is still to be done on the device, for example normalisation of bytes; None: nothing.
    """

    resident = False
    pixels = None

    def __init__(self, batches: Batches, steps_per_epoch: int, prepare: Preparation | None = None):
        self.steps_per_epoch = steps_per_epoch
        self._batches = batches
        self._prepare = prepare
        specs = batches(0, 0, 0).element_spec
        self._types = {
            "output_types": [spec.dtype for spec in specs],
            "output_shapes": [spec.shape for spec in specs],
        }
        # One iterator for good, so that the compiled loop stays the same while the epochs go through it.
        with tf.device("CPU:0"):
            self._iterator = tf.raw_ops.AnonymousIteratorV3(**self._types)

    def begin(self, stream: int, step: int) -> None:
        dataset = self._batches(stream, *divmod(step, self.steps_per_epoch))
        with tf.device("CPU:0"):
            tf.raw_ops.MakeIterator(dataset=tf.data.experimental.to_variant(dataset), iterator=self._iterator)

    def epoch_end(self, step: int) -> int:
        return (step // self.steps_per_epoch + 1) * self.steps_per_epoch

    def batch_size(self, step: int) -> None:
        return None

    def batch(self, stream: tf.Tensor, step: tf.Tensor, size: None) -> tuple[tf.Tensor, tf.Tensor]:
        inputs, labels = tf.raw_ops.IteratorGetNext(iterator=self._iterator, **self._types)
        if self._prepare is not None:
            inputs = self._prepare(inputs, stream, step)
        return tf.cast(inputs, tf.float32), tf.cast(labels, tf.int32)
