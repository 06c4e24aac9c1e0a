"""Models without their lowest filters: they compute what the model does with those filters' channels at 0."""

import keras
import numpy as np
import pytest
from keras import layers as L

import tfprune
from tfprune.layers.weights import set_weights, weights_of
from tfprune.pruning.filter_scores import FILTER_SCORES
from tfprune.pruning.prune_filters import filter_layers, filter_scores, prune_filters
from tfprune.surgery.groups import channel_groups


def drawn(model, seed=0):
    """All weights drawn, so that a bias or an offset is its filter's fingerprint. Returns the model."""
    rng = np.random.default_rng(seed)

    def draw(path, shape):
        if "kernel" in path:
            return rng.normal(0, np.sqrt(2 / np.prod(shape[: -2 if "depthwise" in path else -1])), shape)
        center = path.endswith(("gamma", "moving_variance"))
        return rng.uniform(center - 0.5, center + 0.5, shape)

    set_weights(model, {path: draw(path, array.shape) for path, array in weights_of(model).items()})
    return model


def kept_of(model, small, layer):
    """Which filters of a layer are left, found by their biases."""
    return np.flatnonzero(np.isin(model.get_layer(layer).bias, small.get_layer(layer).bias)).tolist()


# Networks with a gate in front of everything that reads channels which may leave: gate(tensor, the layers that make its
# channels side by side).


def plain(gate):
    x = inputs = keras.Input((8, 8, 3))
    x = L.ReLU()(L.BatchNormalization(name="norm")(L.Conv2D(8, 3, padding="same", name="a")(x)))
    x = L.Conv2D(6, 3, activation="relu", name="b")(L.MaxPooling2D()(gate(x, "a")))
    return inputs, L.Dense(4, name="last")(L.GlobalAveragePooling2D()(gate(x, "b")))


def residual(gate):
    x = inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(8, 3, padding="same", name="a")(x)
    y = L.Conv2D(6, 3, padding="same", activation="relu", name="b")(gate(x, "a"))
    y = L.BatchNormalization(name="norm")(L.Conv2D(8, 3, padding="same", name="c")(gate(y, "b")))
    x = L.ReLU()(L.Add()([x, y]))
    return inputs, L.Conv2D(4, 3, name="last")(gate(x, "a"))


def concatenated(gate):
    x = inputs = keras.Input((8, 8, 3))
    a, b = L.Conv2D(8, 3, name="a")(x), L.Conv2D(6, 3, name="b")(x)
    x = L.BatchNormalization(name="norm")(L.Concatenate()([a, b]))
    return inputs, L.Conv2D(4, 3, name="last")(gate(x, "a", "b"))


def squeeze_excite(gate):
    x = inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(8, 3, activation="relu", name="a")(x)
    s = L.Dense(4, "relu", name="squeeze")(L.GlobalAveragePooling2D()(gate(x, "a")))
    s = L.Reshape((1, 1, 8))(L.Dense(8, "sigmoid", name="excite")(s))
    return inputs, L.Conv2D(4, 3, name="last")(gate(L.Multiply()([x, s]), "a"))


def depthwise(gate):
    x = inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(8, 1, name="a")(x)
    x = L.ReLU(6.0)(L.BatchNormalization(name="norm")(L.DepthwiseConv2D(3, padding="same", name="depthwise")(x)))
    return inputs, L.Conv2D(4, 1, name="last")(gate(x, "a"))


def separable(gate):
    x = inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(8, 3, name="a")(x)
    x = L.SeparableConv2D(6, 3, activation="relu", name="b")(gate(x, "a"))
    return inputs, L.Conv2D(4, 3, name="last")(gate(x, "b"))


def transposed(gate):
    x = inputs = keras.Input((8, 8, 3))
    x = L.Conv2DTranspose(8, 3, strides=2, activation="relu", name="a")(x)
    return inputs, L.Conv2D(4, 3, name="last")(gate(x, "a"))


def flattened(gate):
    x = inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(8, 3, strides=2, activation="relu", name="a")(x)
    return inputs, L.Dense(4, name="last")(L.Flatten()(gate(x, "a")))


def one_dimensional(gate):
    x = inputs = keras.Input((16, 3))
    x = L.Conv1D(8, 3, padding="causal", activation="relu", name="a")(x)
    return inputs, L.Conv1D(4, 3, name="last")(gate(x, "a"))


def three_dimensional(gate):
    x = inputs = keras.Input((6, 6, 6, 2))
    x = L.Conv3D(8, 3, activation="relu", name="a")(x)
    return inputs, L.Conv3D(4, 3, name="last")(gate(x, "a"))


