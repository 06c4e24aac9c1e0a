"""Fewer training images and random labels: how many, which, and that only the seed decides."""

import numpy as np
import pytest

from tfprune.data.prepared import load_prepared
from tfprune.data.rows import Rows, Source
from tfprune.data.variants import resized, set_aside, subsampled, with_channels, with_random_labels
from tfprune.errors import InputError


@pytest.fixture
def source():
    rows = np.arange(1000 * 8).reshape(1000, 8).astype(np.uint8)
    labels = np.arange(1000, dtype=np.int32) % 10
    return Source(Rows([rows], labels), Rows([rows[:5]], labels[:5]), np.zeros(8, "f4"), 1.0, (1, 2, 4), 10)


@pytest.mark.parametrize(("fraction", "count"), [(0.1, 100), (0.0001, 1), (0.3, 300), (0.1001, 101), (1, 1000)])
def test_subsample(source, fraction, count):
    small = subsampled(source, fraction, 3)
    assert small.train.size == count and small.train.parts[0].shape == (count, 8)
    # Rows keep their labels, none comes twice, and the validation images stay.
    assert small.validation is source.validation
    wanted = {(row.tobytes(), label) for row, label in zip(source.train.parts[0], source.train.labels, strict=True)}
    assert {
        (row.tobytes(), label) for row, label in zip(small.train.parts[0], small.train.labels, strict=True)
    } <= wanted
    np.testing.assert_array_equal(small.train.parts[0], subsampled(source, fraction, 3).train.parts[0])
    if 1 < count < 1000:
        assert (small.train.parts[0] != subsampled(source, fraction, 4).train.parts[0]).any()


def test_random_labels(source):
    changed = with_random_labels(source, 0.5, 3).train
    assert changed.parts is source.train.parts
    # A tenth of the 500 draws hits the old label.
    assert 0.42 < (changed.labels != source.train.labels).mean() < 0.48
    assert set(changed.labels) == set(range(10)) and changed.labels.dtype == np.int32
    np.testing.assert_array_equal(source.train.labels, np.arange(1000) % 10)
    np.testing.assert_array_equal(changed.labels, with_random_labels(source, 0.5, 3).train.labels)
    assert (changed.labels != with_random_labels(source, 0.5, 4).train.labels).any()
    assert (with_random_labels(source, 1.0, 3).train.labels == source.train.labels).mean() < 0.15


@pytest.mark.parametrize("fraction", [0, -0.1, 1.5, True, float("nan")])
def test_fractions_out_of_range(source, fraction):
    with pytest.raises(InputError, match="--subsample_fraction must be above 0 and at most 1"):
        subsampled(source, fraction, 0)
    with pytest.raises(InputError, match="--random_labels_fraction must be above 0 and at most 1"):
        with_random_labels(source, fraction, 0)


@pytest.mark.parametrize(("fraction", "count"), [(0.1, 100), (0.0001, 1), (0.3, 300), (0.999, 999)])
def test_images_set_aside(source, fraction, count):
    rest, aside = set_aside(source, fraction, 3)
    assert (aside.size, rest.train.size) == (count, 1000 - count) and rest.validation is source.validation

    def pairs(rows):
        return [(row.tobytes(), label) for row, label in zip(rows.parts[0], rows.labels, strict=True)]

    whole = pairs(source.train)
    assert sorted(pairs(aside) + pairs(rest.train)) == sorted(whole)
    order = iter(whole)  # both parts in their old order
    assert all(pair in order for pair in pairs(aside))
    np.testing.assert_array_equal(aside.parts[0], set_aside(source, fraction, 3)[1].parts[0])
    assert (aside.labels != set_aside(source, fraction, 4)[1].labels).any()


@pytest.mark.parametrize("fraction", [0, 1, -0.1, True, float("nan")])
def test_nothing_or_everything_set_aside(source, fraction):
    with pytest.raises(InputError, match=r"held out must be above 0 and below 1\. Received"):
        set_aside(source, fraction, 0)


