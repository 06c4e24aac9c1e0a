"""Random distortions: what they do to an image, and that they depend on (seed, step) alone."""

import numpy as np
import pytest
import tensorflow as tf

from tfprune.data.augment import (
    augmentation_of,
    byte_augmentation_of,
    flip_and_crop,
    flip_and_resized_crop,
    flip_and_shift,
    rotate,
    turned,
)


def _images(count=16, side=28, channels=1):
    inner = np.random.default_rng(0).random((count, side - 6, side - 6, channels), np.float32)
    return tf.constant(np.pad(inner, [[0, 0], [3, 3], [3, 3], [0, 0]]))


@pytest.mark.parametrize("side", [8, 28, 57])
def test_a_turn_is_bilinear(side):
    images = _images(side=side)
    angles = np.linspace(-4, 4, 16) * np.pi / 180
    cos, sin, centre, zero = np.cos(angles), np.sin(angles), (side - 1) / 2, np.zeros(16)
    rows = [cos, -sin, centre * (1 - cos + sin), sin, cos, centre * (1 - cos - sin), zero, zero]
    expected = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=np.stack(rows, 1).astype(np.float32),
        output_shape=[side, side],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    came = turned(images, tf.constant(angles, tf.float32))
    np.testing.assert_allclose(came, expected, atol=2e-5)
    assert np.abs(came - images).max() > 0.01


def test_shifts_and_flips():
    image = np.arange(100, dtype=np.float32).reshape(1, 10, 10, 1)
    batch = tf.constant(np.repeat(image, 400, axis=0))
    came = flip_and_shift(batch, tf.constant(1), tf.constant(2)).numpy()[..., 0]
    # The pixel in the middle says where it came from: row 10·y + x.
    y, x = np.divmod(came[:, 5, 5].astype(int), 10)
    assert set(y - 5) == set(range(-4, 5))
    flipped = came[:, 5, 4] > came[:, 5, 6]
    assert 130 < flipped.sum() < 270
    assert set(x[~flipped] - 5) == set(range(-4, 5)) and set(4 - x[flipped]) == set(range(-4, 5))
    assert set(np.unique(came)) <= set(range(100))


@pytest.mark.parametrize("distort", [rotate, flip_and_shift])
def test_depends_on_seed_and_step_alone(distort):
    images = _images(channels=3)
    one = distort(images, tf.constant(5), tf.constant(7)).numpy()
    np.testing.assert_array_equal(one, distort(images, tf.constant(5), tf.constant(7)))
    assert (one != distort(images, tf.constant(5), tf.constant(8)).numpy()).any()
    assert (one != distort(images, tf.constant(6), tf.constant(7)).numpy()).any()


@pytest.mark.parametrize("xla", [False, True])
def test_crops_from_black_margins(xla):
    image = np.arange(1, 65, dtype=np.uint8).reshape(1, 8, 8, 1)
    batch = tf.constant(np.repeat(image, 500, axis=0))
    distort = tf.function(flip_and_crop, jit_compile=xla, autograph=False)
    came = distort(batch, tf.constant(1), tf.constant(2)).numpy()
    assert came.dtype == np.float32
    padded = np.pad(image[0, :, :, 0], 4)
    crops = {padded[y : y + 8, x : x + 8][:, ::way].tobytes() for y in range(9) for x in range(9) for way in (1, -1)}
    assert len(crops) == 162
    seen = [crop.astype(np.uint8).tobytes() for crop in came]
    assert set(seen) <= crops and len(set(seen)) > 140
    # Pixel 1 is at the left of pixel 2 except where the image is mirrored; crops that hold neither row don't say.
    both = [crop for crop in came[..., 0] if 28 in crop and 29 in crop]
    mirrored = sum(np.argwhere(crop == 28)[0, 1] > np.argwhere(crop == 29)[0, 1] for crop in both)
    assert 0.4 < mirrored / len(both) < 0.6
    np.testing.assert_array_equal(came, flip_and_crop(batch, tf.constant(1), tf.constant(2)))


def test_resized_crops_of_a_ramp():
    y, x = np.mgrid[:64, :64]
    image = np.stack([2 * y, 3 * x], -1).astype(np.uint8)[None]
    came = flip_and_resized_crop(tf.constant(np.repeat(image, 500, 0)), tf.constant(1), tf.constant(2)).numpy()
    # Ramps stay ramps; their slopes say how large a share of each side is shown.
    tall, wide = (came[:, 63, :, 0] - came[:, 0, :, 0])[:, 5] / 126, (came[:, :, 63, 1] - came[:, :, 0, 1])[:, 5] / 189
    np.testing.assert_allclose(came[:, :, 5, 0], np.linspace(came[:, 0, 5, 0], came[:, 63, 5, 0], 64).T, atol=1e-2)
    assert 0.4 < (wide < 0).mean() < 0.6
    area, ratio = tall * abs(wide), abs(wide) / tall
    assert 0.08 < area.min() < 0.13 and 0.9 < area.max() <= 1
    assert 0.79 < ratio.min() < 0.82 and 1.22 < ratio.max() < 1.26
    assert np.median(area) == pytest.approx(0.55, abs=0.05)


@pytest.mark.parametrize("crop", [flip_and_crop, flip_and_resized_crop])
@pytest.mark.parametrize("change", [(6, 7), (5, 8)])
def test_crops_depend_on_seed_and_step_alone(crop, change):
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8))
    one = crop(images, tf.constant(5), tf.constant(7)).numpy()
    np.testing.assert_array_equal(one, crop(images, tf.constant(5), tf.constant(7)))
    assert (one != crop(images, *map(tf.constant, change)).numpy()).any()


def test_characters_turn_and_the_others_flip():
    assert augmentation_of("mnist") is rotate and augmentation_of("cifar10") is flip_and_shift


def test_what_lottery_tickets_do_to_bytes():
    kinds = {"mnist": None, "digits": None, "cifar10": flip_and_crop, "tinyimagenet2": flip_and_crop}
    assert {name: byte_augmentation_of(name) for name in kinds} == kinds
    assert byte_augmentation_of("tinyimagenet") is flip_and_resized_crop
