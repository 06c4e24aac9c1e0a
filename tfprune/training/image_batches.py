"""Images that are held as bytes on the device, as a network sees them: shaped, distorted, normalised."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from tfprune.data.augment import Augmentation
from tfprune.data.images import ImageSet
from tfprune.training.evaluation import Evaluator, OfExamples
from tfprune.training.feeds import RowsFeed, normalise
from tfprune.training.samplers import EpochSampler


class ImageBatches:
    """Batches of one data set.

    Args:
        images: the data.
        batch_size: images per training step; the last batch of an epoch may be shorter.
        distort: what is done to the bytes of a training batch; None: nothing.
        side: images whose shorter side is below it are made this high and wide on the device, bilinearly, the last
            thing that is done to a batch; None leaves them as they are.

    Attributes:
        classes: number of classes.
        input_shape: (height, width, channels).
        steps_per_epoch: batches in an epoch.
    """

    def __init__(self, images: ImageSet, batch_size: int, distort: Augmentation | None = None, side: int | None = None):
        channels, height, width = images.image_shape
        self._side = side if side is not None and min(height, width) < side else None
        self.classes = images.classes
        self.input_shape = (height, width, channels) if self._side is None else (side, side, channels)
        self._images, self._batch_size, self._distort = images, batch_size, distort
        self.steps_per_epoch = self._sampler(None).steps_per_epoch

    def feed(self, order_seed: int | None = None) -> RowsFeed:
        """Training batches.

        Args:
            order_seed: where given, all streams see the images in the same order.
        """
        return RowsFeed(self._images.train, self._sampler(order_seed), self._prepared)

    def evaluator(
        self,
        model: Callable,
        top: tuple[int, ...] = (1,),
        held_out: bool = False,
        batch_size: int = 1000,
        more: Mapping[str, OfExamples] | None = None,
    ) -> Evaluator:
        """Measures accuracy and loss on the test images.

        Args:
            model: called with float32 (B, *input_shape) and `training=False`, gives logits (B, classes).
            top: as for `Evaluator`.
            held_out: on the training images that are set aside instead.
            batch_size: images at a time.
            more: further measures of examples by name, see `Evaluator`.
        """

        def on_rows(rows, training):
            return model(self._enlarged(self._to_images(rows)), training=training)

        images = self._images
        tested = images.held_out if held_out else images.validation
        return Evaluator(on_rows, tested, images.mean, images.scale, top, batch_size, more)

    def examples(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Training images by their positions, undistorted: float32 (n, *input_shape) and int32 (n,) labels."""
        images = self._images
        rows, labels = images.train.fetch(tf.constant(chosen, tf.int32))
        shaped = self._to_images(normalise(rows, images.mean, images.scale))
        return self._enlarged(shaped).numpy(), labels.numpy()

    def _sampler(self, order_seed: int | None) -> EpochSampler:
        return EpochSampler(self._images.train.size, self._batch_size, short=True, seed=order_seed)

    def _prepared(self, rows, stream, step):
        images = self._to_images(rows)
        if self._distort is not None:
            images = self._distort(images, stream, step)
        mean, scale = (self._to_images(values[None]) for values in (self._images.mean, self._images.scale))
        return self._enlarged(normalise(images, mean, scale))

    def _enlarged(self, images):
        """On the device, for as bytes alone 50,000 images of 224×224 pixels take 7.5 GB."""
        return images if self._side is None else tf.image.resize(images, [self._side, self._side])

    def _to_images(self, values):
        """(B, D), flattened c, y, x, to (B, height, width, channels)."""
        shaped = tf.reshape(values, [-1, *self._images.image_shape])
        return tf.transpose(shaped, [0, 2, 3, 1])
