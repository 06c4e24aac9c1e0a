"""Images on the device as networks see them: enlarged there, distorted before, the same in tests and examples."""

import numpy as np
import pytest
import tensorflow as tf

from tfprune.data.images import ImageSet, ResidentImages
from tfprune.training.image_batches import ImageBatches

MEAN, SCALE = np.repeat(np.float32([100, 120, 90]), 16), np.repeat(np.float32([0.02, 0.015, 0.01]), 16)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)

    def part(count):
        return ResidentImages(rng.integers(0, 256, (count, 48), np.uint8), rng.integers(0, 5, count).astype(np.int32))

    return ImageSet(part(10), part(7), MEAN, SCALE, (3, 4, 4), 5, part(3))


def _normalised(images, indices):
    rows, labels = images.fetch(tf.constant(indices))
    shaped = ((rows.numpy() - MEAN) * SCALE).reshape(-1, 3, 4, 4).transpose(0, 2, 3, 1)
    return shaped, labels.numpy()


def _twice(values):
    """Bilinear enlargement by two, of the axes 1 and 2: a new pixel is 3/4 of the nearest and 1/4 of the next."""
    for axis in (1, 2):
        before, after = (np.take(values, np.clip(np.arange(4) + step, 0, 3), axis) for step in (-1, 1))
        pairs = np.stack([0.75 * values + 0.25 * before, 0.75 * values + 0.25 * after], axis + 1)
        values = pairs.reshape(*values.shape[:axis], 8, *values.shape[axis + 1 :])
    return values


@pytest.mark.parametrize("xla", [False, True])
def test_batches_are_enlarged_after_the_distortion(images, xla):
    seen = []

    def distort(batch, seed, step):
        seen.append((batch.shape, batch.dtype))
        return tf.cast(batch[:, ::-1], tf.float32)

    batches = ImageBatches(images, 4, distort, side=8)
    assert (batches.input_shape, batches.steps_per_epoch) == ((8, 8, 3), 3)
    feed = batches.feed()
    feed.begin(0, 0)
    take = tf.function(feed.batch, autograph=False, jit_compile=xla)
    given, labels = take(tf.constant(0), tf.constant(0), 4)
    assert given.shape == (4, 8, 8, 3) and seen == [((4, 4, 4, 3), tf.uint8)]
    plain = ImageBatches(images, 4).feed()
    plain.begin(0, 0)
    small, same = plain.batch(tf.constant(0), tf.constant(0), 4)
    np.testing.assert_array_equal(labels, same)
    np.testing.assert_allclose(given, _twice(small.numpy()[:, ::-1]), atol=1e-5)


def test_examples_are_enlarged(images):
    given, labels = ImageBatches(images, 4, side=8).examples(np.array([7, 2]))
    small, same = _normalised(images.train, [7, 2])
    np.testing.assert_allclose(given, _twice(small), atol=1e-5)
    np.testing.assert_array_equal(labels, same)


@pytest.mark.parametrize("side", [None, 2, 4])
def test_images_that_are_large_enough_stay(images, side):
    batches = ImageBatches(images, 4, side=side)
    assert batches.input_shape == (4, 4, 3)
    np.testing.assert_allclose(batches.examples(np.array([3]))[0], _normalised(images.train, [3])[0], atol=1e-5)


@pytest.mark.parametrize("held_out", [False, True])
def test_the_evaluator_counts_several_k_on_either_part(images, held_out):
    def model(batch, training):
        assert batch.shape[1:] == (8, 8, 3) and not training
        return tf.reduce_mean(batch, (1, 2)) @ np.float32([[1, -1, 2, 0, 1], [0, 3, -1, 1, 0], [2, 0, 0, -1, 1]])

    part = images.held_out if held_out else images.validation
    small, labels = _normalised(part, np.arange(part.size))
    logits = np.asarray(model(_twice(small).astype(np.float32), False))
    ranks = np.argsort(-logits, 1) == labels[:, None]
    evaluator = ImageBatches(images, 4, side=8).evaluator(model, top=(1, 3, 5), held_out=held_out, batch_size=2)
    assert evaluator.hits().tolist() == [ranks[:, :k].sum() for k in (1, 3, 5)]
    shifted = logits - logits.max(1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(part.size), labels]
    assert evaluator.accuracy_and_loss()[1] == pytest.approx(losses.mean(), rel=1e-4)
