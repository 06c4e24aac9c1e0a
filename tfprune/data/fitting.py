"""Images of any size brought to one."""

from __future__ import annotations

import tensorflow as tf


def fitted(image: tf.Tensor, side: int) -> tf.Tensor:
    """The middle square of an image, resized: the shorter side decides, bilinearly and without aliasing.

    Args:
        image: uint8 (height, width, channels); height and width may be unknown when the function is traced.
        side: height and width of the result.

    Returns:
        uint8 (side, side, channels).
    """
    # The square is cut out first: a strip of one pixel's width would become huge.
    shorter = tf.reduce_min(tf.shape(image)[:2])
    square = tf.image.resize_with_crop_or_pad(image, shorter, shorter)
    return tf.saturate_cast(tf.round(tf.image.resize(square, [side, side], antialias=True)), tf.uint8)
