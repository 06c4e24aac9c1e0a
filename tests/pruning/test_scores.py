"""What every registered score must keep to, and each score on a network small enough to work out by hand."""

from importlib import import_module

import keras
import numpy as np
import pytest
from keras import layers

from tfprune.errors import InputError
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.pruning.scores import SCORES, get_score


def state_of(model):
    values = [*model.trainable_variables, *model.non_trainable_variables, *model.optimizer.variables]
    return [np.copy(variable.numpy()) for variable in values], [layer.trainable for layer in model.layers]


def some_masks(model):
    rng = np.random.default_rng(1)
    return Masks({path: rng.random(mask.shape) < 0.6 for path, mask in Masks.dense(model).items()})


@pytest.mark.parametrize("name", SCORES)
class TestContract:
    @pytest.fixture
    def scored(self, name, network):
        """(model, masks, function of a seed that scores)."""
        model, (inputs, labels) = network
        masks = some_masks(model)
        batches = [(inputs[:10], labels[:10]), (inputs[10:17], labels[10:17]), (inputs[17:], labels[17:])]
        return model, masks, lambda seed: SCORES[name](model, batches, masks, np.random.default_rng(seed))

    def test_paths_shapes_types_and_pruned_entries(self, scored):
        model, masks, score = scored
        scores = score(0)
        assert list(scores) == list(prunable(model))
        for path, values in scores.items():
            assert values.dtype == np.float32 and values.shape == tuple(prunable(model)[path].shape)
            assert np.isfinite(values).all()
            assert not values[~masks[path]].any()
            assert len(np.unique(values[masks[path]])) > 0.9 * np.count_nonzero(masks[path])

    def test_the_seed_decides(self, scored, name):
        _, _, score = scored
        first, again, other = score(0), score(0), score(1)
        for path, values in first.items():
            np.testing.assert_array_equal(values, again[path])
        # Dropout makes the scores of data depend on the seed.
        depends = name == "random" or "loss" in SCORES[name].options
        assert depends == any(not np.array_equal(values, other[path]) for path, values in first.items())

    def test_the_model_is_left_as_it_was(self, scored):
        model, _, score = scored
        (values, trainable), _ = state_of(model), score(0)
        after, trainable_after = state_of(model)
        assert trainable == trainable_after
        for before, now in zip(values, after, strict=True):
            np.testing.assert_array_equal(before, now)

    def test_one_trace_serves_all_rounds(self, scored, monkeypatch):
        model, _, score = scored
        score(0)
        monkeypatch.setattr(type(model), "call", None)
        monkeypatch.setattr(import_module("tfprune.pruning.scores.synflow"), "total_output", None)
        score(1)


@pytest.fixture
def tiny():
    """y = x · A · B with A = [[1, −2], [0, 3]] and B = [[2, 1], [−1, 1]]."""
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, use_bias=False), layers.Dense(2, use_bias=False)])
    model.layers[0].kernel.assign([[1.0, -2.0], [0.0, 3.0]])
    model.layers[1].kernel.assign([[2.0, 1.0], [-1.0, 1.0]])
    return model


def scores_of(model, name, data=None, masks=None, **options):
    masks = Masks.dense(model) if masks is None else masks
    batches = None if data is None else [data]
    return list(SCORES[name](model, batches, masks, np.random.default_rng(0), **options).values())


def test_magnitude_and_lamp_by_hand(tiny):
    np.testing.assert_array_equal(scores_of(tiny, "magnitude")[0], [[1, 2], [0, 3]])
    # Squares 9, 4, 1, 0: 9/9, 4/13, 1/14, 0/14.
    np.testing.assert_allclose(scores_of(tiny, "lamp")[0], [[1 / 14, 4 / 13], [0, 1]], rtol=1e-6)


def test_lamp_counts_the_unpruned_only(tiny):
    masks = Masks({path: np.array([[1, 1], [1, 0]]) for path in prunable(tiny)})
    np.testing.assert_allclose(scores_of(tiny, "lamp", masks=masks)[0], [[1 / 5, 1], [0, 0]], rtol=1e-6)


def test_synflow_by_hand(tiny):
    # |A|ᵀ1 = (1, 5), |B|1 = (3, 2), R = 1·3 + 5·2 = 13.
    first, second = scores_of(tiny, "synflow")
    ratio = first.sum() / 13
    np.testing.assert_allclose(first / ratio, [[3, 4], [0, 6]], rtol=1e-6)
    np.testing.assert_allclose(second / ratio, [[2, 1], [5, 5]], rtol=1e-6)


