"""Training steps of the network of iterative magnitude pruning against the original's."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.experiments.imp.network import ImpNetwork
from tfprune.layers.masks import Masks
from tfprune.training.evaluation import Evaluator
from tfprune.training.feeds import Normalised, RowsFeed
from tfprune.training.loop import TrainingLoop
from tfprune.training.samplers import DrawnSampler

WIDTHS = (192, 32, 16, 10)
NAMES = {"kernel": "W", "bias": "b", "gamma": "gamma", "beta": "beta"}  # -> their names in the golden file


class _Rows:
    """Float rows, as the golden recipe has no images."""

    def __init__(self, inputs, labels):
        self.size = len(inputs)
        self._inputs, self._labels = tf.constant(inputs.reshape(self.size, -1)), tf.constant(labels, tf.int32)

    def fetch(self, indices):
        return tf.gather(self._inputs, indices), tf.gather(self._labels, indices)


@pytest.fixture
def recipe():
    rng = np.random.default_rng(3)
    weights = [
        [
            (rng.normal(size=(rows, units)) * np.sqrt(2 / (rows + units))).astype("f4"),
            (0.1 * rng.normal(size=units)).astype("f4"),
            (1 + 0.1 * rng.normal(size=rows)).astype("f4"),
            (0.1 * rng.normal(size=rows)).astype("f4"),
        ]
        for rows, units in itertools.pairwise(WIDTHS)
    ]
    weights = {
        f"layer_{i}/{name}": array for i, each in enumerate(weights) for name, array in zip(NAMES, each, strict=True)
    }
    masks = {path: np.ones(array.shape, bool) for path, array in weights.items() if path.endswith(("kernel", "bias"))}
    masks |= {path: rng.random(masks[path].shape) >= 0.5 for path in ("layer_0/kernel", "layer_1/kernel")}
    teacher = rng.normal(size=(192, 10))

    def rows(count):
        inputs = rng.normal(size=(count, 3, 8, 8)).astype("f4")
        return _Rows(inputs, np.argmax(inputs.reshape(count, -1).astype("f8") @ teacher, 1))

    train, evaluation = rows(2000), rows(200)
    return weights, Masks(masks), train, evaluation, rng.integers(0, 2000, size=(26, 50))


def _averages(network, index):
    return [network.running_averages[f"layer_{index}/running_{name}"] for name in ("mean", "variance")]


@pytest.mark.parametrize("minimizer", ["sgd", "adam"])
def test_26_steps(golden, recipe, minimizer):
    weights, masks, train, evaluation, batches = recipe
    with np.load(golden / "imp/trajectory.npz") as arrays:
        expected = {name.removeprefix(f"{minimizer}__"): arrays[name] for name in arrays.files}
    np.testing.assert_array_equal(batches[0], expected["batch_indices_first_row"])
    network = ImpNetwork("f32:f16:x", "T:T:F", (3, 8, 8), 10)
    network.weights, network.masks = weights, masks
    optimizer = keras.optimizers.SGD(0.1) if minimizer == "sgd" else keras.optimizers.Adam(1e-3, epsilon=1e-8)
    table = tf.constant(batches)
    sampler = DrawnSampler(lambda stream, step: table[step], 50)
    loop = TrainingLoop(network.model, optimizer, RowsFeed(train, sampler, Normalised(np.zeros(192), 1.0)))
    evaluator = Evaluator(network.model, evaluation, np.zeros(192), 1.0, batch_size=64)

    errors, costs, evaluations = [], [], []
    for start, stop in ((0, 0), (0, 10), (10, 20), (20, 25), (25, 26)):
        stretch_errors, stretch_costs = loop.run(start, stop)
        errors += list(stretch_errors)
        costs += list(stretch_costs)
        if stop == 25:
            for index in range(3):
                for name, theirs in NAMES.items():
                    array = network.weights[f"layer_{index}/{name}"]
                    np.testing.assert_allclose(array, expected[f"step25_layer{index}_{theirs}"], rtol=0, atol=1e-5)
                averages = expected[f"step25_layer{index}_amv"]
                np.testing.assert_allclose(_averages(network, index), averages, rtol=0, atol=1e-5)
                kernel = f"layer_{index}/kernel"
                pruned = ~masks[kernel]
                np.testing.assert_array_equal(network.weights[kernel][pruned], weights[kernel][pruned])
        if stop in (0, 10, 20, 25):
            evaluations.append(evaluator.error())
    np.testing.assert_array_equal(np.array(errors), expected["train_errors"])
    np.testing.assert_array_equal(np.array(evaluations), expected["eval_errors"])
    np.testing.assert_allclose(costs, expected["train_costs_before_update"], rtol=0, atol=1e-5)
    for index in range(3):
        averages = expected[f"after_loop_layer{index}_amv"]
        np.testing.assert_allclose(_averages(network, index), averages, rtol=0, atol=1e-5)
        for name, theirs in NAMES.items():
            array = network.weights[f"layer_{index}/{name}"]
            total = expected[f"after_loop_layer{index}_{theirs}_sum_float64"]
            np.testing.assert_allclose(array.astype("f8").sum(), total, rtol=0, atol=1e-5 * array.size)