def nested(gate):
    x = block = keras.Input((8, 8, 8))
    x = L.Conv2D(6, 3, activation="relu", name="inner")(x)
    block = keras.Model(block, L.Conv2D(4, 1, name="end")(gate(x, "block/inner")), name="block")
    x = inputs = keras.Input((8, 8, 3))
    return inputs, block(gate(L.Conv2D(8, 3, padding="same", name="a")(x), "a"))


NETWORKS = [plain, residual, concatenated, squeeze_excite, depthwise, separable, transposed, flattened]
NETWORKS += [one_dimensional, three_dimensional, nested]


def through(x, *makers):
    return x


def images(model, batch=3):
    return np.random.default_rng(0).normal(size=(batch, *model.input_shape[1:])).astype(np.float32)


@pytest.mark.parametrize("build", NETWORKS, ids=lambda build: build.__name__)
def test_the_pruned_model_is_the_model_with_channels_at_zero(build):
    model = drawn(keras.Model(*build(through)))
    before = weights_of(model)
    small = prune_filters(model, "l2", 0.5)
    weights, left = weights_of(model), weights_of(small)
    assert all(np.array_equal(array, before[path]) for path, array in weights.items())
    assert list(left) == list(weights) and small.output_shape == model.output_shape

    def gate(x, *makers):
        stays = [np.isin(weights[f"{layer}/bias"], left[f"{layer}/bias"]) for layer in makers]
        assert all(one.sum() == len(one) // 2 for one in stays)
        return x * keras.ops.convert_to_tensor(np.concatenate(stays).astype(np.float32))

    gated = keras.Model(*build(gate))
    set_weights(gated, weights)
    given = images(model)
    expected = gated(given).numpy()
    assert np.abs(expected - model(given)).max() > 1e-2 * np.abs(expected).max()
    np.testing.assert_allclose(small(given), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("scoring", FILTER_SCORES)
def test_the_lowest_scores_leave(scoring):
    model = drawn(keras.Model(*plain(through)))
    small = prune_filters(model, scoring, {"a": 0.25, "b": 0.5}, seed=3)
    scores = filter_scores(model, scoring, seed=3)
    assert list(scores) == ["a", "b"]
    for layer, count in (("a", 6), ("b", 3)):
        assert scores[layer].dtype == np.float32
        assert kept_of(model, small, layer) == sorted(np.argsort(scores[layer])[-count:])


def test_weights_and_running_averages_go_with_their_filters():
    layers = [L.Conv2D(4, 3, name="a"), L.BatchNormalization(name="norm"), L.Flatten(), L.Dense(2, name="last")]
    model = drawn(keras.Sequential([keras.Input((4, 4, 2)), *layers]))
    whole = weights_of(model)
    whole["a/kernel"] *= np.float32([0.1, 3, 2, 0.2])
    set_weights(model, whole)
    small = weights_of(prune_filters(model, "l1_norm", 0.5))
    np.testing.assert_array_equal(small["a/kernel"], whole["a/kernel"][..., [1, 2]])
    for name in ("a/bias", "norm/gamma", "norm/beta", "norm/moving_mean", "norm/moving_variance"):
        np.testing.assert_array_equal(small[name], whole[name][[1, 2]])
    np.testing.assert_array_equal(small["last/kernel"], whole["last/kernel"][[1, 2, 5, 6, 9, 10, 13, 14]])


def pointwise(name, *norms, inputs=1):
    """A layer 1 × 1 whose filters have these norms."""
    return {f"{name}/kernel": np.full((1, 1, inputs, len(norms)), norms, np.float32) / inputs}


def test_coupled_filters_have_one_score():
    """(1, 0.5, 0.25, 0.75) + (0.05, 1, 0.5, 0) keeps filters 0 and 1; either alone would keep 3 or 2."""
    x = inputs = keras.Input((4, 4, 1))
    x = L.Conv2D(4, 1, name="a")(x)
    x = L.Add()([x, L.Conv2D(4, 1, name="c")(L.Conv2D(2, 1, name="b")(x))])
    model = drawn(keras.Model(inputs, L.Conv2D(2, 1, name="last")(x)))
    c = pointwise("c", 1, 20, 10, 0, inputs=2)
    set_weights(model, weights_of(model) | pointwise("a", 4, 2, 1, 3) | c)
    small = prune_filters(model, "l1_norm", {"a": 0.5})
    assert kept_of(model, small, "a") == kept_of(model, small, "c") == [0, 1]
    assert small.get_layer("b").filters == 2


def test_depthwise_filters_count_for_their_channel():
    """(1, 0.9) + (0.1 + 0.2, 1 + 0): channel 1 stays."""
    layers = [L.Conv2D(2, 1, name="a"), L.DepthwiseConv2D(1, depth_multiplier=2, name="d"), L.Conv2D(2, 1)]
    model = drawn(keras.Sequential([keras.Input((4, 4, 1)), *layers]))
    own = pointwise("a", 1, 0.9) | {"d/kernel": np.float32([[0.1, 0.2], [1, 0]]).reshape(1, 1, 2, 2)}
    set_weights(model, weights_of(model) | own)
    small = prune_filters(model, "l1_norm", 0.5)
    assert kept_of(model, small, "a") == [1]
    np.testing.assert_array_equal(small.get_layer("d").kernel.numpy().ravel(), np.float32([1, 0]))


def test_a_sum_over_a_concatenation_empties_no_layer():
    """Both filters of a are the lowest of c's five channels; one of them stays."""
    x = inputs = keras.Input((4, 4, 1))
    joined = L.Concatenate()([L.Conv2D(2, 1, name="a")(x), L.Conv2D(3, 1, name="b")(x)])
    x = L.Add()([joined, L.Conv2D(5, 1, name="c")(x)])
    model = drawn(keras.Model(inputs, L.Conv2D(2, 1, name="last")(x)))
    set_weights(model, weights_of(model) | pointwise("c", 1, 2, 3, 5, 4))
    small = prune_filters(model, "l1_norm", {"c": 0.5})
    assert (len(kept_of(model, small, "a")), len(kept_of(model, small, "b"))) == (1, 1)
    assert len(kept_of(model, small, "c")) == 2


def test_equal_scores_leave_from_the_first_on():
    layers = [L.Conv2D(10, 1, name="a"), L.Conv2D(2, 1, name="last")]
    model = drawn(keras.Sequential([keras.Input((4, 4, 1)), *layers]))
    set_weights(model, weights_of(model) | pointwise("a", *[1] * 10))
    assert kept_of(model, prune_filters(model, "l1_norm", 0.3), "a") == [3, 4, 5, 6, 7, 8, 9]
    assert kept_of(model, prune_filters(model, "l1_norm", 0.9), "a") == [9]  # (1 - 0.9) · 10 is 0.9999999999999998


@pytest.mark.parametrize(
    "fractions, left",
    [
        (0.5, [4, 3]),
        (0, [8, 6]),
        ([0.25, 0], [6, 6]),
        ((0, 0.5), [8, 3]),
        (np.array([0.5, 0.9]), [4, None]),
        ({"b": 0.5}, [8, 3]),
        ({}, [8, 6]),
    ],
)
def test_fractions(fractions, left):
    model = keras.Model(*plain(through))
    if None in left:
        with pytest.raises(
            tfprune.InputError, match=r"'b': fraction 0.9 leaves none of its 6 filters; at most 0.8333$"
        ):
            prune_filters(model, "l2", fractions)
        fractions, left = np.array([0.5, 0.8333]), [4, 1]
    assert list(filter_layers(prune_filters(model, "l2", fractions)).values()) == left


def test_layers_by_name_and_path():
    model = keras.Model(*nested(through))
    assert filter_layers(model) == {"a": 8, "block/inner": 6, "block/end": 4}
    for name in ("inner", "block/inner"):
        assert list(filter_layers(prune_filters(model, "l2", {name: 0.5})).values()) == [8, 3, 4]


def test_grouped_and_depthwise_convolutions_make_no_filters_of_their_own():
    layers = [L.Conv2D(4, 1, name="a"), L.Conv2D(4, 1, groups=2), L.DepthwiseConv2D(3), L.Conv2D(6, 1, name="b")]
    model = keras.Sequential([keras.Input((4, 4, 2)), *layers, L.SeparableConv2D(2, 1, name="c")])
    assert filter_layers(model) == {"a": 4, "b": 6, "c": 2}
    assert filter_layers(prune_filters(model, "l2", 0.5)) == {"a": 4, "b": 3, "c": 2}


def test_masked_weights_count_as_zero():
    layers = [L.Conv2D(3, 1, use_bias=False, name="a"), L.Conv2D(2, 1, name="last")]
    model = drawn(keras.Sequential([keras.Input((4, 4, 2)), *layers]))
    masks = {**tfprune.Masks.dense(model), "a/kernel": np.array([[1, 1, 0], [0, 1, 1]], bool).reshape(1, 1, 2, 3)}
    kernel = np.float32([[3, 1, 9], [9, 1, 1]]).reshape(1, 1, 2, 3)  # masked: 3, 2, 1
    set_weights(model, weights_of(model) | {"a/kernel": kernel})
    small = prune_filters(tfprune.masked(model, masks), "l1_norm", 0.5)
    assert type(small.get_layer("a")) is L.Conv2D
    np.testing.assert_array_equal(small.get_layer("a").kernel.numpy().ravel(), [3, 0])


def test_random_pruning_follows_its_seed():
    model = drawn(keras.Model(*plain(through)))
    first, again, other = (kept_of(model, prune_filters(model, "random", 0.5, seed), "a") for seed in (1, 1, 2))
    assert first == again != other


def test_a_layers_random_scores_do_not_depend_on_what_else_is_pruned():
    model = drawn(keras.Model(*plain(through)))
    both, one = prune_filters(model, "random", 0.5), prune_filters(model, "random", {"b": 0.5})
    assert kept_of(model, both, "b") == kept_of(model, one, "b")


def shared():
    x = inputs = keras.Input((4, 4, 3))
    conv = L.Conv2D(3, 1, name="shared")
    return keras.Model(inputs, L.Conv2D(2, 1, name="last")(conv(conv(x))))


def outermost():
    return keras.Sequential([keras.Input((4, 4, 3)), L.Conv2D(2, 1, name="only")])


def two_blocks():
    x = inputs = keras.Input((4, 4, 3))
    for name in ("left", "right"):
        block = [keras.Input((4, 4, 3)), L.Conv2D(4, 1, name="conv"), L.Conv2D(3, 1, name="end")]
        x = keras.Sequential(block, name=name)(x)
    return keras.Model(inputs, x)


FIXED = "the model's outputs or an operation that mixes features need all of them"


@pytest.mark.parametrize(
    "model, fractions, message",
    [
        (plain, {"b": 0.99}, "layer 'b': fraction 0.99 leaves none of its 6 filters; at most 0.8333"),
        (plain, [0.5], "fractions must hold 2 numbers, one each for a, b; received 1"),
        (plain, 1, r"fractions must be a number in \[0, 1\); received 1"),
        (plain, 30, r"fractions must be a number in \[0, 1\); received 30; did you mean 0\.3\?"),
        (plain, -0.1, r"fractions must be a number in \[0, 1\); received -0.1"),
        (plain, True, r"fractions must be a number in \[0, 1\); received True"),
        (plain, "half", r"fractions must be a number in \[0, 1\); received 'half'"),
        (plain, [0.5, float("nan")], r"fraction of 'b' must be a number in \[0, 1\); received nan"),
        (plain, {"a": "half"}, r"fraction of 'a' must be a number in \[0, 1\); received 'half'"),
        (plain, {"z": 0.5}, "fractions: 'z' is none of a, b, the paths of convolutions with filters"),
        (two_blocks, {"conv": 0.5}, "fractions: 'conv' could be any of left/conv, right/conv, the paths of .*"),
        (two_blocks, {"left/con": 0.5}, r"fractions: .* with filters; did you mean 'left/conv'\?"),
        (residual, [0.5, 0.5, 0.25, 0], "layers 'a' and 'c' lose the same filters and .*; received 0.5 and 0.25"),
        (residual, {"a": 0.5, "c": 0}, "layers 'a' and 'c' lose the same filters and .*; received 0.5 and 0"),
        (residual, {"last": 0.5}, f"layer 'last' cannot lose filters, received fraction 0.5: {FIXED}"),
        (residual, [0.5, 0.5, 0.5, 0.1], f"layer 'last' cannot lose filters, received fraction 0.1: {FIXED}"),
        (shared, {"shared": 0.5}, "no convolution of the model can lose filters: .*"),
        (outermost, 0.5, f"no convolution of the model can lose filters: {FIXED}"),
        (outermost, {"only": 0.5}, f"no convolution of the model can lose filters: {FIXED}"),
    ],
)
def test_refused(model, fractions, message):
    model = keras.Model(*model(through)) if model in (plain, residual) else model()
    with pytest.raises(tfprune.InputError, match=f"^{message}$"):
        prune_filters(model, "l2", fractions)


def test_one_number_leaves_every_convolution_a_filter():
    """Of 8 and 6: 0.85 keeps 1.2 and 0.9, 0.9 keeps 0.8 and 0.6; the best of each stays."""
    model = keras.Model(*plain(through))
    scores = {"a": np.arange(8), "b": [5, 4, 3, 2, 1, 0]}
    for fraction, named in ((0.85, "'b'"), (0.9, "'a', 'b'")):
        told = f"^a single filter stays where fraction {fraction} would leave none: {named}$"
        with pytest.warns(UserWarning, match=told) as met:
            small = prune_filters(model, scores, fraction)
        assert met[0].filename == __file__
        kept = [small.get_layer(name).kernel.numpy() for name in "ab"]
        whole = [model.get_layer(name).kernel.numpy() for name in "ab"]
        np.testing.assert_array_equal(kept[0], whole[0][..., [7]])
        np.testing.assert_array_equal(kept[1], whole[1][:, :, [7]][..., [0]])


def test_one_number_leaves_a_single_filter_alone():
    """A map of attention has one channel; where several layers are named, it is told as before."""
    x = inputs = keras.Input((4, 4, 3))
    x = L.Conv2D(6, 1, activation="relu", name="a")(x)
    x = L.Multiply()([x, L.Conv2D(1, 1, activation="sigmoid", name="map")(x)])
    model = drawn(keras.Model(inputs, L.Conv2D(2, 1, name="last")(x)))
    with pytest.warns(UserWarning, match=r"^a single filter stays where fraction 0\.5 would leave none: 'alone'$"):
        x = L.Conv2D(1, 1, name="alone")(inputs)
        bottleneck = keras.Model(inputs, L.Conv2D(2, 1)(L.Conv2D(4, 1, name="wide")(x)))
        assert filter_layers(prune_filters(bottleneck, "l2", 0.5))["wide"] == 2
    assert list(filter_layers(prune_filters(model, "l2", 0.5)).values()) == [3, 1, 2]
    with pytest.raises(tfprune.InputError, match=r"^layer 'alone': fraction 0\.5 leaves none of its 1 filters"):
        prune_filters(bottleneck, "l2", {"alone": 0.5})
    narrow = keras.Sequential([keras.Input((4, 4, 3)), L.Conv2D(1, 1), L.Conv2D(2, 1)])
    with pytest.raises(tfprune.InputError, match=r"can lose filters: each has a single one$"):
        prune_filters(narrow, "l2", 0.5)
    assert list(filter_layers(prune_filters(narrow, "l2", 0)).values()) == [1, 2]


def test_a_layer_given_twice_is_refused():
    x = inputs = keras.Input((4, 4, 3))
    x = keras.Sequential([keras.Input((4, 4, 3)), L.Conv2D(4, 1, name="conv")], name="block")(x)
    model = keras.Model(inputs, L.Conv2D(2, 1, name="last")(x))
    with pytest.raises(tfprune.InputError, match=r"^fractions: 'conv' is the layer 'block/conv', which has a fraction"):
        prune_filters(model, "l2", {"block/conv": 0.25, "conv": 0.5})


def test_other_models_are_refused():
    dense = keras.Sequential([keras.Input((3,)), L.Dense(4), L.Dense(2)])
    with pytest.raises(tfprune.InputError, match=r"^no convolution of the model can lose filters: there is none$"):
        prune_filters(dense)

    class Own(keras.Model):
        pass

    with pytest.raises(tfprune.InputError, match="has no weights yet"):
        prune_filters(Own())
    with pytest.raises(
        tfprune.InputError, match=r"scoring must be one of operator_norm, .*, random, .*; received 'best'"
    ):
        prune_filters(keras.Model(*plain(through)), "best")


def test_mobilenet_is_itself_with_channels_at_zero():
    model = drawn(keras.applications.MobileNetV2(weights=None, input_shape=(32, 32, 3), alpha=0.35, classes=10))
    small = prune_filters(model)
    left, weights = weights_of(small), weights_of(model)
    zeroed = {path: array.copy() for path, array in weights.items()}
    for group in channel_groups(model):
        offsets = next((part for part in group.parts if part.path.endswith("/beta")), None)
        if offsets is None:
            continue
        gone = offsets.channels[~np.isin(weights[offsets.path], left[offsets.path])]
        assert len(gone) == group.size / 2
        for part in group.parts:
            last = weights[part.path].ndim - 1
            if last > 0 and part.axis == last - 1 and "depthwise" not in part.path:  # what reads them
                np.moveaxis(zeroed[part.path], part.axis, 0)[np.isin(part.channels, gone)] = 0
    set_weights(model, zeroed)
    given = images(model)
    expected = model(given).numpy()
    assert expected.std(0).max() > 1e-3
    np.testing.assert_allclose(small(given), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["EfficientNetB0", "DenseNet121"])
def test_half_of_a_published_network(name):
    model = getattr(keras.applications, name)(weights=None, input_shape=(32, 32, 3), classes=10)
    small = prune_filters(model)
    whole, left = filter_layers(model), filter_layers(small)
    assert list(left) == list(whole)
    for path, count in whole.items():
        assert left[path] == count // 2
    assert small.count_params() < 0.3 * model.count_params()
    assert np.isfinite(small(images(model))).all()