def test_snip_by_hand(tiny):
    # x = (1, 0): hidden (1, −2), logits (2·1 + 2, 1 − 2) = (4, −1); label 1, so dL/dlogits = (p, −p), p = σ(5).
    p = 1 / (1 + np.exp(-5.0))
    data = np.array([[1.0, 0.0]], np.float32), np.array([1])
    first, second = scores_of(tiny, "snip", data)
    # dL/dB = hidden ⊗ (p, −p); dL/dA = x ⊗ B (p, −p) = x ⊗ (p, −2p).
    np.testing.assert_allclose(second, [[2 * p, p], [2 * p, 2 * p]], rtol=1e-5)
    np.testing.assert_allclose(first, [[p, 4 * p], [0, 0]], rtol=1e-5)


def test_grasp_by_hand():
    """One weight to each of two logits: L depends on z = w₀ − w₁ only, so Hg = 2·L″·L′·(1, −1)."""
    model = keras.Sequential([keras.Input((1,)), layers.Dense(2, use_bias=False)])
    model.layers[0].kernel.assign([[300.0, -100.0]])
    data = np.ones((1, 1), np.float32), np.array([0])
    z, temperature = 400.0, 200.0
    p = 1 / (1 + np.exp(z / temperature))  # probability of the wrong class
    slope, curvature = -p / temperature, p * (1 - p) / temperature**2
    expected = np.array([[300.0, 100.0]]) * 2 * curvature * slope
    np.testing.assert_allclose(scores_of(model, "grasp", data)[0], expected, rtol=1e-5)
    np.testing.assert_allclose(scores_of(model, "graspabs", data)[0], -expected, rtol=1e-5)


def test_gradients_of_batches_are_averaged_with_their_sign(tiny):
    batches = [(np.ones((1, 2), np.float32), np.array([label])) for label in (0, 1)]
    both = SCORES["snip"](tiny, batches, Masks.dense(tiny), np.random.default_rng(0))
    together = np.ones((2, 2), np.float32), np.array([0, 1])
    for ours, expected in zip(both.values(), scores_of(tiny, "snip", together), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_a_loss_of_ones_own(tiny):
    def half_square(labels, outputs):
        return 0.5 * keras.ops.sum((outputs - labels) ** 2, axis=-1)

    data = np.array([[1.0, 0.0]], np.float32), np.array([[3.0, -1.0]], np.float32)
    # Outputs (4, −1): the gradient of the logits is (1, 0).
    np.testing.assert_allclose(scores_of(tiny, "snip", data, loss=half_square)[1], [[2, 0], [2, 0]], rtol=1e-6)


def test_softmax_or_logits_make_no_difference(tiny):
    data = np.random.default_rng(0).normal(size=(5, 2)).astype("f4"), np.array([0, 1, 1, 0, 1])
    ended = keras.Sequential([keras.Input((2,)), *tiny.layers, layers.Softmax()])
    for loss in ("cross_entropy", "published"):
        for ours, other in zip(
            scores_of(tiny, "snip", data, loss=loss), scores_of(ended, "snip", data, loss=loss), strict=True
        ):
            np.testing.assert_allclose(ours, other, rtol=1e-5)


ONE = np.ones((1, 2), np.float32)


@pytest.mark.parametrize(
    ("batches", "options", "message"),
    [
        ([], {}, "holds no batches"),
        ([(ONE, np.array([2]))], {}, r"labels must lie in 0\.\.1, the model's outputs; received 2"),
        ([(ONE, np.array([-1]))], {}, r"received -1"),
        ([(ONE, np.ones((1, 3)))], {}, r"shape \(batch,\) or \(batch, 2\); received \(None, 3\)"),
        ([(np.ones((1, 3), np.float32), np.array([0]))], {}, r"of inputs of shape \(2,\); received \(3,\)"),
        ([ONE], {}, "must be a pair"),
        ([(ONE, np.array([0]))], {"loss": "hinge"}, "one of cross_entropy, published or a function; received 'hinge'"),
    ],
)
def test_refused(tiny, batches, options, message):
    with pytest.raises(InputError, match=message):
        SCORES["snip"](tiny, batches, Masks.dense(tiny), np.random.default_rng(0), **options)


def test_unknown_score():
    with pytest.raises(
        InputError, match="one of random, magnitude, lamp, snip, grasp, graspabs, synflow, wanda; received"
    ):
        get_score("fisher")
