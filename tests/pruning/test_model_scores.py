"""Scores of filters that look at data or at normalisation, each by hand, and what they have in common."""

import keras
import numpy as np
import pytest
from keras import layers as L

import tfprune
from tfprune.pruning.channel_network import ChannelNetwork
from tfprune.pruning.channel_scores import Scorer
from tfprune.pruning.filter_scores import MODEL_SCORES


def scores_of(model, scoring, layer, data=None, loss=None):
    """Of the channels of a layer, as they are."""
    network = ChannelNetwork(model)
    found = Scorer.of(model, scoring, 0, data, loss).classes(network, network.makers.values(), relative=False)
    return found[network.makers[layer].channels]


def linear(activation=None):
    """Two inputs, three units, one output: y = Σ_j v_j · act(w_j · x)."""
    layers = [L.Dense(3, activation, use_bias=False, name="a"), L.Dense(1, use_bias=False, name="last")]
    model = keras.Sequential([keras.Input((2,)), *layers])
    model.set_weights([W, V[:, None]])
    return model


W = np.float32([[1, -2, 0.5], [3, 1, -1]])
V = np.float32([2, -1, 4])
X = np.float32([[1, 2], [-3, 1], [0.5, 0]])
Y = np.zeros(3, np.float32)


def outputs(labels, outputs):
    return outputs[:, 0]


def singly(*arrays):
    return [tuple(array[i : i + 1] for array in arrays) for i in range(len(arrays[0]))]


def test_taylor():
    """The gradient of an output by w_ij is x_i v_j."""
    every = [np.sum((np.outer(x, V) * W) ** 2, 0) for x in X]
    np.testing.assert_allclose(scores_of(linear(), "taylor", "a", singly(X, Y), outputs), np.mean(every, 0), rtol=1e-5)
    whole = np.sum((np.outer(X.mean(0), V) * W) ** 2, 0)
    np.testing.assert_allclose(scores_of(linear(), "taylor", "a", (X, Y), outputs), whole, rtol=1e-5)


def test_gradient_activation():
    """z is what ReLU lets through, its gradient v."""
    expected = np.mean(np.abs(np.maximum(X @ W, 0) * V), 0)
    for data in ((X, Y), singly(X, Y)):
        found = scores_of(linear("relu"), "gradient_activation", "a", data, outputs)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_gradient_activation_takes_means_over_positions():
    """Of z·g over four positions, before the absolute value."""
    model = keras.Sequential(
        [keras.Input((2, 2, 1)), L.Conv2D(2, 1, use_bias=False, name="a"), L.Flatten(), L.Dense(1)]
    )
    weights = [np.float32([1, -2]).reshape(1, 1, 1, 2), np.arange(8, dtype="f4")[:, None], np.zeros(1, "f4")]
    model.set_weights(weights)
    x = np.float32([[1, -1], [2, 0]])
    z = x[..., None] * [1, -2]
    expected = np.abs((z * np.arange(8).reshape(2, 2, 2)).mean((0, 1)))
    found = scores_of(model, "gradient_activation", "a", (x.reshape(1, 2, 2, 1), Y[:1]), outputs)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_average_zeros():
    expected = np.mean(X @ W > 0, 0)
    assert 0 < expected.min() < expected.max()
    for data in ((X, Y), singly(X, Y)):
        np.testing.assert_allclose(scores_of(linear("relu"), "average_zeros", "a", data), expected, rtol=1e-6)
    np.testing.assert_allclose(scores_of(linear(), "average_zeros", "a", (X, Y)), np.mean(X @ W != 0, 0))


def test_average_zeros_of_what_an_activation_makes_of_coupled_layers():
    """Zeros after ReLU, behind normalisation and a sum, not those of the layers themselves."""
    x = inputs = keras.Input((4, 3))
    x = L.Add()([L.BatchNormalization()(L.Conv1D(5, 1, name="a")(x)), L.Conv1D(5, 1, name="b")(x)])
    model = keras.Model(inputs, L.Dense(1)(keras.ops.relu(x)))
    data = np.random.default_rng(0).normal(size=(6, 4, 3)).astype("f4")
    expected = np.mean(keras.Model(inputs, x)(data).numpy() > 0, (0, 1))
    found = scores_of(model, "average_zeros", "a", (data, np.zeros(6)))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_array_equal(found, scores_of(model, "average_zeros", "b", (data, np.zeros(6))))


def test_label_free_hessian():
    """With an example a batch and one output no sign matters: H of w_ij is the mean of (x_i v_j)²."""
    curved = np.mean([np.outer(x, V) ** 2 for x in X], 0)
    expected = curved.mean(0) * np.sum(W**2, 0)
    found = scores_of(linear(), "label_free_hessian", "a", singly(X, Y))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_label_free_hessian_of_several_outputs_is_a_mean_over_signs():
    """H of w_ij is the mean of x_i² Σ_k v_jk²; many examples bring the estimate near."""
    rng = np.random.default_rng(1)
    model = keras.Sequential([keras.Input((2,)), L.Dense(3, name="a"), L.Dense(4), L.Softmax()])
    model.set_weights([W, np.zeros(3), V2 := rng.normal(size=(3, 4)), np.zeros(4)])
    x = rng.normal(size=(1000, 2)).astype("f4")
    batches = [(x[i : i + 40], np.zeros(40)) for i in range(0, 1000, 40)]
    expected = np.outer((x**2).mean(0), (V2**2).sum(1)).mean(0) * np.sum(W**2, 0)
    np.testing.assert_allclose(scores_of(model, "label_free_hessian", "a", batches), expected, rtol=0.3)


