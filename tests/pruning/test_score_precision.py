"""Scores are those of a float32 network, whatever the precision that the model computes in."""

import keras
import numpy as np
import pytest
from keras import layers

from tfprune.layers.masks import Masks
from tfprune.pruning.batches import as_batches
from tfprune.pruning.scores import SCORES


def build(policy):
    """Layers with layers of their own, dropout, batch norm, shared and nested ones, and weights that float16 holds."""
    keras.utils.set_random_seed(0)
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        inputs = keras.Input((8, 8, 3))
        x = layers.Rescaling(0.1)(inputs)
        x = layers.Conv2D(6, 3, padding="same")(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.Add()([x, layers.SeparableConv2D(6, 3, padding="same")(x)])
        x = layers.Reshape((16, 6))(layers.AveragePooling2D(2)(x))
        x = layers.LayerNormalization()(layers.MultiHeadAttention(2, 3)(x, x))
        x = layers.GlobalAveragePooling1D()(x)
        inner = keras.Sequential([keras.Input((6,)), layers.Dense(6, "gelu"), layers.Dropout(0.3)])
        x = inner(inner(x))
        model = keras.Model(inputs, layers.Dense(4, "softmax")(x))
    finally:
        keras.config.set_dtype_policy(previous)
    rng = np.random.default_rng(1)
    model.set_weights(
        [
            weight if weight.dtype.kind in "iu" else rng.normal(0, 0.3, weight.shape).astype(np.float16) ** 2
            for weight in model.get_weights()
        ]
    )
    return model


@pytest.fixture(scope="module")
def twin():
    return build("float32")


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(30, 8, 8, 3)).astype("f4"), rng.integers(0, 4, 30)


def scores_of(model, name, data):
    rng = np.random.default_rng(1)
    masks = Masks({path: rng.random(mask.shape) < 0.7 for path, mask in Masks.dense(model).items()})
    scores = SCORES[name](model, as_batches(data, 8), masks, np.random.default_rng(0))
    return np.concatenate([part.ravel() for part in scores.values()])


HALF = [
    *((name, "mixed_float16") for name in ("snip", "synflow", "magnitude", "lamp", "grasp")),
    *((name, "mixed_bfloat16") for name in ("snip", "grasp", "synflow")),
    *((name, "float16") for name in ("snip", "synflow", "magnitude")),  # the variables are of half precision, too
]


@pytest.mark.slow_beyond(4)
@pytest.mark.parametrize(("name", "policy"), HALF)
def test_half_precision_models_are_scored_in_float32(twin, data, name, policy):
    model = build(policy)
    policies = [layer.dtype_policy.name for layer in model._flatten_layers()]
    assert policies.count(policy) > 10
    np.testing.assert_array_equal(scores_of(model, name, data), scores_of(twin, name, data))
    # The model computes as before.
    assert [layer.dtype_policy.name for layer in model._flatten_layers()] == policies
    assert model(data[0]).dtype == model.compute_dtype != "float32"


def test_a_layer_is_left_as_it_was_after_a_failure(data):
    model = build("mixed_float16")

    def broken(labels, outputs):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        SCORES["snip"](model, as_batches(data), Masks.dense(model), np.random.default_rng(0), loss=broken)
    assert model.layers[-1].compute_dtype == "float16"


def test_double_precision_is_kept():
    """The gradient of w is the small difference of two large numbers, which float32 cannot hold."""
    model = keras.Sequential([keras.Input((2,), dtype="float64"), layers.Dense(1, use_bias=False, dtype="float64")])
    model.layers[0].kernel.assign([[1.0], [1.0]])
    inputs = np.array([[1e8 + 1, -1e8]])

    def loss(labels, outputs):
        return outputs[:, 0] ** 2 / 2  # its slope is the output, 1

    score = SCORES["snip"](model, [(inputs, np.zeros(1))], Masks.dense(model), np.random.default_rng(0), loss=loss)
    np.testing.assert_allclose(next(iter(score.values())), [[1e8 + 1], [1e8]], rtol=1e-6)
