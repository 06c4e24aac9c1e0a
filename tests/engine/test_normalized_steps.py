"""Whole training steps: the numbers of TensorFlow's in float64, the same bytes however they are cut and shared."""

from itertools import pairwise

import keras
import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("numba")

from tfprune.engine.normalized import NormalizedProducts
from tfprune.engine.normalized_pass import NormalizedLayer
from tfprune.engine.products import run_with
from tfprune.engine.updates import ADAM, SGD, Rule

SIZES, BATCH, STEPS, MOMENTUM, EPSILON = (70, 20, 9, 4), 45, 6, 0.9, 1e-2
PIXELS = np.linspace(90, 150, 70, dtype=np.float32), np.full(70, 1 / 50, np.float32)
RULES = {
    SGD: (Rule(SGD), keras.optimizers.SGD(0.05)),
    ADAM: (Rule(ADAM, (0.9, 0.999, 1e-3)), keras.optimizers.Adam(0.01, epsilon=1e-3)),
}
RATES = {SGD: np.float32(0.05), ADAM: np.float32(0.01)}


class Case:
    """A network, images and batches, drawn."""

    def __init__(self, seed=0, slots=0):
        rng = np.random.default_rng(seed)
        self.layers = [
            NormalizedLayer(one, other, other != SIZES[-1], MOMENTUM, EPSILON) for one, other in pairwise(SIZES)
        ]
        self.indices = [
            np.flatnonzero(rng.random(layer.inputs * layer.outputs) < 0.4).astype(np.int32) for layer in self.layers
        ]
        parts, free = [], []
        for layer, kept in zip(self.layers, self.indices, strict=True):
            on = rng.random(layer.outputs) < 0.7  # biases that are masked are 0
            bias = np.where(on, rng.normal(size=layer.outputs), 0)
            parts.append([0.3 * rng.normal(size=len(kept)), *rng.normal(1, 0.2, (2, layer.inputs)), bias])
            free += [np.ones(len(kept) + 2 * layer.inputs), on]
        self.weights = np.concatenate([array for each in parts for array in each]).astype(np.float32)
        self.free = np.concatenate(free).astype(np.float32)
        self.sizes = [[len(array) for array in each] for each in parts]
        inputs = sum(layer.inputs for layer in self.layers)
        self.averages = np.concatenate([rng.normal(size=inputs), rng.uniform(0.5, 2, inputs), [0, 1, 1]])
        self.averages = self.averages.astype(np.float32)
        self.slots = np.zeros((slots, len(self.weights)), np.float32)
        self.images = rng.integers(0, 256, (80, 72), np.uint8)
        self.examples = rng.integers(0, 80, (STEPS, BATCH)).astype(np.int32)
        self.labels = rng.integers(0, SIZES[-1], (STEPS, BATCH)).astype(np.int32)

    def steps(self, rule, is_bytes=False):
        """By the engine: weights, slots and averages after, errors and losses, from `first` to `last`."""
        products = NormalizedProducts(self.layers, PIXELS, None if is_bytes else self.images)

        def take(first, last, state):
            examples = self.examples[first:last]
            given = (
                self.images[examples] if is_bytes else examples,
                self.labels[first:last],
                np.int64(first),
                RATES[rule.kind],
            )
            weights, slots, averages = state
            found = products.take_steps(
                *map(tf.constant, given),
                rule,
                self.free,
                tf.constant(weights),
                tf.constant(slots),
                averages,
                self.indices,
            )
            return [np.asarray(each) for each in found]

        return take

    @property
    def state(self):
        return self.weights, self.slots, self.averages


def _by_tensorflow(case, optimizer):
    """In float64 with dense kernels, by a tape and the Keras optimizer."""
    cut = np.split(case.weights.astype(np.float64), np.cumsum([size for each in case.sizes for size in each])[:-1])
    variables = [keras.Variable(array, dtype="float64") for array in cut]
    free = np.split(case.free.astype(np.float64), np.cumsum([size for each in case.sizes for size in each])[:-1])
    optimizer = type(optimizer).from_config(optimizer.get_config())
    optimizer.build(variables)
    inputs = np.cumsum([layer.inputs for layer in case.layers])
    means = np.split(case.averages[: inputs[-1]].astype(np.float64), inputs[:-1])
    variances = np.split(case.averages[inputs[-1] : 2 * inputs[-1]].astype(np.float64), inputs[:-1])
    seen, errors, losses = case.averages[-3:], [], []
    for examples, labels in zip(case.examples, case.labels, strict=True):
        with tf.GradientTape() as tape:
            x = tf.constant((case.images[examples][:, :70].astype(np.float64) - PIXELS[0]) * np.float64(PIXELS[1]))
            for i, layer in enumerate(case.layers):
                values, gamma, beta, bias = (variable.value for variable in variables[4 * i : 4 * i + 4])
                shape = [layer.inputs, layer.outputs]
                kernel = tf.scatter_nd(case.indices[i][:, None], values, [layer.inputs * layer.outputs])
                mean, variance = tf.nn.moments(x, 0)
                keep = MOMENTUM * seen[i]
                means[i] = keep * means[i] + (1 - keep) * mean.numpy()
                variances[i] = keep * variances[i] + (1 - keep) * variance.numpy()
                x = ((x - mean) / tf.sqrt(variance + EPSILON) * gamma + beta) @ tf.reshape(kernel, shape) + bias
                x = tf.nn.relu(x) if layer.relu else x
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, x))
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        optimizer.apply([one * other for one, other in zip(gradients, free, strict=True)], variables)
        errors.append(np.mean(np.argmax(x, 1) != labels))
        losses.append(loss.numpy())
        seen = np.ones(3)
    weights = np.concatenate([variable.numpy() for variable in variables])
    return weights, np.concatenate([*means, *variances, np.ones(3)]), np.array(errors), np.array(losses)


