"""Random distortions of training images inside the compiled loop, pure functions of (seed, step).

Nothing is carried from step to step, so that training resumed at any step sees the images it would have seen.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

Augmentation = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]

MOST_DEGREES = 4.0
MOST_PIXELS = 4
_KEY = 0x5EED  # keeps these numbers apart from those of other draws with the same seed and step
_GREY = ("mnist", "fashion_mnist", "kmnist", "digits")


def augmentation_of(dataset: str) -> Augmentation:
    """Rotation for grey characters, which are not the same mirrored; flip and shift for every other data set."""
    return rotate if dataset in _GREY else flip_and_shift


def rotate(images: tf.Tensor, seed: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Turns each image around its centre by up to 4 degrees, bilinearly; beyond its border its edge goes on.

    Args:
        images: float32 (batch, height, width, channels).
        seed: integer scalar.
        step: integer scalar.

    Returns:
        float32, the same shape.
    """
    count, height, width = (int(size) for size in images.shape[:3])
    angles = tf.random.stateless_uniform([count], _key(seed, step, 0), -MOST_DEGREES, MOST_DEGREES) * (np.pi / 180)
    cos, sin = tf.cos(angles), tf.sin(angles)
    x, y = (width - 1) / 2, (height - 1) / 2
    zero = tf.zeros_like(cos)
    rows = [cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y, zero, zero]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack(rows, axis=1),
        output_shape=[height, width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )


def flip_and_shift(images: tf.Tensor, seed: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Mirrors half of the images and shifts each by up to 4 whole pixels each way; its edge goes on.

    Args and Returns as for `rotate`.
    """
    count, height, width = (int(size) for size in images.shape[:3])
    shifts = tf.random.stateless_uniform(
        [2, count, 1], _key(seed, step, 0), -MOST_PIXELS, MOST_PIXELS + 1, dtype=tf.int32
    )
    flips = tf.random.stateless_uniform([count, 1], _key(seed, step, 1), 0, 2, dtype=tf.int32) == 1
    rows = tf.clip_by_value(tf.range(height)[None] + shifts[0], 0, height - 1)
    columns = tf.clip_by_value(tf.range(width)[None] + shifts[1], 0, width - 1)
    columns = tf.where(flips, width - 1 - columns, columns)
    shifted = tf.gather(images, rows, axis=1, batch_dims=1)
    return tf.gather(shifted, columns, axis=2, batch_dims=1)


def _key(seed: tf.Tensor, step: tf.Tensor, draw: int) -> tf.Tensor:
    return tf.stack([tf.cast(seed, tf.int64) * 2**16 + _KEY + draw, tf.cast(step, tf.int64)])
