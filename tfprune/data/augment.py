"""Random distortions of training images inside the compiled loop, pure functions of (seed, step).

Nothing is carried from step to step, so that training resumed at any step sees the images it would have seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

Augmentation = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]

MOST_DEGREES = 4.0
MOST_PIXELS = 4
# Of crops that are resized, as in OpenLTH: share of the image's area, width over height.
CROP_AREA = (0.1, 1.0)
CROP_RATIO = (0.8, 1.25)
_KEY = 0x5EED  # keeps these numbers apart from those of other draws with the same seed and step
_GREY = ("mnist", "fashion_mnist", "kmnist", "digits")


def augmentation_of(dataset: str) -> Augmentation:
    """Rotation for grey characters, which are not the same mirrored; flip and shift for every other data set."""
    return rotate if dataset in _GREY else flip_and_shift


def byte_augmentation_of(dataset: str) -> Augmentation | None:
    """What lottery tickets do to the bytes of a training batch, as in OpenLTH and its fork; None for characters.

    `tinyimagenet` and `tinyimagenet2` are the same images, the first with resized crops and the second with shifts.
    """
    if dataset in _GREY:
        return None
    return flip_and_resized_crop if dataset == "tinyimagenet" else flip_and_crop


def rotate(images: tf.Tensor, seed: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Turns each image around its centre by up to 4 degrees, bilinearly; beyond its border it is mirrored.

    Args:
        images: float32 (batch, height, width, channels).
        seed: integer scalar.
        step: integer scalar.

    Returns:
        float32, the same shape.
    """
    angles = tf.random.stateless_uniform([images.shape[0]], _key(seed, step, 0), -MOST_DEGREES, MOST_DEGREES)
    return turned(images, angles * (math.pi / 180))


@tf.function(jit_compile=True, autograph=False)
def turned(images: tf.Tensor, angles: tf.Tensor) -> tf.Tensor:
    """Each image turned by its angle, at most 4 degrees.

    So small a turn moves no pixel of a small image further than a pixel or two: the result is a sum over that many
    shifts of the image, weighted by how near the source lies (a tent, which is bilinear interpolation). XLA makes one
    pass of it, several times faster than TensorFlow's operation for any projective transform.

    Args:
        images: float32 (batch, height, width, channels).
        angles: float32 (batch,), radians, counter-clockwise on a screen.
    """
    height, width = images.shape[1:3]
    y = (tf.range(height, dtype=tf.float32) - (height - 1) / 2)[None, :, None, None]
    x = (tf.range(width, dtype=tf.float32) - (width - 1) / 2)[None, None, :, None]
    sin, cos_less_one = (value[:, None, None, None] for value in (tf.sin(angles), tf.cos(angles) - 1))
    # How far from an output pixel its source lies.
    down, right = cos_less_one * y + sin * x, cos_less_one * x - sin * y
    most = math.radians(MOST_DEGREES)
    far = (math.sin(most) + 1 - math.cos(most)) * (max(height, width) - 1) / 2
    reach = max(1, math.ceil(far))
    padded = tf.pad(images, [[0, 0], [reach, reach], [reach, reach], [0, 0]], "SYMMETRIC")
    total = tf.zeros_like(images)
    for i in range(-reach, reach + 1):
        for j in range(-reach, reach + 1):
            weight = tf.nn.relu(1 - abs(down - i)) * tf.nn.relu(1 - abs(right - j))
            total += weight * padded[:, reach + i : reach + i + height, reach + j : reach + j + width]
    return total


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


def flip_and_crop(images: tf.Tensor, seed: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Mirrors half of the images and crops each at random from itself with 4 black pixels around it.

    The usual distortion of CIFAR-10. It takes the bytes before normalisation, for which black is 0.

    Args:
        images: uint8 (batch, height, width, channels), the batch known when the function is traced.
        seed: integer scalar.
        step: integer scalar.

    Returns:
        float32 of the same shape, holding the bytes' values.

    Reference: He et al. 2015, arXiv 1512.03385, section 4.2.
    """
    count, height, width = (int(size) for size in images.shape[:3])
    corners = tf.random.stateless_uniform(
        [2, count, 1], _key(seed, step, 0), -MOST_PIXELS, MOST_PIXELS + 1, dtype=tf.int32
    )
    flips = tf.random.stateless_uniform([count, 1], _key(seed, step, 1), 0, 2, dtype=tf.int32) == 1
    rows, columns = tf.range(height)[None] + corners[0], tf.range(width)[None] + corners[1]
    columns = tf.where(flips, width - 1 - columns, columns)
    # Products with rows of the identity, and of zeros beyond the border: exact for bytes in any precision, and on CPUs
    # four times faster than gathers, which GPUs don't have for bytes.
    channels_first = tf.cast(tf.transpose(images, [0, 3, 1, 2]), tf.float32)
    cropped = tf.matmul(tf.one_hot(rows, height)[:, None], channels_first)
    cropped = tf.matmul(cropped, tf.one_hot(columns, width)[:, None], transpose_b=True)
    return tf.transpose(cropped, [0, 2, 3, 1])


def flip_and_resized_crop(images: tf.Tensor, seed: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Mirrors half of the images and enlarges a random part of each to its size, bilinearly; not for XLA.

    A part has 10 to 100 % of the area and its width is 0.8 to 1.25 times its height, uniformly in the logarithm; one
    that would not fit is cut to the image.

    Args and Returns as for `flip_and_crop`; parts lie between whole pixels, so values do, too.

    Reference: Szegedy et al. 2014, arXiv 1409.4842, section 6.
    """
    count, height, width = (int(size) for size in images.shape[:3])
    uniform = tf.random.stateless_uniform([5, count], _key(seed, step, 0))
    area = CROP_AREA[0] + uniform[0] * (CROP_AREA[1] - CROP_AREA[0])
    low, high = (math.log(ratio) for ratio in CROP_RATIO)
    stretch = tf.exp((low + uniform[1] * (high - low)) / 2)
    tall, wide = (tf.minimum(tf.sqrt(area) * factor, 1.0) for factor in (1 / stretch, stretch))
    sides = []
    for share, place, pixels in ((tall, uniform[2], height), (wide, uniform[3], width)):
        # Centres of the first and the last output pixel, in units where 0 and 1 are the outermost pixels' centres.
        first = (place * (1 - share) * pixels + share / 2 - 0.5) / (pixels - 1)
        last = first + share
        sides.append([tf.clip_by_value(end, 0.0, 1.0) for end in (first, last)])
    (top, bottom), (left, right) = sides
    flips = uniform[4] < 0.5
    boxes = tf.stack([top, tf.where(flips, right, left), bottom, tf.where(flips, left, right)], 1)
    return tf.image.crop_and_resize(tf.cast(images, tf.float32), boxes, tf.range(count), [height, width])


def _key(seed: tf.Tensor, step: tf.Tensor, draw: int) -> tf.Tensor:
    return tf.stack([tf.cast(seed, tf.int64) * 2**16 + _KEY + draw, tf.cast(step, tf.int64)])
