"""Heads, recurrent units and the width of embeddings leave by the name of their layer."""

import keras
import numpy as np
import pytest
from channel_networks import drawn, outputs_of, transformer
from keras import layers as L

import tfprune
from tfprune.layers.weights import set_weights, weights_of
from tfprune.pruning.prune_channels import channel_layers


def off(model, cuts):
    """The model with 0 at these indices of these axes: path -> (axis, indices)."""
    weights = weights_of(model)
    for path, (axis, indices) in cuts.items():
        np.moveaxis(weights[path], axis, 0)[indices] = 0
    set_weights(model, weights)
    return model


def test_heads_and_feed_forward_width():
    """A head has 3 · (12 · 4 + 4) weights that make it and 4 · 12 that read it."""
    model = drawn(transformer())
    assert channel_layers(model) == {"attention": 2, "attention/output_dense": 12, "ffn_1": 32, "ffn_2": 12, "last": 3}
    small = tfprune.prune_channels(model, "l2", 0.5, layers=["attention", "ffn_1"])
    assert model.count_params() - small.count_params() == 3 * 52 + 48 + 16 * 25
    small = tfprune.remove_channels(model, {"attention": [1]})
    assert small.get_layer("attention").num_heads == 1
    expected = outputs_of(off(model, {"attention/output_dense.kernel": (0, [1])}))
    np.testing.assert_allclose(outputs_of(small), expected, atol=1e-5 * np.abs(expected).max())


def test_scores_of_heads_are_those_of_their_projections():
    model = drawn(transformer())
    weights, norms = weights_of(model), []
    for name in ("query", "key", "value"):
        norm = np.linalg.norm(weights[f"attention/{name}_dense.kernel"], axis=(0, 2))
        norms.append(norm / norm.max())
    best = int(np.argmax(sum(norms)))
    small = tfprune.prune_channels(model, "l2", 0.5, layers="attention")
    kept = weights["attention/query_dense.kernel"][:, [best]]
    np.testing.assert_array_equal(weights_of(small)["attention/query_dense.kernel"], kept)
    for given in ([1, 0], [0, 1]):
        small = tfprune.prune_channels(model, {"attention": given}, 0.5, layers=L.MultiHeadAttention)
        kept = weights["attention/query_dense.kernel"][:, [int(np.argmax(given))]]
        np.testing.assert_array_equal(weights_of(small)["attention/query_dense.kernel"], kept)


def test_the_width_of_heads_is_asked_for_by_name():
    model = drawn(transformer())
    small = tfprune.prune_channels(model, "l2", 0.5, layers="attention/value_dense")
    assert small.get_layer("attention").value_dense.kernel.shape == (12, 2, 2)
    whole = tfprune.prune_channels(model, "l2", 0.5)
    assert whole.get_layer("attention").value_dense.kernel.shape == (12, 1, 4)


def text(read):
    x = inputs = keras.Input((6, 5))
    return keras.Model(inputs, L.Dense(2, name="last")(read(x)))


@pytest.mark.parametrize("kind, gates", [(L.LSTM, 4), (L.GRU, 3), (L.SimpleRNN, 1)])
def test_recurrent_units(kind, gates):
    """A unit reads 5 inputs and all units in every gate; the next layer and all units read it."""
    model = drawn(text(kind(8, name="units")))
    small = tfprune.remove_channels(model, {"units": [0, 7]})
    biases = 2 if kind is L.GRU else 1
    assert small.get_layer("units").units == 6
    assert small.count_params() == gates * (5 * 6 + 6 * 6 + biases * 6) + 6 * 2 + 2
    recurrent = next(path for path in weights_of(model) if "recurrent" in path)
    expected = outputs_of(off(model, {recurrent: (0, [0, 7]), "last/kernel": (0, [0, 7])}))
    np.testing.assert_allclose(outputs_of(small), expected, atol=1e-5 * np.abs(expected).max())
    half = tfprune.prune_channels(model, "l2", 0.5, layers=kind)
    assert channel_layers(half) == {"units": 4, "last": 2}


def normalized(x, gamma, beta):
    spread = np.sqrt(x.var(-1, keepdims=True) + 1e-3)
    return (x - x.mean(-1, keepdims=True)) / spread * gamma + beta


