"""Batches without replacement: every epoch goes once through all images, in a new order."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


class EpochSampler:
    """The `Sampler` of `TrainingLoop` that cuts one shuffled order per epoch into batches.

    The order of an epoch is a pure function of (stream, epoch), drawn by the host and kept on the device: call
    `shuffle` before the steps of each epoch. Images that fill no whole batch are left out of their epoch.

    Args:
        size: number of images.
        batch_size: images per batch; cut to `size`.
    """

    def __init__(self, size: int, batch_size: int):
        self.batch_size = min(batch_size, size)
        self.steps_per_epoch = size // self.batch_size
        self._size = size
        self._order = tf.Variable(tf.zeros([self.steps_per_epoch * self.batch_size], tf.int32), trainable=False)

    def shuffle(self, stream: int, step: int) -> None:
        """Draws the order of the epoch that `step` belongs to."""
        rng = np.random.default_rng((stream, step // self.steps_per_epoch))
        self._order.assign(rng.permutation(self._size)[: self._order.shape[0]].astype(np.int32))

    def epoch_end(self, step: int) -> int:
        """The first step of the epoch after that of `step`."""
        return (step // self.steps_per_epoch + 1) * self.steps_per_epoch

    def __call__(self, stream: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        start = step % self.steps_per_epoch * self.batch_size
        return tf.slice(self._order, [start], [self.batch_size])
