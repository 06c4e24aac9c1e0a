"""Layers of any kind lose their lowest channels: which may, what they score, and what the rest computes."""

import channel_networks as networks
import keras
import numpy as np
import pytest
from channel_networks import CASES, drawn, left_of, outputs_of, zeroed
from keras import layers as L

import tfprune
from tfprune.layers.weights import set_weights, weights_of
from tfprune.pruning.prune_channels import channel_layers
from tfprune.pruning.prune_filters import filter_layers, filter_scores


@pytest.mark.parametrize("build, layer", CASES, ids=lambda each: getattr(each, "__name__", each))
def test_the_small_model_is_the_model_that_does_not_read_them(build, layer):
    model = drawn(build())
    small = tfprune.prune_channels(model, "l2", {layer: 0.5})
    left, count = left_of(model, small, layer), channel_layers(model)[layer]
    assert len(left) == count // 2
    expected = outputs_of(zeroed(build, layer, np.setdiff1d(np.arange(count), left)))
    np.testing.assert_allclose(outputs_of(small), expected, atol=1e-5 * np.abs(expected).max())


def test_the_feed_forward_width_of_a_transformer():
    """Each of 16 units leaves with 12 weights in, 12 out and a bias; the lowest norms leave."""
    model = drawn(networks.transformer())
    small = tfprune.prune_channels(model, "l2", 0.5, layers="ffn_1")
    assert model.count_params() - small.count_params() == 16 * 25
    norms = np.linalg.norm(weights_of(model)["ffn_1/kernel"], axis=0)
    assert left_of(model, small, "ffn_1") == sorted(np.argsort(norms)[16:])


WIDTHS = {"conv": 8, "hidden": 6, "block/dense": 10, "block/end": 4, "last": 3}


def mixed():
    x = inner = keras.Input((6,))
    block = keras.Model(inner, L.Dense(4, name="end")(L.Dense(10, "relu", name="dense")(x)), name="block")
    x = inputs = keras.Input((6, 6, 2))
    x = L.GlobalAveragePooling2D()(L.DepthwiseConv2D(3, name="depthwise")(L.Conv2D(8, 3, name="conv")(x)))
    return keras.Model(inputs, L.Dense(3, name="last")(block(L.Dense(6, "relu", name="hidden")(x))))


