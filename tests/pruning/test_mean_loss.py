"""Gradient scores against the gradient of the mean loss over all examples, worked out without the package."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tfprune.errors import InputError
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.pruning.batches import as_batches
from tfprune.pruning.pruner import prune
from tfprune.pruning.schedules import Schedule
from tfprune.pruning.scores import SCORES

EXAMPLES = 45  # in batches of 7 the last has 3, in batches of 32 it has 13
GRADIENT_SCORES = ("snip", "grasp", "graspabs")


def build(dtype):
    """No normalisation over a batch, no dropout: here the mean over all examples is one number."""
    options = {"activation": "tanh", "dtype": dtype}
    stack = [layers.Conv2D(4, 3, **options), layers.Flatten(dtype=dtype), layers.Dense(9, **options)]
    return keras.Sequential([keras.Input((5, 5, 2), dtype=dtype), *stack, layers.Dense(3, dtype=dtype)])


@pytest.fixture(scope="module")
def net():
    keras.utils.set_random_seed(0)
    return build("float32")


@pytest.fixture(scope="module")
def exact(net):
    """The same network in float64."""
    twin = build("float64")
    twin.set_weights(net.get_weights())
    return twin


@pytest.fixture(scope="module")
def data():
    """Examples in an order that makes the last ones unlike the others."""
    rng = np.random.default_rng(0)
    inputs = (
        rng.normal(size=(EXAMPLES, 5, 5, 2)).astype("f4")
        * np.linspace(0.2, 4, EXAMPLES, dtype="f4")[:, None, None, None]
    )
    return inputs, rng.integers(0, 3, EXAMPLES), rng.uniform(0, 3, EXAMPLES).astype("f4")


def by_hand(model, outputs, kind, losses):
    """Scores from one pass over all examples at once, Hg by finite differences of gradients.

    Args:
        losses: function of the logits -> scalar.
    """
    kernels = list(prunable(model).values())

    def gradients(temperature=1.0):
        with tf.GradientTape() as tape:
            value = losses(outputs() / temperature)
        return [np.asarray(gradient, np.float64) for gradient in tape.gradient(value, [k.value for k in kernels])]

    values = [kernel.numpy() for kernel in kernels]
    if kind == "snip":
        return [np.abs(g * w) for g, w in zip(gradients(), values, strict=True)]
    g = gradients(200.0)
    size = 1e-4 / np.sqrt(sum((part**2).sum() for part in g))
    ends = []
    for sign in (1, -1):
        for kernel, value, part in zip(kernels, values, g, strict=True):
            kernel.assign(value + sign * size * part)
        ends.append(gradients(200.0))
    for kernel, value in zip(kernels, values, strict=True):
        kernel.assign(value)
    products = [(up - down) / (2 * size) * w for up, down, w in zip(*ends, values, strict=True)]
    return [np.abs(product) for product in products] if kind == "graspabs" else products


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", GRADIENT_SCORES)
def test_mean_over_all_examples_whatever_the_batches(net, exact, data, kind, weighted):
    inputs, labels, weights = data

    def losses(logits):
        each = -tf.math.log(tf.reduce_sum(tf.nn.softmax(logits) * np.eye(3)[labels], -1))
        # Keras divides by the number of examples, not by the sum of their weights.
        return tf.reduce_sum(each * (weights if weighted else 1.0)) / EXAMPLES

    expected = np.concatenate([part.ravel() for part in by_hand(exact, lambda: exact(inputs), kind, losses)])
    scale = np.abs(expected).max()
    for size in (7, 32, EXAMPLES):
        batches = as_batches(data if weighted else data[:2], size)
        scores = SCORES[kind](net, batches, Masks.dense(net), np.random.default_rng(0))
        ours = np.concatenate([part.ravel() for part in scores.values()])
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * scale)
        if size == 7:
            first = ours
        np.testing.assert_allclose(ours, first, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("pruner", ["snip", "snip/iterative", "grasp", "graspabs", "random/snip"])
def test_masks_do_not_depend_on_the_size_of_batches(net, data, pruner):
    schedule = Schedule(5) if pruner == "snip/iterative" else None
    masks = [prune(net, pruner, 0.8, data=data[:2], batch_size=size, schedule=schedule) for size in (7, 32, EXAMPLES)]
    assert masks[0] == masks[1] == masks[2]


def test_the_weights_of_fit(net, data):
    """The gradient that `fit` takes a step along, with sample weights, is that of the scores."""
    inputs, labels, weights = data
    copy = keras.models.clone_model(net)
    copy.set_weights(net.get_weights())
    copy.compile(keras.optimizers.SGD(1.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    scores = SCORES["snip"](copy, as_batches(data, 8), Masks.dense(copy), np.random.default_rng(0))
    before = [kernel.numpy() for kernel in prunable(copy).values()]
    copy.fit(inputs, labels, sample_weight=weights, batch_size=EXAMPLES, epochs=1, verbose=0)
    steps = [old - kernel.numpy() for old, kernel in zip(before, prunable(copy).values(), strict=True)]
    for score, step, old in zip(scores.values(), steps, before, strict=True):
        np.testing.assert_allclose(score, np.abs(step * old), atol=1e-4 * score.max())


def squares(reduction):
    loss = keras.losses.MeanSquaredError(reduction=reduction)
    return loss, lambda values, weights: {
        "sum": (values * weights).sum() / EXAMPLES,
        "sum_over_batch_size": (values * weights).mean(),
        "mean_with_sample_weight": (values * weights).sum() / weights.sum(),
    }[reduction]


@pytest.mark.parametrize("reduction", ["sum", "sum_over_batch_size", "mean_with_sample_weight"])
def test_every_reduction_of_keras(reduction):
    """One weight w from x to w·x: its score is |w| times the slope of the reduced squares, worked out by hand."""
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1, use_bias=False)])
    model.layers[0].kernel.assign([[0.5]])
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, EXAMPLES, 1)).astype("f4")
    weights = rng.uniform(0, 2, EXAMPLES).astype("f4")
    loss, reduced = squares(reduction)
    slopes = 2 * (0.5 * x - y)[:, 0] * x[:, 0]
    for size in (7, EXAMPLES):
        batches = as_batches((x, y, weights), size)
        score = SCORES["snip"](model, batches, Masks.dense(model), np.random.default_rng(0), loss=loss)
        np.testing.assert_allclose(next(iter(score.values())).item(), abs(0.5 * reduced(slopes, weights)), rtol=1e-5)


def test_a_function_of_ones_own_is_weighed(net, data):
    """Twice an example is the same as its weight of 2."""
    inputs, labels, _ = data
    targets = np.eye(3, dtype="f4")[labels]
    twice = np.concatenate([np.arange(EXAMPLES), np.arange(10)])
    weights = np.where(np.arange(EXAMPLES) < 10, 2.0, 1.0).astype("f4")

    def loss(labels, outputs):
        return tf.reduce_sum((labels - outputs) ** 2, -1)

    def score(data):
        scores = SCORES["snip"](net, as_batches(data, 7), Masks.dense(net), np.random.default_rng(0), loss=loss)
        return np.concatenate([part.ravel() for part in scores.values()])

    repeated = score((inputs[twice], targets[twice])) * len(twice) / EXAMPLES
    np.testing.assert_allclose(score((inputs, targets, weights)), repeated, rtol=1e-4, atol=1e-6 * repeated.max())
    with pytest.raises(InputError, match="one number for a batch, which sample weights cannot weigh"):
        prune(net, "snip", 0.5, data=(inputs, targets, weights), loss=lambda y, o: tf.reduce_mean((y - o) ** 2))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(EXAMPLES - 1, "f4"), "as many labels as inputs"),
        (np.full(EXAMPLES, np.nan, "f4"), "sample weights hold NaN"),
        (np.ones((EXAMPLES, 3), "f4"), r"sample weights must have shape \(None,\) or \(batch,\); received \(None, 3\)"),
        (np.zeros(EXAMPLES, "f4"), "all scores of snip are 0"),
        (np.full(EXAMPLES, "a"), "sample weights must be real numbers"),
    ],
)
def test_refused_weights(net, data, weights, message):
    with pytest.raises(InputError, match=message):
        prune(net, "snip", 0.5, data=(*data[:2], weights))
