"""Random distortions: what they do to an image, and that they depend on (seed, step) alone."""

import numpy as np
import pytest
import tensorflow as tf

from tfprune.data.augment import (
    augmentation_of,
    byte_augmentation_of,
    composed,
    crop,
    cutout,
    flip,
    flip_and_crop,
    flip_and_resized_crop,
    flip_and_shift,
    half_turned,
    rotate,
    rotate_half_turn,
    turned,
)
from tfprune.data.facts import AUGMENTATIONS
from tfprune.errors import InputError


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


SINGLE = {"flip": flip, "crop": crop, "rotate": rotate_half_turn, "cutout": cutout}


def _bytes(count=400, side=8, channels=2, low=1):
    return np.random.default_rng(0).integers(low, 256, (count, side, side, channels), np.uint8)


def _at(distort, images, seed=1, step=2):
    return distort(tf.constant(images), tf.constant(seed), tf.constant(step)).numpy()


def test_a_flip_mirrors_half_of_the_images_and_leaves_the_rest():
    images = _bytes()
    came = _at(flip, images)
    mirrored = (came == images[:, :, ::-1]).all((1, 2, 3))
    assert came.dtype == np.float32
    np.testing.assert_array_equal(came[~mirrored], images[~mirrored])
    assert 160 < mirrored.sum() < 240


def test_a_crop_is_a_part_of_the_image_in_black():
    images = _bytes()
    came, padded = _at(crop, images), np.pad(images, [(0, 0), (4, 4), (4, 4), (0, 0)])
    places = [
        [(y, x) for y in range(9) for x in range(9) if (part == whole[y : y + 8, x : x + 8]).all()]
        for part, whole in zip(came, padded, strict=True)
    ]
    assert all(len(found) == 1 for found in places)
    y, x = np.array([found[0] for found in places]).T
    for place in (y, x):  # each of the nine comes 44 times on average
        assert np.bincount(place, minlength=9).min() > 22
    assert abs(np.corrcoef(y, x)[0, 1]) < 0.2


def _rotated(image, angle):
    """Bilinear, pixel by pixel; what lies beyond the border is 0."""
    height, width = image.shape[:2]
    padded, came = np.pad(image.astype(float), [(1, 1), (1, 1), (0, 0)]), np.zeros(image.shape)
    for row in range(height):
        for column in range(width):
            down, right = row - (height - 1) / 2, column - (width - 1) / 2
            y = np.sin(angle) * right + np.cos(angle) * down + (height - 1) / 2
            x = np.cos(angle) * right - np.sin(angle) * down + (width - 1) / 2
            if -1 < y < height and -1 < x < width:
                top, left = int(np.floor(y)), int(np.floor(x))
                weights = np.outer([1 - y + top, y - top], [1 - x + left, x - left])
                part = padded[top + 1 : top + 3, left + 1 : left + 3]
                came[row, column] = np.tensordot(weights, part, 2)
    return came


def test_turns_of_any_angle():
    images = _bytes(5, side=7)
    angles = np.array([0, np.pi / 2, np.pi, 0.7, 2.5], np.float32)
    came = half_turned(tf.constant(images), tf.constant(angles)).numpy()
    np.testing.assert_array_equal(came[0], images[0])
    np.testing.assert_allclose(came[1], np.rot90(images[1], 1), atol=1e-3)  # counter-clockwise
    np.testing.assert_allclose(came[2], np.rot90(images[2], 2), atol=1e-3)
    for number in (3, 4):
        np.testing.assert_allclose(came[number], _rotated(images[number], angles[number]), atol=1e-3)
    wide = _bytes(1, side=9)[:, :6]
    np.testing.assert_allclose(
        half_turned(tf.constant(wide), tf.constant([0.4]))[0], _rotated(wide[0], np.float32(0.4)), atol=1e-3
    )


def test_angles_are_uniform_over_half_a_turn():
    dot = np.zeros((400, 21, 21, 1), np.uint8)
    dot[:, 9:12, 18:21] = 200  # at three o'clock, nine pixels from the centre
    came = _at(rotate_half_turn, dot)[..., 0]
    up, right = 10 - np.arange(21), np.arange(21) - 10
    total = came.sum((1, 2))
    angles = np.degrees(np.arctan2(came.sum(2) @ up / total, came.sum(1) @ right / total))
    assert angles.min() > -1 and angles.max() < 181
    assert np.histogram(angles, 4, (0, 180))[0].min() > 70  # 100 on average
    assert abs(angles.mean() - 90) < 8


@pytest.mark.parametrize("fill", [0.0, np.array([7.5, 9.0], np.float32)])
def test_cutout_covers_a_square_that_the_border_cuts(fill):
    images = _bytes(600, side=8, low=10)
    came = cutout(tf.constant(images), tf.constant(1), tf.constant(2), fill).numpy()
    covered = (came != images).any(-1)
    np.testing.assert_array_equal(came[covered], np.broadcast_to(fill, (covered.sum(), 2)))
    seen = set()
    for mask in covered:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask.sum() == len(rows) * len(columns)  # one rectangle
        seen.add((rows[0], rows[-1] + 1, columns[0], columns[-1] + 1))
    # A centre at row r covers r − 2 to r + 1, as far as these are rows.
    spans = [(max(0, r - 2), min(8, r + 2)) for r in range(8)]
    assert seen == {(*rows, *columns) for rows in spans for columns in spans}
    expected = np.mean([end - start for start, end in spans]) ** 2
    assert covered.sum((1, 2)).mean() == pytest.approx(expected, rel=0.06)


def test_cutout_is_half_a_side():
    assert (_at(cutout, _bytes(100, side=32)) == 0).all(-1).sum((1, 2)).max() == 16 * 16


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_depends_on_seed_and_step_alone(name):
    images, distort = _bytes(16, side=32, channels=3), composed([name])
    one = _at(distort, images, 5, 7)
    np.testing.assert_array_equal(one, _at(SINGLE[name], images, 5, 7))
    np.testing.assert_array_equal(one, _at(tf.function(distort, autograph=False), images, 5, 7))
    if name != "rotate":
        np.testing.assert_array_equal(one, _at(tf.function(distort, autograph=False, jit_compile=True), images, 5, 7))
    assert (one != _at(distort, images, 5, 8)).any() and (one != _at(distort, images, 6, 7)).any()


def test_one_after_the_other_each_with_its_own_draws():
    images = _bytes(16, side=32, channels=3)
    expected = images
    for name in ("flip", "crop", "rotate", "cutout"):
        expected = _at(SINGLE[name], expected)
    assert tuple(SINGLE) == AUGMENTATIONS
    np.testing.assert_array_equal(_at(composed(["cutout", "rotate", "crop", "flip"]), images), expected)
    filled = composed(["cutout", "flip"], fill=np.float32([1, 2, 3]))
    np.testing.assert_array_equal(_at(filled, images), _at(lambda *a: cutout(flip(*a), *a[1:], [1, 2, 3]), images))
    assert composed([]) is None
    with pytest.raises(InputError, match="unknown distortion 'turn'; allowed are flip, crop, rotate, cutout"):
        composed(["flip", "turn"])
