"""Random distortions of training images inside the compiled loop, pure functions of (seed, step).

Nothing is carried from step to step, so that training resumed at any step sees the images it would have seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

import numpy as np
import tensorflow as tf

from tfprune.data.facts import AUGMENTATIONS, CHARACTERS
from tfprune.errors import InputError

Augmentation = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]

MOST_DEGREES = 4.0
MOST_PIXELS = 4
# Of crops that are resized, as in OpenLTH: share of the image's area, width over height.
CROP_AREA = (0.1, 1.0)
CROP_RATIO = (0.8, 1.25)
_KEY = 0x5EED  # keeps these numbers apart from those of other draws with the same seed and step


def augmentation_of(dataset: str) -> Augmentation:
    """Rotation for grey characters, which are not the same mirrored; flip and shift for every other data set."""
    return rotate if dataset in CHARACTERS else flip_and_shift


def byte_augmentation_of(dataset: str) -> Augmentation | None:
    """What lottery tickets do to the bytes of a training batch, as in OpenLTH and its fork; None for characters.

    `tinyimagenet` and `tinyimagenet2` are the same images, the first with resized crops and the second with shifts.
    """
    if dataset in CHARACTERS:
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
    return _picked(images, rows, tf.where(flips, width - 1 - columns, columns))


def _picked(images: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """The rows and columns, int32 (batch, height) and (batch, width), of each image; black beyond the border."""
    height, width = images.shape[1:3]
    # Products with rows of the identity, and of zeros beyond the border: exact for bytes in any precision, and on CPUs
    # four times faster than gathers, which GPUs don't have for bytes.
    channels_first = tf.cast(tf.transpose(images, [0, 3, 1, 2]), tf.float32)
    picked = tf.matmul(tf.one_hot(rows, height)[:, None], channels_first)
    picked = tf.matmul(picked, tf.one_hot(columns, width)[:, None], transpose_b=True)
    return tf.transpose(picked, [0, 2, 3, 1])


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


def composed(names: Collection[str], fill: float | np.ndarray = 0.0) -> Augmentation | None:
    """The distortions of these names, one after the other in the order of `facts.AUGMENTATIONS`; None for none.

    Each draws by itself: what one does is the same whichever others there are.

    Args:
        names: some of `facts.AUGMENTATIONS`.
        fill: what `cutout` leaves in its squares, in units of the bytes; a number, or one per channel.

    Raises:
        InputError: another name.
    """
    unknown = sorted(set(names) - set(AUGMENTATIONS))
    if unknown:
        raise InputError(f"unknown distortion {unknown[0]!r}; allowed are {', '.join(AUGMENTATIONS)}")
    made = {"flip": flip, "crop": crop, "rotate": rotate_half_turn}
    made["cutout"] = lambda images, seed, step: cutout(images, seed, step, fill)
    chosen = [made[name] for name in AUGMENTATIONS if name in names]

    def distort(images, seed, step):
        for one in chosen:
            images = one(images, seed, step)
        return images

    return distort if chosen else None


def flip(images: tf.Tensor, seed: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Mirrors half of the images.

    Args and Returns as for `flip_and_crop`; float32 images will do, too.
    """
    images = tf.cast(images, tf.float32)
    flips = tf.random.stateless_uniform([images.shape[0], 1, 1, 1], _key(seed, step, 2), 0, 2, dtype=tf.int32) == 1
    return tf.where(flips, images[:, :, ::-1], images)


def crop(images: tf.Tensor, seed: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Crops each image at random from itself with 4 black pixels around it.

    Args and Returns as for `flip`.
    """
    count, height, width = (int(size) for size in images.shape[:3])
    corners = tf.random.stateless_uniform(
        [2, count, 1], _key(seed, step, 3), -MOST_PIXELS, MOST_PIXELS + 1, dtype=tf.int32
    )
    return _picked(images, tf.range(height)[None] + corners[0], tf.range(width)[None] + corners[1])


def rotate_half_turn(images: tf.Tensor, seed: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Turns each image around its centre by 0 to 180 degrees, uniformly, counter-clockwise; not for XLA.

    Args and Returns as for `flip`; see `half_turned`.
    """
    return half_turned(images, tf.random.stateless_uniform([images.shape[0]], _key(seed, step, 4), 0.0, math.pi))


def half_turned(images: tf.Tensor, angles: tf.Tensor) -> tf.Tensor:
    """Each image turned by its angle, of any size, bilinearly; black beyond the border.

    Args:
        images: uint8 or float32 (batch, height, width, channels).
        angles: float32 (batch,), radians, counter-clockwise on a screen.

    Returns:
        float32, the same shape.
    """
    height, width = images.shape[1:3]
    y, x = (height - 1) / 2, (width - 1) / 2
    cos, sin, zero = tf.cos(angles), tf.sin(angles), tf.zeros_like(angles)
    # Where the source of an output pixel lies: both turn about the centre.
    across, down = [cos, -sin, x - cos * x + sin * y], [sin, cos, y - sin * x - cos * y]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=tf.stack([*across, *down, zero, zero], 1),
        output_shape=[height, width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )


def cutout(images: tf.Tensor, seed: tf.Tensor, step: tf.Tensor, fill: float | np.ndarray = 0.0) -> tf.Tensor:
    """Covers a square of half each image's shorter side, its centre anywhere in the image, cut at the border.

    Args and Returns as for `flip`, and:
        fill: what covers it; the publication covers with the mean of the data, which normalisation makes 0.

    Reference: DeVries & Taylor 2017, arXiv 1708.04552, section 3.2.
    """
    count, height, width = (int(size) for size in images.shape[:3])
    side = min(height, width) // 2

    def covered(pixels, draw):
        # Whole numbers, for XLA draws others between them.
        centres = tf.random.stateless_uniform([count, 1], _key(seed, step, draw), 0, pixels, dtype=tf.int32)
        far = tf.range(pixels)[None] - centres + side // 2
        return (far >= 0) & (far < side)

    square = covered(height, 5)[:, :, None, None] & covered(width, 6)[:, None, :, None]
    return tf.where(square, tf.cast(fill, tf.float32), tf.cast(images, tf.float32))


def _key(seed: tf.Tensor, step: tf.Tensor, draw: int) -> tf.Tensor:
    return tf.stack([tf.cast(seed, tf.int64) * 2**16 + _KEY + draw, tf.cast(step, tf.int64)])