def test_none_left_to_train_on(source):
    with pytest.raises(InputError, match=r"holding out 0\.5 of 1 training images leaves none to train on"):
        set_aside(subsampled(source, 0.001, 0), 0.5, 0)


def test_prepared_with_images_held_out():
    images = load_prepared("digits", held_out=0.1, seed=1, side=10)
    assert (images.train.size, images.held_out.size, images.validation.size) == (1293, 144, 360)
    whole = load_prepared("digits", side=10)
    assert whole.held_out is None

    def rows(part):
        return np.concatenate([rows for rows, _ in part.chunks()])

    np.testing.assert_array_equal(rows(images.validation), rows(whole.validation))
    both = np.concatenate([rows(images.train), rows(images.held_out)])
    assert sorted(map(bytes, both)) == sorted(map(bytes, rows(whole.train)))
    # Statistics are those of the images that are trained on.
    assert images.mean[0] == pytest.approx(rows(images.train).mean(), rel=1e-6)


def test_prepared():
    whole, small = load_prepared("digits"), load_prepared("digits", subsample_fraction=0.1, seed=1)
    assert (small.train.size, small.validation.size) == (144, 360)
    mixed = load_prepared("digits", random_labels_fraction=1.0, seed=1)
    assert (mixed.train.labels == whole.train.labels).mean() < 0.2
    np.testing.assert_array_equal(mixed.validation.labels, whole.validation.labels)
    # Both: labels are drawn first, so that a subsample of the mixed set is one of the mixed set.
    both = load_prepared("digits", subsample_fraction=0.1, random_labels_fraction=1.0, seed=1)
    rows = np.concatenate([rows for rows, _ in mixed.train.chunks()])
    known = {(row.tobytes(), label) for row, label in zip(rows, mixed.train.labels, strict=True)}
    assert {
        (row.tobytes(), label) for rows, labels in both.train.chunks() for row, label in zip(rows, labels, strict=True)
    } <= known
    unit = load_prepared("digits", statistics="unit")
    assert set(unit.mean) == {0} and set(unit.scale) == {np.float32(1 / 255)}
    other = load_prepared("digits", statistics="mnist")
    np.testing.assert_allclose(other.mean, 255 * 0.1307, rtol=1e-6)


def test_larger_images_are_those_of_tensorflow(source):
    import tensorflow as tf

    large = resized(source, 5)
    assert large.image_shape == (1, 5, 5) and large.train.labels is source.train.labels
    images = source.train.parts[0].reshape(-1, 2, 4, 1)
    expected = np.rint(tf.image.resize(images, (5, 5)).numpy())
    # Halves may be rounded either way.
    assert np.abs(large.train.parts[0].reshape(-1, 5, 5, 1) - expected).max() <= 1
    assert (large.train.parts[0].reshape(-1, 5, 5, 1) == expected).mean() > 0.98
    np.testing.assert_array_equal(large.validation.parts[0], large.train.parts[0][:5])
    assert resized(source, 2) is source


def test_grey_images_with_three_channels(source):
    coloured = with_channels(source, 3)
    assert coloured.image_shape == (3, 2, 4) and coloured.validation.parts[0].shape == (5, 24)
    for channel in range(3):
        np.testing.assert_array_equal(coloured.train.parts[0][:, 8 * channel : 8 * channel + 8], source.train.parts[0])
    assert with_channels(coloured, 3) is coloured
    with pytest.raises(InputError, match=r"images with 4 channels are needed, or grey ones. Received: 3 channels"):
        with_channels(coloured, 4)


def test_prepared_for_networks_of_three_channels():
    images = load_prepared("digits", side=32, channels=3)
    assert images.image_shape == (3, 32, 32)
    assert images.mean.shape == images.scale.shape == (3 * 32 * 32,)
    assert len(set(images.mean.tolist())) == 1