@pytest.mark.parametrize("kind", RULES)
def test_steps_are_those_of_tensorflow(kind):
    rule, optimizer = RULES[kind]
    case = Case(slots=rule.slots)
    weights, _, averages, errors, losses = case.steps(rule)(0, STEPS, case.state)
    expected = _by_tensorflow(case, optimizer)
    for found, other in zip((weights, averages, errors, losses), expected, strict=True):
        np.testing.assert_allclose(found, other, rtol=1e-4, atol=1e-4)
    assert (weights != case.weights)[case.free > 0].mean() > 0.9
    np.testing.assert_array_equal(weights[case.free == 0], 0)


@pytest.mark.parametrize("kind", RULES)
def test_same_bytes_however_steps_are_cut_and_shared(kind, monkeypatch):
    rule = RULES[kind][0]
    found = []
    for workers, cuts, enough, is_bytes in [
        (1, [6], 10**9, False),
        (2, [6], 0, False),
        (2, [1, 4, 6], 1000, False),
        (2, [3, 3, 6], 10**9, True),
    ]:
        monkeypatch.setattr("tfprune.engine.normalized_pass._ENOUGH_AWAKE", enough)
        monkeypatch.setattr("tfprune.engine.normalized_pass._ENOUGH", enough)
        monkeypatch.setattr("tfprune.engine.products.use_threads", lambda workers=workers: run_with(workers))
        case = Case(slots=rule.slots)
        take, state, first, measures = case.steps(rule, is_bytes), case.state, 0, []
        for last in cuts:
            *state, errors, losses = take(first, last, state)
            measures.append(np.stack([errors, losses]))
            first = last
        found.append([array.tobytes() for array in (*state, np.concatenate(measures, 1))])
    assert all(each == found[0] for each in found)


def test_masked_biases_stay_0_whatever_is_remembered_of_them():
    case = Case(slots=2)
    case.slots += np.float32(0.5)
    weights = case.steps(RULES[ADAM][0])(0, STEPS, case.state)[0]
    np.testing.assert_array_equal(weights[case.free == 0], 0)


@pytest.mark.parametrize("kind", RULES)
def test_rates_do_not_depend_on_how_many_are_asked_for(kind):
    rule = RULES[kind][0]
    counts = np.arange(1, 101)
    expected = np.full(100, 0.3) if kind == SGD else 0.3 * np.sqrt(1 - 0.999**counts) / (1 - 0.9**counts)
    np.testing.assert_allclose(rule.rates(0, 100, 0.3), expected, rtol=1e-6)
    np.testing.assert_array_equal(rule.rates(0, 100, 0.3), np.concatenate([rule.rates(n, 1, 0.3) for n in range(100)]))


def test_what_is_given_stays():
    case = Case()
    before = [array.copy() for array in case.state]
    case.steps(Rule(SGD))(0, STEPS, case.state)
    for one, other in zip(case.state, before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("name", "end", "told"), [("examples", 80, "numbers of images"), ("labels", SIZES[-1], "labels")]
)
@pytest.mark.parametrize("wrong", [-1, None])
def test_numbers_that_there_are_not(name, end, told, wrong):
    case = Case()
    getattr(case, name)[2, 3] = end if wrong is None else wrong
    with pytest.raises(IndexError, match=rf"{told} must be in \[0, {end}\)"):
        case.steps(Rule(SGD))(0, STEPS, case.state)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_losses_that_are_not_finite_are_told(value):
    case = Case()
    case.weights[3] = value
    losses = case.steps(Rule(SGD))(0, STEPS, case.state)[-1]
    assert not np.isfinite(losses).any()
