"""Feeds: epochs with a shorter last batch, and pipelines of `tf.data`, inside the compiled loop."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.data.augment import composed, flip_and_crop, flip_and_shift, rotate
from tfprune.data.images import MappedImages, ResidentImages
from tfprune.training.evaluation import Evaluator, StreamEvaluator
from tfprune.training.feeds import Normalised, RowsFeed, StreamFeed
from tfprune.training.loop import TrainingLoop
from tfprune.training.samplers import EpochSampler

SIZE, BATCH = 53, 16  # four batches an epoch, the last of 5
PREPARE = Normalised(np.full(8, 100.0), 1 / 255)


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (SIZE, 8), np.uint8), rng.integers(0, 3, SIZE).astype(np.int32)


def _loop(feed, **settings):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(3)])
    return TrainingLoop(model, keras.optimizers.SGD(0.1, momentum=0.9), feed, **settings)


def _stream(rows, opened=None):
    """The batches of `_rows_feed` as a stream of bytes."""
    images, labels = rows

    def batches(stream, epoch, first):
        if opened is not None:
            opened.append((stream, epoch, first))
        order = np.random.default_rng((stream, epoch)).permutation(SIZE)[first * BATCH :]
        return tf.data.Dataset.from_tensor_slices((images[order], labels[order].astype(np.int64))).batch(BATCH)

    return StreamFeed(batches, 4, PREPARE)


def _rows_feed(rows, kind=ResidentImages):
    images = kind(*rows) if kind is ResidentImages else kind([rows[0]], rows[1])
    return RowsFeed(images, EpochSampler(SIZE, BATCH, short=True), PREPARE)


def _train(loop, stops, stream=0):
    """Losses of steps 0, 1, ... in stretches that end at `stops` and at the ends of epochs."""
    losses, step = [], 0
    for stop in stops:
        while step < stop:
            loop.feed.begin(stream, step)
            end = min(stop, loop.feed.epoch_end(step))
            losses += loop.run(step, end, stream)[1].tolist()
            step = end
    return losses


def _by_hand(rows, steps, stream=0):
    """Losses of plain NumPy training on the same batches."""
    images, labels = (rows[0].astype("f8") - 100) / 255, rows[1]
    weights = [variable.numpy().astype("f8") for variable in _loop(_rows_feed(rows)).model.trainable_variables]
    velocities, losses = [np.zeros_like(array) for array in weights], []
    for step in range(steps):
        order = np.random.default_rng((stream, step // 4)).permutation(SIZE)
        batch = order[step % 4 * BATCH :][:BATCH]
        hidden = np.maximum(images[batch] @ weights[0] + weights[1], 0)
        logits = hidden @ weights[2] + weights[3]
        softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        losses.append(-np.log(softmax[np.arange(len(batch)), labels[batch]]).mean())
        slope = (softmax - np.eye(3)[labels[batch]]) / len(batch)
        below = slope @ weights[2].T * (hidden > 0)
        gradients = [images[batch].T @ below, below.sum(0), hidden.T @ slope, slope.sum(0)]
        velocities = [0.9 * v - 0.1 * g for v, g in zip(velocities, gradients, strict=True)]
        weights = [w + v for w, v in zip(weights, velocities, strict=True)]
    return losses


def test_short_batches_weigh_as_whole_ones(rows):
    feed = _rows_feed(rows)
    assert [feed.batch_size(step) for step in range(5)] == [16, 16, 16, 5, 16]
    np.testing.assert_allclose(_train(_loop(feed), [10], stream=3), _by_hand(rows, 10, stream=3), rtol=1e-5)


@pytest.mark.slow_beyond(1)
@pytest.mark.parametrize("xla", [False, True])
def test_stretches_do_not_matter(rows, xla):
    whole, parts = (_train(_loop(_rows_feed(rows), xla=xla), stops) for stops in ([11], [1, 3, 4, 6, 11]))
    assert whole == parts


def test_one_function_for_each_size(rows):
    loop = _loop(_rows_feed(rows))
    loop.trace()
    assert loop._run.experimental_get_tracing_count() == 2
    _train(loop, [3, 9])
    assert loop._run.experimental_get_tracing_count() == 2


@pytest.mark.slow_beyond(1)
@pytest.mark.parametrize("distort", [rotate, flip_and_shift, flip_and_crop, composed(["flip", "crop", "cutout"])])
def test_xla_compiles_batches_once_for_all_steps(distort):
    """With the sparse engine it makes the batches: one for which it had to know the step it would compile anew."""

    def prepare(rows, *place):
        return distort(tf.reshape(tf.cast(rows, tf.float32), [-1, 4, 4, 3]), *place)

    feed = RowsFeed(ResidentImages(np.ones((20, 48), np.uint8), np.ones(20, np.int32)), EpochSampler(20, 5), prepare)
    batch = tf.function(lambda *place: feed.batch(*place, 5), autograph=False, jit_compile=True)
    compiled = [batch.experimental_get_compiler_ir(*place)("hlo") for place in tf.constant([[0, 0], [1, 3]])]
    assert compiled[0] == compiled[1]


def test_mapped_rows_are_the_same(rows):
    feed = _rows_feed(rows, MappedImages)
    assert not feed.resident and _rows_feed(rows).resident
    assert _train(_loop(feed), [9]) == _train(_loop(_rows_feed(rows)), [9])


def test_a_stream_gives_the_same_training(rows):
    losses = _train(_loop(_stream(rows)), [10], stream=2)
    np.testing.assert_allclose(losses, _train(_loop(_rows_feed(rows)), [10], stream=2), rtol=1e-6)


def test_a_stream_is_opened_anywhere(rows):
    opened = []
    loop = _loop(_stream(rows, opened))
    whole = _train(loop, [10], stream=1)
    assert opened[1:] == [(1, 0, 0), (1, 1, 0), (1, 2, 0)]
    # Every stop begins the stream anew where it stands, as a resumed run does.
    assert _train(_loop(_stream(rows, opened)), [1, 3, 6, 7, 10], stream=1) == whole
    assert opened[-4:] == [(1, 1, 0), (1, 1, 2), (1, 1, 3), (1, 2, 0)]
    assert loop._run.experimental_get_tracing_count() == 1


def test_streams_are_evaluated_like_rows(rows):
    model = _loop(_rows_feed(rows)).model
    pairs = tf.data.Dataset.from_tensor_slices(rows).batch(BATCH)
    stream = StreamEvaluator(model, lambda: pairs, top=(1, 2), prepare=lambda images: PREPARE(images, None, None))
    expected = Evaluator(model, ResidentImages(*rows), np.full(8, 100.0), 1 / 255, top=(1, 2))
    assert stream.hits().tolist() == expected.hits().tolist()
    assert stream.accuracies() == expected.accuracies()
    assert stream.error() == expected.error()
    assert stream.accuracy_and_loss() == pytest.approx(expected.accuracy_and_loss(), rel=1e-6)
