"""Exactly the channels that are asked for leave, with all that belongs to them."""

import channel_networks as networks
import keras
import numpy as np
import pytest
from channel_networks import CASES, READERS, drawn, left_of, outputs_of, zeroed
from keras import layers as L

import tfprune
from tfprune.layers.weights import weights_of


@pytest.fixture
def double():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("build, layer", CASES, ids=lambda each: getattr(each, "__name__", each))
def test_the_small_model_is_the_model_that_does_not_read_them(build, layer, double):
    model = drawn(build())
    count = len(weights_of(model)[f"{layer}/bias"])
    gone = [count - 2, 0]
    small = tfprune.remove_channels(model, {layer: gone})
    for path in (layer, *READERS[build][layer][0]):
        assert left_of(model, small, path) == [*range(1, count - 2), count - 1]
    expected = outputs_of(zeroed(build, layer, gone))
    assert expected.dtype == np.float64 and np.abs(expected - outputs_of(model)).max() > 1e-3
    np.testing.assert_allclose(outputs_of(small), expected, rtol=1e-12, atol=1e-12)


# Parameters that two channels take with them, counted by hand.
@pytest.mark.parametrize(
    "build, layer, each",
    [
        (networks.transformer, "ffn_1", 12 + 1 + 12),  # weights in, bias, weights out
        (networks.perceptron, "a", 4 + 1 + 4 + 6),  # 4 of batch normalisation
        (networks.residual, "a", (4 + 1) + (6 + 1) + 6 + 3),  # a and c make it, b and last read it
        (networks.flattened, "a", 3 + 1 + 4 * 3),  # four positions
        (networks.squeeze_excite, "excite", (9 * 3 + 1) + (4 + 1) + 4 + 9 * 4),
        (networks.nested, "block/end", 6 + 1 + 3),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_parameters_that_leave(build, layer, each):
    model = build()
    small = tfprune.remove_channels(model, {layer: [1, 3]})
    assert model.count_params() - small.count_params() == 2 * each


def test_a_shared_layer_loses_rows_and_columns():
    """6 · 6 + 6 of `twice` become 4 · 4 + 4."""
    model = networks.shared()
    small = tfprune.remove_channels(model, {"twice": [1, 3]})
    assert model.count_params() == (4 * 6 + 6) + (6 * 6 + 6) + (6 * 3 + 3)
    assert small.count_params() == (4 * 4 + 4) + (4 * 4 + 4) + (4 * 3 + 3)


def test_several_layers_and_forms_of_indices():
    model = drawn(networks.perceptron())
    before = weights_of(model)
    small = tfprune.remove_channels(model, {"a": np.array([7, 0]), "b": range(2)})
    assert (left_of(model, small, "a"), left_of(model, small, "b")) == ([1, 2, 3, 4, 5, 6], [2, 3, 4, 5])
    np.testing.assert_array_equal(weights_of(small)["b/kernel"], before["b/kernel"][1:7, 2:])
    assert all(np.array_equal(array, before[path]) for path, array in weights_of(model).items())
    same = tfprune.remove_channels(model, {"a": []})
    assert all(np.array_equal(array, before[path]) for path, array in weights_of(same).items())


def test_both_of_two_coupled_layers_may_be_named():
    model = drawn(networks.residual())
    small = tfprune.remove_channels(model, {"a": [0, 1], "c": [1, 2]})
    assert left_of(model, small, "a") == left_of(model, small, "c") == [3, 4, 5, 6, 7]


def test_convolutions_and_masked_weights():
    model = drawn(networks.squeeze_excite())
    masks = {path: np.ones(kernel.shape, bool) for path, kernel in tfprune.prunable(model).items()}
    masks["a/kernel"][0] = False
    small = tfprune.remove_channels(tfprune.masked(model, masks), {"a": [2, 5]})
    assert type(small.get_layer("a")) is L.Conv2D and small.get_layer("excite").units == 6
    kernel = np.delete(weights_of(model)["a/kernel"] * masks["a/kernel"], [2, 5], axis=-1)
    np.testing.assert_array_equal(weights_of(small)["a/kernel"], kernel)


def test_a_reader_that_would_be_emptied():
    """Both channels of `a` are the first of `c`."""
    x = inputs = keras.Input((4,))
    joined = L.Concatenate()([L.Dense(2, name="a")(x), L.Dense(3, name="b")(x)])
    model = keras.Model(inputs, L.Dense(2, name="last")(L.Add()([joined, L.Dense(5, name="c")(x)])))
    assert tfprune.remove_channels(model, {"c": [0, 2]}).get_layer("a").units == 1
    with pytest.raises(
        tfprune.InputError, match=r"^layer 'a' would lose all of its 2 channels; at least one must stay$"
    ):
        tfprune.remove_channels(model, {"c": [0, 1]})


LISTED = "channels of 'a' must be a list of whole numbers from 0 to 7"


@pytest.mark.parametrize(
    "channels, message",
    [
        ({"a": [8]}, f"{LISTED}; received 8"),
        ({"a": [0, -1]}, f"{LISTED}; received -1"),
        ({"a": 3}, f"{LISTED}; received 3"),
        ({"a": None}, f"{LISTED}; received None"),
        ({"a": "all"}, f"{LISTED}; received 'a'"),
        ({"a": [0.5]}, f"{LISTED}; received 0.5"),
        ({"a": [True, False]}, f"{LISTED}; received True"),
        ({"a": np.zeros(8, bool)}, rf"{LISTED}; received (np\.)?False_?"),
        ({"a": [[0, 1]]}, rf"{LISTED}; received \[0, 1\]"),
        ({"a": [3, 0, 3]}, f"{LISTED}, each once; received 3 more than once"),
        ({"a": range(8)}, "channels of 'a': at most 7 of its 8 can leave; received all"),
        ({"z": [0]}, "channels: 'z' is none of a, b, last, the paths of layers with channels"),
        ({"norm": [0]}, "channels: 'norm' is none of a, b, last, the paths of layers with channels"),
        ({"las": [0]}, r"channels: 'las' is none of .*; did you mean 'last'\?"),
        ([0], "channels must be layer path -> list of indices; received list"),
        (
            {"last": [2, 1]},
            "channels of 'last': 1, 2 cannot leave: the model's outputs or an operation that mixes features need all "
            "of them",
        ),
    ],
)
def test_refused(channels, message):
    with pytest.raises(tfprune.InputError, match=f"^{message}$"):
        tfprune.remove_channels(networks.perceptron(), channels)


def test_what_keeps_a_channel_is_named():
    with pytest.raises(tfprune.InputError, match=r"'ffn_2': 0 cannot leave: .* all of them: 'norm_1' \(LayerNormal"):
        tfprune.remove_channels(networks.transformer(), {"ffn_2": [0]})


def test_a_name_is_one_layer():
    model = networks.nested()
    small = tfprune.remove_channels(model, {"dense": [0], "block/dense": [0, 1], "end": [3]})
    assert [small.get_layer("dense").units, small.get_layer("block").get_layer("dense").units] == [7, 4]
    with pytest.raises(tfprune.InputError, match=r"^channels: 'end' is the layer 'block/end', which is named already$"):
        tfprune.remove_channels(model, {"block/end": [0], "end": [1]})
    several = r"'block' makes channels of several kinds, name one of 'block/dense' \(6\), 'block/end' \(4\)$"
    with pytest.raises(tfprune.InputError, match=several):
        tfprune.remove_channels(model, {"block": [0]})


def test_units_with_biases_that_attention_compares():
    """At 0 in the scores, too, which no kernel reads; the check would see other outputs else."""
    x = inputs = keras.Input((4, 5))
    x = keras.layers.LSTM(6, return_sequences=True, name="lstm")(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Attention()([x, x])))
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.normal(size=variable.shape))
    small = tfprune.remove_channels(model, {"lstm": [0, 4]})
    for variable in model.get_layer("lstm").weights:  # by hand, all that makes these units
        value = variable.numpy()
        value.reshape(*value.shape[:-1], 4, 6)[..., [0, 4]] = 0
        variable.assign(value)
    given = rng.normal(size=(3, 4, 5))
    assert small.get_layer("lstm").units == 4
    np.testing.assert_allclose(small(given), model(given), rtol=1e-5, atol=1e-5)
