"""SNIP, GraSP, SynFlow and magnitude against a second original, in PyTorch, on a dense and a convolutional network."""

import json

import keras
import numpy as np
import pytest
from keras import layers

from tfprune.layers.masks import Masks
from tfprune.pruning.pruner import prune
from tfprune.pruning.schedules import ONE_SHOT
from tfprune.pruning.scores import SCORES
from tfprune.pruning.scores.synflow import flow

METHODS = ("snip", "grasp", "synflow", "magnitude")
NORMALISED = ("snip", "grasp")  # the original divides these by their sum
KERNELS = {"mlp": [(784, 300), (300, 100), (100, 10)], "cnn": [(3, 3, 3, 8), (3, 3, 8, 16), (256, 10)]}


def _network(name):
    """(model, (inputs, labels)) of the golden recipe."""
    mlp = name == "mlp"
    rng = np.random.default_rng(21 if mlp else 31)
    kernels = [(rng.normal(size=shape) * (0.05 if mlp else 0.1)).astype("f4") for shape in KERNELS[name]]
    inputs = rng.normal(size=(128, 784) if mlp else (32, 12, 12, 3)).astype("f4")
    labels = rng.integers(0, 10, size=len(inputs))
    if mlp:
        stack = [layers.Dense(300, "relu"), layers.Dense(100, "relu"), layers.Dense(10)]
    else:
        convolutions = [layers.Conv2D(8, 3, activation="relu"), layers.Conv2D(16, 3, strides=2, activation="relu")]
        stack = [*convolutions, layers.Flatten(), layers.Dense(10)]
    model = keras.Sequential([keras.Input(inputs.shape[1:]), *stack])
    for layer, kernel in zip([layer for layer in stack if layer.weights], kernels, strict=True):
        layer.kernel.assign(kernel)
    return model, (inputs, labels)


@pytest.fixture(params=["mlp", "cnn"])
def case(request, golden):
    """(model, data, stored scores, stored masks, stored kept counts)."""
    name = request.param
    with np.load(golden / f"pai/{name}_scores.npz") as scores, np.load(golden / f"pai/{name}_masks.npz") as masks:
        facts = json.loads((golden / "pai/facts.json").read_text())[name]
        return *_network(name), dict(scores), dict(masks), facts


def test_the_network_is_the_golden_one(case):
    model, (inputs, _), stored, _, _ = case
    np.testing.assert_allclose(model(inputs[:4]).numpy(), stored["logits_first4"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_scores(case, flat, method):
    model, data, stored, _, _ = case
    scores = SCORES[method](model, [data], Masks.dense(model), np.random.default_rng(0))
    total = sum(score.sum(dtype=np.float64) for score in scores.values()) if method in NORMALISED else 1.0
    if method == "synflow":
        total = 2.0 ** -flow(model, Masks.dense(model))[1]
    ours, expected = flat(scores) / total, stored[f"{method}_scores"]
    if expected.size < ours.size:
        ours_at = np.sort(np.random.default_rng(2121).choice(ours.size, expected.size, replace=False))
    else:
        ours_at = slice(None)
    largest = stored[f"{method}_layer_max"].max()
    # GraSP's norm in the original has 1e-10 added to 4e-5.
    np.testing.assert_allclose(ours[ours_at], expected, rtol=0, atol=5e-6 * largest)
    sums = [np.abs(score).sum(dtype=np.float64) / abs(total) for score in scores.values()]
    np.testing.assert_allclose(sums, stored[f"{method}_layer_abs_sums"], rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("density", [0.1, 0.01])
def test_one_shot_masks(case, flat, unpacked, method, density):
    model, data, _, stored, facts = case
    key = f"{method}_d{str(density).replace('.', 'p')}"
    masks = prune(model, method, 1 - density, data=data, batch_size=len(data[0]), schedule=ONE_SHOT)
    assert masks.kept == facts[method][key.split("_")[1]]["kept"]
    different = np.count_nonzero(flat(masks) != unpacked(stored[key], masks.size))
    assert different <= 2 * masks.kept / 10_000


def test_synflow_in_100_rounds(case, flat, unpacked):
    model, _, _, stored, facts = case
    masks = prune(model, "synflow", 0.99)
    assert list(masks.counts.values()) == facts["synflow_100it_d0p01"]["kept_per_layer"]
    np.testing.assert_array_equal(flat(masks), unpacked(stored["synflow_100it_d0p01"], masks.size))
