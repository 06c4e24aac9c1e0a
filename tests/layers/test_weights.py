import keras
import numpy as np
import pytest
from keras import layers

from tfprune.errors import InputError
from tfprune.experiments.filters.networks import NETWORKS
from tfprune.layers.convert import masked
from tfprune.layers.topology import named_layers
from tfprune.layers.weights import set_weights, weights_of
from tfprune.models.named import build_named
from tfprune.models.registry import build


def _model(seed):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((6, 6, 2))
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(3, 3, name="conv.0")(inputs))
    x = layers.Dropout(0.5)(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(4, name="fc")(x))


def test_plain_and_masked_models_exchange_weights():
    first, second = _model(0), masked(_model(1))
    weights = weights_of(first)
    norm = [f"norm/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")]
    assert list(weights) == ["conv.0/kernel", "conv.0/bias", *norm, "fc/kernel", "fc/bias"]
    assert list(weights_of(second)) == list(weights)
    set_weights(second, weights)
    images = np.random.default_rng(0).normal(size=(5, 6, 6, 2)).astype("f4")
    np.testing.assert_array_equal(first(images), second(images))


def test_copies_do_not_follow_the_model():
    model = _model(0)
    weights = weights_of(model)
    before = weights["fc/bias"].copy()
    model.get_layer("fc").bias.assign(np.ones(4))
    np.testing.assert_array_equal(weights["fc/bias"], before)


@pytest.mark.parametrize("change", ["missing", "unknown", "shape"])
def test_weights_of_another_model_change_nothing(change):
    model = _model(0)
    weights = weights_of(_model(1))
    if change == "missing":
        del weights["fc/bias"]
    elif change == "unknown":
        weights["other/bias"] = np.zeros(4, "f4")
    else:
        weights["fc/bias"] = np.zeros(5, "f4")
    before = weights_of(model)
    with pytest.raises(InputError, match=r"weight '(fc|other)/bias'"):
        set_weights(model, weights)
    assert all(np.array_equal(before[path], array) for path, array in weights_of(model).items())


class _Twice(layers.Layer):
    """Two inner layers of one name, one of which has two more, weights without a name, and a generator."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = layers.Dense(4, name="inner"), layers.Dense(4, name="inner")
        self.pair = layers.Bidirectional(layers.GRU(2, dropout=0.5, return_sequences=True))

    def build(self, input_shape):
        self.first.build(input_shape)
        self.second.build(input_shape)
        self.pair.build(input_shape)
        self.one, self.two = (self.add_weight(shape=(width,)) for width in (1, 2))
        self.kernel_1 = self.add_weight(shape=(3,), name="kernel_1")

    def call(self, inputs):
        return self.pair(self.first(inputs) + self.second(inputs) * self.one[0] + self.two[1] * self.kernel_1[2])


class _Tied(layers.Layer):
    """Holds a layer that the model uses too."""

    def __init__(self, other, **kwargs):
        super().__init__(**kwargs)
        self.other = other

    def call(self, inputs):
        return self.other(inputs)


SEQUENCES = {
    "lstm": lambda: layers.LSTM(3, dropout=0.5, name="it"),
    "gru": lambda: layers.GRU(3, recurrent_dropout=0.5, return_sequences=True, name="it"),
    "simple": lambda: layers.SimpleRNN(3, name="it"),
    "stacked": lambda: layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], name="it"),
    "bidirectional": lambda: layers.Bidirectional(layers.LSTM(3), merge_mode="sum", name="it"),
    "attention": lambda: layers.MultiHeadAttention(2, 3, dropout=0.5, name="it"),
    "grouped": lambda: layers.GroupQueryAttention(2, 4, 2, name="it"),
    "distributed": lambda: layers.TimeDistributed(layers.Dense(3), name="it"),
    "normed": lambda: layers.SpectralNormalization(layers.Dense(3), name="it"),
    "custom": lambda: _Twice(name="it"),
}


def _sequences(name):
    """(5, 4) through a layer, with a masked layer around it on both sides."""
    inputs = keras.Input((5, 4))
    x = layers.Dense(4, name="before")(inputs)
    layer = SEQUENCES[name]()
    x = layer(x, x, x) if "Attention" in type(layer).__name__ else layer(x)
    return keras.Model(inputs, layers.Dense(2, name="after")(x))


@pytest.mark.parametrize("name", SEQUENCES)
def test_every_weight_is_there_once(name):
    keras.utils.set_random_seed(0)
    model = _sequences(name)
    weights = weights_of(model)
    assert sum(array.size for array in weights.values()) == sum(array.size for array in model.get_weights())
    again = _sequences(name)  # all of Keras's own counters have gone on
    assert list(weights_of(again)) == list(weights)
    if name == "custom":
        return  # not registered with Keras, so it cannot be copied
    sparse = masked(_sequences(name))
    assert list(weights_of(sparse)) == list(weights)
    set_weights(sparse, weights)
    given = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("f4")
    np.testing.assert_array_equal(sparse(given), model(given))


def test_names_within_a_layer_do_not_depend_on_what_came_before():
    paths = [path.split("/") for path in weights_of(_sequences("custom"))]
    names = [name for layer, name in paths if layer == "it"]
    ways = [f"pair.{way}_layer.cell" for way in ("forward", "backward")]
    cells = [[f"{way}.{name}" for name in ("kernel", "recurrent_kernel", "bias")] for way in ways]
    inner = [f"{layer}.{name}" for layer in ("first", "second") for name in ("kernel", "bias")]
    assert names == ["one", "two", "kernel_1", *inner, *cells[0], *cells[1]]


def test_a_layer_in_a_layer_has_its_weights_under_its_own_path():
    inputs = keras.Input((4,))
    shared = layers.Dense(4, name="shared")
    model = keras.Model(inputs, _Tied(shared, name="a_tied")(shared(inputs)))
    assert list(weights_of(model)) == ["shared/kernel", "shared/bias"]


@pytest.mark.parametrize("name", ["lenet300100", "resnet18", "cifar_resnet_8_4", "resnet50"])
def test_paths_in_files_of_earlier_versions_are_those_of_today(name):
    """They were the path of the layer and Keras's name of the variable."""
    if name in NETWORKS:
        model = NETWORKS[name].build((32, 32, 3), 10, 0, 1 / 16)
    elif name.startswith("cifar"):
        model = build_named(name, (32, 32, 3), 10, 0)
    else:
        model = build(name)
    earlier = [f"{path}/{variable.name}" for path, layer in named_layers(model) for variable in layer.variables]
    assert list(weights_of(model)) == [path for path in earlier if not path.endswith("/seed_generator_state")]