@pytest.mark.parametrize(
    "layers, losing",
    [
        (None, ["conv", "hidden", "block/dense", "block/end"]),
        ("hidden", ["hidden"]),
        ("dense", ["block/dense"]),
        ("block/dense", ["block/dense"]),
        ("block", ["block/dense", "block/end"]),
        (["conv", "end"], ["conv", "block/end"]),
        (L.Conv2D, ["conv"]),
        (L.Dense, ["hidden", "block/dense", "block/end"]),
        ((L.Conv2D, "hidden"), ["conv", "hidden"]),
        ({L.Dense, L.Conv2D}, ["conv", "hidden", "block/dense", "block/end"]),
        (lambda layer: getattr(layer, "units", 0) > 5, ["hidden", "block/dense"]),
        ([lambda layer: layer.name == "last", "hidden"], ["hidden"]),
    ],
)
def test_layers(layers, losing):
    model = mixed()
    assert channel_layers(model) == WIDTHS
    for pruned in (model, tfprune.masked(model)):
        small = tfprune.prune_channels(pruned, "l2", 0.5, layers=layers)
        assert channel_layers(small) == {path: size // (1 + (path in losing)) for path, size in WIDTHS.items()}


def test_fractions_of_chosen_layers():
    model = mixed()
    assert channel_layers(model, [L.Conv2D, "block"]) == {"conv": 8, "block/dense": 10, "block/end": 4}
    for fractions in ([0.25, 0.9, 0], {"conv": 0.25, "dense": 0.9}):
        small = tfprune.prune_channels(model, "l2", fractions, layers=[L.Conv2D, "block"])
        assert channel_layers(small) == {**WIDTHS, "conv": 6, "block/dense": 1}
    small = tfprune.prune_channels(model, "l2", {"block": 0.5, "conv": 0.25})
    assert channel_layers(small) == {**WIDTHS, "conv": 6, "block/dense": 5, "block/end": 2}


def test_coupled_layers_are_one_group():
    """Whichever is named; a's and c's scores count for both."""
    model = drawn(networks.residual())
    kernels = weights_of(model)
    norms = [np.linalg.norm(kernels[f"{path}/kernel"], axis=0) for path in ("a", "c")]
    kept = sorted(np.argsort(sum(norm / norm.max() for norm in norms))[4:])
    for layers in ("a", "c", ["a", "c"]):
        small = tfprune.prune_channels(model, "l2", 0.5, layers=layers)
        assert left_of(model, small, "a") == left_of(model, small, "c") == kept
        assert small.get_layer("b").units == 6


def test_convolutions_are_what_prune_filters_takes():
    model = drawn(networks.squeeze_excite())
    both = [tfprune.prune_filters(model), tfprune.prune_channels(model, layers=L.Conv2D)]
    (one, other) = map(weights_of, both)
    assert list(one) == list(other) and all(np.array_equal(one[path], other[path]) for path in one)
    small = tfprune.prune_filters(model, "l2", 0.5, layers="squeeze")
    assert (small.get_layer("squeeze").units, filter_layers(small)) == (2, {"a": 8, "last": 4})


def reversed_order(layer, kernel):
    return np.arange(kernel.shape[-1])[::-1]


def test_scores_of_a_function():
    model = drawn(networks.perceptron())
    met = []

    def scoring(layer, kernel):
        met.append((layer, kernel.shape))
        assert not kernel.flags.writeable
        np.testing.assert_array_equal(kernel[0], weights_of(model)[f"{layer}/kernel"])
        return keras.ops.convert_to_tensor(reversed_order(layer, kernel))

    small = tfprune.prune_channels(model, scoring, 0.5, layers=["a", "b"])
    assert met == [("a", (1, 4, 8)), ("b", (1, 8, 6))]
    assert (left_of(model, small, "a"), left_of(model, small, "b")) == ([0, 1, 2, 3], [0, 1, 2])


def test_scores_of_a_function_for_convolutions():
    model = drawn(networks.squeeze_excite())
    shapes = {}
    small = tfprune.prune_filters(
        model, lambda layer, kernel: shapes.setdefault(layer, kernel.shape) and kernel[0, 0], 0.5
    )
    assert shapes == {"a": (9, 3, 8), "excite": (1, 4, 8), "last": (9, 8, 4)}
    kernels = weights_of(model)
    first = [kernels["a/kernel"][0, 0, 0], kernels["excite/kernel"][0]]
    assert left_of(model, small, "a") == sorted(np.argsort(sum(one / np.abs(one).max() for one in first))[4:])
    assert filter_scores(model, reversed_order)["a"].tolist() == [7, 6, 5, 4, 3, 2, 1, 0]


def test_scores_of_a_mapping():
    """Scores below 0 keep their order; kernels of other layers do not count."""
    model = drawn(networks.residual())
    scores = {"c": [-8, -1, -7, -2, -6, -3, -5, -4], "b": np.array([0, 1, 0, 2, 3, 0])}
    small = tfprune.prune_channels(model, scores, {"a": 0.5, "b": 0.5})
    assert left_of(model, small, "a") == left_of(model, small, "c") == [1, 3, 5, 7]
    assert left_of(model, small, "b") == [1, 3, 4]
    both = {"a": [0, 0, 0, 0, 4, 4, 4, 4], "c": [0, 1, 2, 3, 0, 1, 2, 3]}  # 0, 1/3, 2/3, 1, 1, 4/3, ...
    small = tfprune.prune_channels(model, both, 0.5, layers="a")
    assert left_of(model, small, "a") == [4, 5, 6, 7]
    small = tfprune.prune_channels(model, both, 0.75, layers="a")
    assert left_of(model, small, "a") == [6, 7]


def test_random_scores_follow_their_seed():
    model = drawn(networks.transformer())
    first, again, other = (
        left_of(model, tfprune.prune_channels(model, "random", 0.5, seed, layers="ffn_1"), "ffn_1")
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_a_single_unit_stays():
    layers = [L.Dense(1, name="one"), L.Dense(4, name="four"), L.Dense(2)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    with pytest.warns(
        UserWarning, match=r"^a single channel stays where fraction 0\.5 would leave none: 'one'$"
    ) as told:
        assert channel_layers(tfprune.prune_channels(model, "l2", 0.5))["four"] == 2
    assert told[0].filename == __file__


def test_two_units_of_which_more_than_half_are_to_leave():
    layers = [L.Dense(2, name="two"), L.Dense(10, name="ten"), L.Dense(2)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    with pytest.warns(UserWarning, match=r"^a single channel stays where fraction 0\.6 would leave none: 'two'$"):
        left = channel_layers(tfprune.prune_channels(model, "l2", 0.6))
    assert (left["two"], left["ten"]) == (1, 4)
    with pytest.raises(tfprune.InputError, match=r"^layer 'two': fraction 0\.6 leaves none of its 2 .*; at most 0\.5$"):
        tfprune.prune_channels(model, "l2", {"two": 0.6})


FIXED = "the model's outputs or an operation that mixes features need all of them"


@pytest.mark.parametrize(
    "given, message",
    [
        ({"layers": "z"}, "layers: 'z' is none of a, b, last, the paths of layers with channels"),
        ({"layers": "norm"}, "layers: 'norm' is none of a, b, last, the paths of layers with channels"),
        ({"layers": ["a", "las"]}, r"layers: 'las' is none of .*; did you mean 'last'\?"),
        ({"layers": []}, "layers must choose at least one layer; received none"),
        ({"layers": 3}, ".*names or paths of layers, classes of layers, functions of a layer, or a list.*; received 3"),
        ({"layers": [int]}, ".*classes of layers, functions of a layer, .*; received <class 'int'>"),
        (
            {"layers": L.Dense(3, name="own")},
            ".*classes of layers, functions of a layer, .*; received <Dense name=own.*",
        ),
        ({"layers": L.Conv2D}, "layers: no layer that makes channels is a Conv2D; they are a, b, last"),
        ({"layers": lambda layer: False}, "layers: no layer that makes channels fits '<lambda>'; they are a, b, last"),
        ({"layers": "last"}, f"no layer chosen by layers can lose channels: {FIXED}"),
        ({"layers": ["a", "last"]}, f"layer 'last' cannot lose channels, received fraction 0.5: {FIXED}"),
        ({"layers": "a", "fractions": {"b": 0.5}}, "fractions: 'b' is none of a, the paths of layers with channels"),
        ({"layers": "a", "fractions": [0.5, 0.5]}, "fractions must hold 1 numbers, one each for a; received 2"),
        ({"fractions": {"last": 0.5}}, f"layer 'last' cannot lose channels, received fraction 0.5: {FIXED}"),
        ({"fractions": {"b": 0.9}}, "layer 'b': fraction 0.9 leaves none of its 6 channels; at most 0.8333"),
        ({"scoring": "best"}, "scoring must be one of operator_norm, .*; received 'best'"),
        ({"scoring": 3}, "scoring must be one of operator_norm, .*; received 3"),
        ({"seed": -1, "scoring": reversed_order}, "seed must be a non-negative integer; received -1"),
        (
            {"scoring": lambda layer, kernel: kernel},
            r"scoring of layer 'a' must be 8 numbers, one for each channel; received shape \(1, 4, 8\)",
        ),
        (
            {"scoring": lambda layer, kernel: None},
            r"scoring of layer 'a' must be 8 numbers, one for each channel; received (shape \(\)|NoneType)",
        ),
        (
            {"scoring": {"a": "high"}, "layers": "a"},
            "scoring of layer 'a' must be 8 numbers, one for each channel; received str",
        ),
        (
            {"scoring": {"a": [1, 2]}, "layers": "a"},
            r"scoring of layer 'a' must be 8 numbers, one for each channel; received shape \(2,\)",
        ),
        (
            {"scoring": {"a": [1, 2, 3, np.nan, 5, 6, np.inf, 8]}, "layers": "a"},
            "scoring of layer 'a' must be finite; received nan for channel 3",
        ),
        ({"scoring": {"a": range(8)}}, "scoring has nothing for layer 'b', which is to lose channels"),
        ({"scoring": {"z": range(8)}}, "scoring: 'z' is none of a, b, last, the paths of layers with channels"),
    ],
)
def test_refused(given, message):
    with pytest.raises(tfprune.InputError, match=f"^{message}$"):
        tfprune.prune_channels(networks.perceptron(), **given)


def test_weights_that_are_no_numbers():
    model = networks.perceptron()
    set_weights(model, {**weights_of(model), "b/kernel": np.full((8, 6), np.inf)})
    for scoring in ("l2", reversed_order):
        with pytest.raises(tfprune.InputError, match=r"^kernel 'b/kernel' holds NaN or infinite weights$"):
            tfprune.prune_channels(model, scoring)


def test_what_keeps_channels_is_named():
    with pytest.raises(tfprune.InputError, match=r"^no layer chosen by layers can .*: 'norm_1' \(LayerNormalization"):
        tfprune.prune_channels(networks.transformer(), "l2", 0.5, layers="ffn_2")
    without = keras.Sequential([keras.Input((4, 3)), L.Softmax()])
    with pytest.raises(tfprune.InputError, match=r"^no layer of the model can lose channels: there is none$"):
        tfprune.prune_channels(without)
