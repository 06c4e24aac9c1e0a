"""Which images make a batch: drawn with replacement, or cut from one shuffled order per epoch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Protocol

import numpy as np
import tensorflow as tf

Draw = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""(stream, step) -> the batch's indices."""

NEVER = sys.maxsize
"""The end of an epoch that has none."""


class Sampler(Protocol):
    """Indices of the batches, a pure function of (stream, step); see `tfprune.training.feeds.Feed`."""

    def begin(self, stream: int, step: int) -> None: ...

    def epoch_end(self, step: int) -> int: ...

    def batch_size(self, step: int) -> int: ...

    def __call__(self, stream: tf.Tensor, step: tf.Tensor, size: int) -> tf.Tensor: ...


class DrawnSampler:
    """A `Sampler` without epochs, made of a function.

    Args:
        draw: gives the indices of every batch.
        batch_size: how many.
    """

    def __init__(self, draw: Draw, batch_size: int):
        self._draw = draw
        self._batch_size = batch_size

    def begin(self, stream: int, step: int) -> None:
        pass

    def epoch_end(self, step: int) -> int:
        return NEVER

    def batch_size(self, step: int) -> int:
        return self._batch_size

    def __call__(self, stream: tf.Tensor, step: tf.Tensor, size: int) -> tf.Tensor:
        return self._draw(stream, step)


def with_replacement(seed: int, size: int, batch_size: int) -> Draw:
    """Batches drawn uniformly with replacement, a pure function of (seed, stream, step).

    Nothing is carried from step to step, so that training resumed at any step sees the batches it would have seen.
    """

    def draw(stream: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        # Two keys made of three numbers: the step counts in the low half, the stream in the high half.
        key = tf.stack([tf.constant(seed, tf.int64), tf.cast(stream, tf.int64) * 2**32 + tf.cast(step, tf.int64)])
        return tf.random.stateless_uniform([batch_size], key, 0, size, tf.int32)

    return draw


class EpochSampler:
    """A `Sampler` without replacement: every epoch goes once through all images, in a new order.

    The order of an epoch is a pure function of (stream, epoch), drawn by the host and kept on the device.

    Args:
        size: number of images.
        batch_size: images per batch; cut to `size`.
        short: whether the images that fill no whole batch make a shorter last one; else their epoch goes without them.
        seed: takes the stream's place where given, so that streams see the same orders.
    """

    def __init__(self, size: int, batch_size: int, short: bool = False, seed: int | None = None):
        self._batch_size = min(batch_size, size)
        self._size = size if short else size // self._batch_size * self._batch_size
        self._images = size
        self._seed = seed
        self.steps_per_epoch = -(-self._size // self._batch_size)
        self._order = tf.Variable(tf.zeros([self._size], tf.int32), trainable=False)

    def begin(self, stream: int, step: int) -> None:
        """Draws the order of the epoch that `step` belongs to; due before the steps of each epoch."""
        rng = np.random.default_rng((stream if self._seed is None else self._seed, step // self.steps_per_epoch))
        self._order.assign(rng.permutation(self._images)[: self._size].astype(np.int32))

    def epoch_end(self, step: int) -> int:
        """The first step of the epoch after that of `step`."""
        return (step // self.steps_per_epoch + 1) * self.steps_per_epoch

    def batch_size(self, step: int) -> int:
        """Images in the batch of `step`."""
        return min(self._batch_size, self._size - step % self.steps_per_epoch * self._batch_size)

    def __call__(self, stream: tf.Tensor, step: tf.Tensor, size: int) -> tf.Tensor:
        start = step % self.steps_per_epoch * self._batch_size
        # Not a slice: where it begins XLA wants to know when it compiles, and so would do that in every step.
        return tf.gather(self._order, start + tf.range(size))