def test_batch_norm_scale():
    x = inputs = keras.Input((4, 4, 2))
    norms = [L.BatchNormalization(name=name) for name in ("n", "m", "plain")]
    x = norms[0](L.Conv2D(3, 1, name="a")(x))
    y = norms[1](L.Conv2D(3, 1, name="b")(x))
    model = keras.Model(inputs, L.Conv2D(1, 1)(L.Conv2D(2, 1, name="c")(L.Add()([x, y]))))
    norms[0].gamma.assign([1, -2, 0.5])
    norms[1].gamma.assign([0, 3, -0.25])
    np.testing.assert_array_equal(scores_of(model, "batch_norm_scale", "a"), [1, 5, 0.75])
    small = tfprune.prune_filters(model, "batch_norm_scale", {"a": 0.6})
    np.testing.assert_array_equal(small.get_layer("n").gamma, [-2])
    assert np.isnan(scores_of(model, "batch_norm_scale", "c")).all()
    with pytest.raises(tfprune.InputError, match="scoring has nothing for layer 'c', which is to lose channels"):
        tfprune.prune_filters(model, "batch_norm_scale", {"c": 0.5})


def convolutional(wrap=lambda model: model):
    layers = [L.Conv2D(4, 3, name="a"), L.BatchNormalization(name="n"), L.ReLU(), L.Conv2D(5, 3, name="b"), L.ReLU()]
    model = keras.Sequential([keras.Input((6, 6, 2)), *layers, L.Flatten(), L.Dropout(0.5), L.Dense(3, "softmax")])
    rng = np.random.default_rng(0)
    model.set_weights(
        [rng.uniform(0.1, 1, array.shape) * rng.choice([-1, 1], array.shape) for array in model.get_weights()]
    )
    model.get_layer("n").moving_variance.assign(np.ones(4))
    a, b = model.get_layer("a"), model.get_layer("b")
    a.kernel.assign(a.kernel * [1, 0, 1, 1])
    a.bias.assign([1, 0, 1, 1])
    model.get_layer("n").gamma.assign([1, 0, 0.5, 2])
    model.get_layer("n").beta.assign([0.1, -1, 0.2, 0.3])
    b.kernel.assign(b.kernel * [1, 1, 0, 1, 1])
    b.bias.assign([0.1, 0.1, -1, 0.1, 0.1])
    return wrap(model)


@pytest.mark.parametrize("wrap", [lambda model: model, tfprune.masked], ids=["plain", "masked"])
@pytest.mark.parametrize("scoring", MODEL_SCORES)
class TestContract:
    def data(self):
        rng = np.random.default_rng(3)
        return rng.normal(size=(10, 6, 6, 2)).astype("f4"), rng.integers(0, 3, 10)

    def test_channels_without_any_part_score_lowest(self, scoring, wrap):
        """Nothing comes through filter 1 of `a` and filter 2 of `b`."""
        model = convolutional(wrap)
        before = model.get_weights()
        a, b = (scores_of(model, scoring, layer, self.data()) for layer in "ab")
        assert a[1] == 0 and (np.delete(a, 1) > 0).all() and a.dtype == np.float64
        assert np.isnan(b).all() if scoring == "batch_norm_scale" else b[2] == 0 and (np.delete(b, 2) > 0).all()
        for old, new in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)

    def test_the_same_again(self, scoring, wrap):
        model = convolutional(wrap)
        first, second = (scores_of(model, scoring, "a", self.data()) for _ in range(2))
        np.testing.assert_array_equal(first, second)

    def test_data_that_do_not_fit(self, scoring, wrap):
        if MODEL_SCORES[scoring].needs_data:
            for data in ((np.zeros((4, 5)), np.zeros(4)), []):
                with pytest.raises(tfprune.InputError):
                    scores_of(convolutional(wrap), scoring, "a", data)


class Block(L.Layer):
    """A block as people write them, of which only its parts are known."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = L.Dense(5, "relu", name="first"), L.Dense(4, name="second")

    def build(self, shape):
        self.first.build(shape)
        self.second.build((*shape[:-1], 5))

    def call(self, x):
        return keras.ops.relu(x + self.second(self.first(x)))


@pytest.mark.parametrize("scoring", ["gradient_activation", "average_zeros"])
def test_activations_within_a_layer_are_those_of_its_parts_in_the_open(scoring):
    x = inputs = keras.Input((4,))
    own = keras.Model(inputs, L.Dense(3, name="last")(Block(name="block")(x)))
    first, second = L.Dense(5, "relu", name="first"), L.Dense(4, name="second")
    open_one = keras.Model(inputs, L.Dense(3, name="last")(keras.ops.relu(x + second(first(x)))))
    open_one.set_weights(own.get_weights())
    rng = np.random.default_rng(0)
    data = rng.normal(size=(9, 4)).astype("f4"), rng.integers(0, 3, 9)
    found = scores_of(own, scoring, "block/first", data)
    np.testing.assert_allclose(found, scores_of(open_one, scoring, "first", data), rtol=1e-5)
    assert (found > 0).any() and len(set(found)) > 1