def residual_stream():
    x = inputs = keras.Input((4,), dtype="int32")
    x = L.Embedding(9, 8, name="table")(x)
    y = L.Dense(8, name="down")(L.Dense(6, "relu", name="up")(L.LayerNormalization(name="first")(x)))
    return keras.Model(inputs, L.Dense(3, name="last")(L.LayerNormalization(name="second")(L.Add()([x, y]))))


def by_hand(weights, tokens, stays):
    w = {path: array.astype(float) for path, array in weights.items()}
    x = w["table/embeddings"][tokens][..., stays]
    y = normalized(x, w["first/gamma"][stays], w["first/beta"][stays]) @ w["up/kernel"][stays] + w["up/bias"]
    x = x + np.maximum(y, 0) @ w["down/kernel"][:, stays] + w["down/bias"][stays]
    return normalized(x, w["second/gamma"][stays], w["second/beta"][stays]) @ w["last/kernel"][stays] + w["last/bias"]


def test_the_width_of_a_residual_stream():
    """Table 9, norms 2 + 2, up 6, down 6 + 1, last 3: 29 parameters for each of 2 channels."""
    model = drawn(residual_stream())
    with pytest.raises(
        tfprune.InputError, match=r"'first' \(LayerNormalization\).*; with renormalize=True they can leave$"
    ):
        tfprune.remove_channels(model, {"table": [1, 4]})
    tokens = np.random.default_rng(0).integers(0, 9, (3, 4))
    weights = weights_of(model)
    np.testing.assert_allclose(model(tokens), by_hand(weights, tokens, np.arange(8)), atol=1e-4)
    for name in ("table", "down"):
        small = tfprune.remove_channels(model, {name: [1, 4]}, renormalize=True)
        assert model.count_params() - small.count_params() == 2 * 29
        np.testing.assert_allclose(small(tokens), by_hand(weights, tokens, [0, 2, 3, 5, 6, 7]), atol=1e-4)


def test_normalisation_stays_as_it_is_unless_asked():
    model = drawn(residual_stream())
    assert channel_layers(tfprune.prune_channels(model, "l2", 0.5)) == {"table": 8, "up": 3, "down": 8, "last": 3}
    small = tfprune.prune_channels(model, "l2", 0.5, renormalize=True)
    assert channel_layers(small) == {"table": 4, "up": 3, "down": 4, "last": 3}


@keras.saving.register_keras_serializable("tests")
class Block(L.Layer):
    """A feed-forward block in one layer, of 6 features."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.wide, self.narrow = L.Dense(width, "relu"), L.Dense(6)

    def call(self, x):
        return x + self.narrow(self.wide(x))

    def get_config(self):
        return {**super().get_config(), "width": self.width}


def test_layers_within_a_layer():
    """A unit has 6 weights in, a bias and 6 out."""
    x = inputs = keras.Input((4,))
    x = Block(8, name="block")(L.Dense(6, name="first")(x))
    model = drawn(keras.Model(inputs, L.Dense(3, name="last")(x)))
    assert channel_layers(model) == {"first": 6, "block/wide": 8, "block/narrow": 6, "last": 3}
    for layers in ("block", "block/wide", "wide", lambda layer: getattr(layer, "units", 0) == 8):
        small = tfprune.prune_channels(model, "l2", 0.25, layers=layers)
        assert model.count_params() - small.count_params() == 2 * 13
    small = tfprune.remove_channels(model, {"block": [3, 0]})
    expected = outputs_of(off(model, {"block/narrow.kernel": (0, [0, 3])}))
    np.testing.assert_allclose(outputs_of(small), expected, atol=1e-5 * np.abs(expected).max())


class Images(keras.Model):
    def __init__(self):
        super().__init__(name="images")
        self.conv, self.pool, self.last = L.Conv2D(6, 3), L.GlobalAveragePooling2D(), L.Dense(3)

    def call(self, x):
        return self.last(keras.ops.relu(self.pool(self.conv(x))))


def test_subclassed_models():
    """A filter has 9 · 2 weights, a bias, and 3 that read it."""
    model = Images()
    given = np.random.default_rng(0).normal(size=(2, 8, 8, 2))
    model(given)
    drawn(model)
    small = tfprune.prune_filters(model, "l2", 0.5)
    assert model.count_params() - small.count_params() == 3 * (18 + 1 + 3)
    small = tfprune.remove_channels(model, {"conv": [1, 4]})
    expected = off(model, {"images/last.kernel": (0, [1, 4])})(given)
    np.testing.assert_allclose(small(given), expected, atol=1e-5)
