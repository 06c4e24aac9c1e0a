"""The compiled training loop and the evaluator."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.data.images import ResidentImages
from tfprune.data.rows import empty_rows
from tfprune.training.evaluation import Evaluator
from tfprune.training.feeds import Normalised, RowsFeed
from tfprune.training.loop import TrainingLoop
from tfprune.training.samplers import DrawnSampler, with_replacement


def _images(count, seed=0):
    rng = np.random.default_rng(seed)
    rows = empty_rows(count, 12)
    rows[:] = rng.integers(0, 256, (count, 12))
    return ResidentImages(rows, rng.integers(0, 3, count).astype(np.int32)), rows.copy()


def _loop(images, optimizer=None):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(3)])
    optimizer = optimizer or keras.optimizers.Adam(0.01)
    sampler = DrawnSampler(with_replacement(5, images.size, 16), 16)
    return TrainingLoop(model, optimizer, RowsFeed(images, sampler, Normalised(np.full(12, 100.0), 1 / 255)))


def test_stretches_do_not_matter():
    images, _ = _images(100)
    results = []
    for stops in ([30], [1, 2, 17, 30]):
        loop = _loop(images)
        start, errors = 0, []
        for stop in stops:
            errors += list(loop.run(start, stop, stream=3)[0])
            start = stop
        results.append((errors, loop.state))
    assert results[0][0] == results[1][0]
    for one, other in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_array_equal(one, other)


def test_state_is_all_there_is():
    images, _ = _images(100)
    loop, other = _loop(images), _loop(images)
    loop.run(0, 10)
    other.state = loop.state
    np.testing.assert_array_equal(loop.run(10, 20)[1], other.run(10, 20)[1])
    # Both optimizer and model are in it: without the optimizer's part the runs part.
    third = _loop(images)
    third.state = loop.state
    third.reset_optimizer()
    assert (loop.run(20, 30)[1] != third.run(20, 30)[1]).any()


def test_no_step_is_no_change():
    images, _ = _images(20)
    loop = _loop(images)
    before = loop.state
    errors, losses = loop.run(4, 4)
    assert errors.shape == losses.shape == (0,)
    for one, other in zip(before, loop.state, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_step_by_hand():
    images, rows = _images(30)
    loop = _loop(images, keras.optimizers.SGD(0.5))
    weights = [variable.numpy() for variable in loop.model.trainable_variables]
    indices = with_replacement(5, 30, 16)(tf.constant(2), tf.constant(7)).numpy()
    inputs = (rows[indices].astype("f4") - 100) / 255
    labels = images.labels[indices]
    hidden = np.maximum(inputs @ weights[0] + weights[1], 0)
    logits = hidden @ weights[2] + weights[3]
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    slope = (softmax - np.eye(3)[labels]) / 16
    errors, losses = loop.run(7, 8, stream=2)
    assert losses[0] == pytest.approx(-np.log(softmax[range(16), labels]).mean(), rel=1e-5)
    assert errors[0] == pytest.approx((logits.argmax(1) != labels).mean(), abs=1e-6)
    np.testing.assert_allclose(
        loop.model.trainable_variables[2].numpy(), weights[2] - 0.5 * hidden.T @ slope, atol=1e-5
    )


def test_batches_are_uniform_and_depend_on_seed_stream_and_step_alone():
    sample = with_replacement(1, 10, 4000)
    drawn = sample(tf.constant(0), tf.constant(0)).numpy()
    counts = np.bincount(drawn, minlength=10)
    assert len(counts) == 10
    assert abs(counts - 400).max() < 5 * np.sqrt(400)
    np.testing.assert_array_equal(drawn, sample(tf.constant(0), tf.constant(0)))
    for other in (
        with_replacement(2, 10, 4000)(tf.constant(0), tf.constant(0)),
        sample(tf.constant(1), tf.constant(0)),
        sample(tf.constant(0), tf.constant(1)),
    ):
        assert (drawn != other.numpy()).any()


@pytest.mark.parametrize("batch_size", [1, 7, 50, 64])
def test_evaluator_uses_every_row_once(batch_size):
    images, rows = _images(50, seed=3)
    loop = _loop(images)
    evaluator = Evaluator(loop.model, images, np.full(12, 100.0), 1 / 255, top=(1, 2, 5), batch_size=batch_size)
    logits = loop.model((rows.astype("f4") - 100) / 255).numpy()
    order = np.argsort(-logits, axis=1)
    hits = [(order[:, :k] == images.labels[:, None]).any(1).sum() for k in (1, 2)]
    assert evaluator.hits().tolist() == [*hits, 50]
    assert evaluator.accuracies() == [hits[0] / 50, hits[1] / 50, 1.0]
    assert evaluator.error() == np.float32(1) - np.float32(hits[0]) / np.float32(50)
