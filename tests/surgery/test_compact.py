"""Every rule of compacting on networks whose numbers can be worked out by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

import tfprune
from tfprune.errors import InputError
from tfprune.layers.convert import masked
from tfprune.surgery.compact import compact
from tfprune.surgery.trace import Trace, register_rule


def _zero(layer, *channels, axis=-1, bias=None):
    """Sets a layer's kernel to 0 for some channels along an axis, and its bias there."""
    kernel = layer.kernel.numpy()
    np.moveaxis(kernel, axis, 0)[list(channels)] = 0
    layer.kernel.assign(kernel)
    if bias is not None:
        values = layer.bias.numpy()
        values[list(channels)] = bias
        layer.bias.assign(values)


def test_a_dead_chain_of_units_vanishes(lively, check):
    """Unit 1 has no way out, unit 2 no way in and a bias of 0.5: 0.5 · w moves into the next bias."""
    model = lively(keras.Sequential([keras.Input((3,)), L.Dense(4, "relu", name="a"), L.Dense(2, name="b")]))
    first, second = model.layers
    _zero(first, 2, bias=0.5)
    _zero(second, 1, axis=0)
    kernel, bias = second.kernel.numpy(), second.bias.numpy()
    small = check(model)
    assert small.get_layer("a").kernel.shape == (3, 2) and small.get_layer("b").kernel.shape == (2, 2)
    np.testing.assert_array_equal(small.get_layer("b").kernel, kernel[[0, 3]])
    np.testing.assert_allclose(small.get_layer("b").bias, bias + 0.5 * kernel[2], rtol=1e-6)


def test_a_negative_bias_before_relu_folds_to_nothing(lively, check):
    model = lively(keras.Sequential([keras.Input((3,)), L.Dense(4, "relu"), L.Dense(2, use_bias=False, name="b")]))
    _zero(model.layers[0], 2, bias=-0.5)
    small = check(model)
    assert small.get_layer("b").kernel.shape == (3, 2) and not small.get_layer("b").use_bias


def test_a_layer_without_bias_gains_one(lively, check):
    model = lively(keras.Sequential([keras.Input((3,)), L.Dense(4, "tanh"), L.Dense(2, use_bias=False, name="b")]))
    _zero(model.layers[0], 2, bias=0.7)
    row = model.layers[1].kernel.numpy()[2]
    small = check(model)
    np.testing.assert_allclose(small.get_layer("b").bias, np.tanh(0.7) * row, rtol=1e-6)


@pytest.mark.parametrize("padding, kernel, left", [("valid", 3, 3), ("same", 1, 3), ("same", 3, 4)])
def test_constants_fold_into_convolutions_that_do_not_pad(padding, kernel, left, lively, check):
    stack = [L.Conv2D(4, 3, name="a"), L.Conv2D(2, kernel, padding=padding, use_bias=False, name="b")]
    model = lively(keras.Sequential([keras.Input((6, 6, 2)), *stack]))
    _zero(model.layers[0], 1, bias=0.5)
    total = 0.5 * model.layers[1].kernel.numpy()[:, :, 1].sum((0, 1))
    small = check(model)
    assert small.get_layer("a").filters == left
    assert small.get_layer("b").use_bias == (left == 3)
    if left == 3:
        np.testing.assert_allclose(small.get_layer("b").bias, total, rtol=1e-5)


def test_a_strided_padded_window_that_fits_exactly_does_not_pad(lively, check):
    """Windows of 2 with strides of 2 on 6 pixels: `same` adds nothing."""
    layers = [L.Conv2D(4, 1, name="a"), L.Conv2D(2, 2, strides=2, padding="same"), L.Flatten(), L.Dense(2)]
    model = lively(keras.Sequential([keras.Input((6, 6, 2)), *layers]))
    _zero(model.layers[0], 1, bias=0.5)
    assert check(model).get_layer("a").filters == 3


def test_constant_channels_before_padding_become_one(lively, check):
    """Constants 0.5, -2 and 0: the last leaves, -2 carries the kernel K₂ + 0.5 / -2 · K₁."""
    layers = [L.Conv2D(4, 1, name="a"), L.Conv2D(2, 3, padding="same", name="b")]
    model = lively(keras.Sequential([keras.Input((5, 5, 2)), *layers]))
    for channel, bias in ((1, 0.5), (2, -2.0), (3, 0.0)):
        _zero(model.layers[0], channel, bias=bias)
    kernel = model.layers[1].kernel.numpy()
    small = check(model)
    np.testing.assert_array_equal(small.get_layer("a").bias, model.layers[0].bias.numpy()[[0, 2]])
    np.testing.assert_allclose(
        small.get_layer("b").kernel[:, :, 1], kernel[:, :, 2] - 0.25 * kernel[:, :, 1], rtol=1e-5
    )


def test_batch_norm_of_a_vanished_channel_vanishes(lively, check):
    """Without way in, the channel is relu(β − γ μ / sqrt(σ² + ε))."""
    norm = L.BatchNormalization(name="norm")
    layers = [
        L.Conv2D(3, 3, use_bias=False, name="a"),
        norm,
        L.ReLU(),
        L.GlobalAveragePooling2D(),
        L.Dense(2, name="b"),
    ]
    model = lively(keras.Sequential([keras.Input((5, 5, 2)), *layers]))
    _zero(model.layers[0], 0)
    gamma, beta, mean, variance = (weight.numpy()[0] for weight in norm.weights)
    constant = max(0, beta - gamma * mean / np.sqrt(variance + norm.epsilon))
    bias = model.layers[-1].bias.numpy() + constant * model.layers[-1].kernel.numpy()[0]
    small = check(model)
    assert [weight.shape for weight in small.get_layer("norm").weights] == [(2,)] * 4
    np.testing.assert_allclose(small.get_layer("b").bias, bias, rtol=1e-5)


def test_a_scale_of_zero_cuts_what_is_before_it(lively, check):
    """γ = 0 for channel 1: what makes it is not needed, its offset moves on."""
    layers = [L.Dense(4, "relu", name="a"), L.Dense(3, name="b"), L.BatchNormalization(), L.Dense(2)]
    model = lively(keras.Sequential([keras.Input((3,)), *layers]))
    _, b, norm, _ = model.layers
    norm.gamma.assign([1.0, 0.0, 2.0])
    _zero(b, 0, axis=0)
    b.kernel.assign(np.where(np.arange(12).reshape(4, 3) == 1, 5.0, b.kernel.numpy()))  # unit 0 feeds channel 1 alone
    small = check(model)
    assert small.get_layer("a").units == 3 and small.get_layer("b").units == 2


def test_a_scale_of_zero_that_stays_needs_nothing_before_it(lively, check):
    """The offset of channel 0 stays in front of padding; the unit that fed the channel leaves all the same."""
    layers = [
        L.Conv2D(4, 1, name="a"),
        L.Conv2D(3, 1, name="b"),
        L.BatchNormalization(),
        L.Conv2D(2, 3, padding="same"),
    ]
    model = lively(keras.Sequential([keras.Input((4, 4, 2)), *layers]))
    _, b, norm, _ = model.layers
    norm.gamma.assign([0.0, 1.0, 2.0])
    kernel = b.kernel.numpy()
    kernel[:, :, 3, 1:] = 0
    b.kernel.assign(kernel)
    small = check(model)
    assert (small.get_layer("a").filters, small.get_layer("b").filters) == (3, 3)


def test_padding_by_a_layer_makes_constants_differ_at_the_border(lively, check):
    layers = [L.Conv2D(4, 1, name="a"), L.ZeroPadding2D(1), L.Conv2D(2, 3)]
    model = lively(keras.Sequential([keras.Input((4, 4, 2)), *layers]))
    _zero(model.layers[0], 1, bias=0.5)
    _zero(model.layers[0], 2, bias=0.0)
    assert check(model).get_layer("a").filters == 3


def _residual(lively, last="valid"):
    x = inputs = keras.Input((5, 5, 2))
    x = L.Conv2D(4, 1, name="stem")(x)
    branch = L.Conv2D(4, 3, padding="same", name="branch")(L.Conv2D(3, 1, activation="relu", name="inner")(x))
    x = L.Add()([x, branch])
    return lively(keras.Model(inputs, L.Conv2D(2, 3, padding=last, name="last")(x)))


def test_added_channels_leave_together_or_not_at_all(lively, check):
    model = _residual(lively)
    _zero(model.get_layer("stem"), 0, 1, bias=0.3)  # 0 and 1 are constant in the stem
    _zero(model.get_layer("branch"), 0, 2, bias=-0.1)  # 0 and 2 in the branch
    bias, kernel = model.get_layer("last").bias.numpy(), model.get_layer("last").kernel.numpy()
    small = check(model)
    assert (small.get_layer("stem").filters, small.get_layer("branch").filters) == (3, 3)
    assert small.get_layer("inner").filters == 3
    np.testing.assert_allclose(small.get_layer("last").bias, bias + 0.2 * kernel[:, :, 0].sum((0, 1)), rtol=1e-4)


def test_a_dead_branch_keeps_one_channel_inside(lively, check):
    model = _residual(lively)
    _zero(model.get_layer("branch"), 0, 1, 2, 3)
    small = check(model)
    assert small.get_layer("inner").filters == 1
    assert small.get_layer("branch").kernel.shape == (3, 3, 1, 4)


def test_a_residual_branch_that_is_cut_leaves_the_sum(lively, check):
    """Channels 2 and 3 of the sum have no way out, neither directly nor through the branch."""
    model = _residual(lively, "same")
    _zero(model.get_layer("last"), 2, 3, axis=2)
    _zero(model.get_layer("inner"), 3, axis=2)
    small = check(model)
    assert small.get_layer("stem").filters == 3 and small.get_layer("branch").filters == 3


def test_concatenated_channels_leave_one_by_one(lively, check):
    x = inputs = keras.Input((5, 5, 2))
    left, right = L.Conv2D(3, 3, name="left")(x), L.Conv2D(4, 3, name="right")(x)
    x = L.BatchNormalization(name="norm")(L.Concatenate()([left, right]))
    model = lively(keras.Model(inputs, L.Conv2D(2, 3, padding="same", name="last")(x)))
    _zero(model.get_layer("last"), 1, 3, 4, axis=2)  # channel 1 of left, 0 and 1 of right
    kernel, gamma = model.get_layer("last").kernel.numpy(), model.get_layer("norm").gamma.numpy()
    small = check(model)
    assert (small.get_layer("left").filters, small.get_layer("right").filters) == (2, 2)
    np.testing.assert_array_equal(small.get_layer("last").kernel, kernel[:, :, [0, 2, 5, 6]])
    np.testing.assert_array_equal(small.get_layer("norm").gamma, gamma[[0, 2, 5, 6]])


def test_flattening_multiplies_channels_into_positions(lively, check):
    """2×2 positions of 3 channels: rows 1, 4, 7, 10 belong to channel 1. One that is alive keeps all four."""
    layers = [L.Conv2D(3, 2, name="conv"), L.Flatten(), L.Dense(2, name="dense")]
    model = lively(keras.Sequential([keras.Input((3, 3, 1)), *layers]))
    kernel = model.layers[-1].kernel.numpy()
    _zero(model.layers[-1], 1, 4, 7, axis=0)
    assert check(model).get_layer("conv").filters == 3
    _zero(model.layers[-1], 10, axis=0)
    small = check(model)
    np.testing.assert_array_equal(small.get_layer("dense").kernel, kernel[[0, 2, 3, 5, 6, 8, 9, 11]])


def test_reshape_follows_its_channels(lively, check):
    """(4, 4, 3) as (2, 8, 3), (16, 3) and (4, 12): a channel stays at its place in each."""
    layers = [L.Conv2D(3, 1, name="conv"), L.Reshape((2, 8, 3)), L.Reshape((-1, 3)), L.Reshape((4, 12)), L.Dense(2)]
    model = lively(keras.Sequential([keras.Input((4, 4, 2)), *layers]))
    _zero(model.layers[0], 1, bias=0.5)
    small = check(model)
    assert [layer.output.shape[1:] for layer in small.layers[:4]] == [(4, 4, 2), (2, 8, 2), (16, 2), (4, 8)]


def test_reshape_that_tears_channels_apart_keeps_them(lively, check):
    layers = [L.Dense(6, name="a"), L.Reshape((3, 2)), L.Dense(2)]
    model = lively(keras.Sequential([keras.Input((3,)), *layers]))
    _zero(model.layers[0], 0, 1, bias=0.0)
    assert check(model).get_layer("a").units == 6


def test_depthwise_filters_leave_with_their_channel(lively, check):
    """Two filters per channel: channel 1 leaves only when both lead nowhere."""
    layers = [L.Conv2D(3, 1, name="a"), L.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise"), L.Conv2D(2, 1)]
    model = lively(keras.Sequential([keras.Input((5, 5, 2)), *layers]))
    bias = model.layers[1].bias.numpy()
    _zero(model.layers[2], 2, axis=2)
    assert check(model).get_layer("a").filters == 3
    _zero(model.layers[2], 3, axis=2)
    small = check(model)
    assert small.get_layer("depthwise").kernel.shape == (3, 3, 2, 2)
    np.testing.assert_array_equal(small.get_layer("depthwise").bias, bias[[0, 1, 4, 5]])


def test_a_constant_through_depthwise_without_padding(lively, check):
    """Channel 1 is 0.5, then 0.5 · Σ filter + bias, which moves into the last bias."""
    layers = [L.Conv2D(3, 1, name="a"), L.DepthwiseConv2D(3, name="depthwise"), L.Conv2D(2, 1, name="last")]
    model = lively(keras.Sequential([keras.Input((5, 5, 2)), *layers]))
    a, depthwise, last = model.layers
    _zero(a, 1, bias=0.5)
    constant = 0.5 * depthwise.kernel.numpy()[:, :, 1, 0].sum() + depthwise.bias.numpy()[1]
    bias = last.bias.numpy() + constant * last.kernel.numpy()[0, 0, 1]
    small = check(model)
    assert small.get_layer("depthwise").kernel.shape == (3, 3, 2, 1)
    np.testing.assert_allclose(small.get_layer("last").bias, bias, rtol=1e-5)


@pytest.mark.parametrize("padding, left", [("valid", 2), ("same", 3)])
def test_separable(padding, left, lively, check):
    layers = [L.Conv2D(3, 1, name="a"), L.SeparableConv2D(4, 3, padding=padding, name="separable"), L.Conv2D(2, 1)]
    model = lively(keras.Sequential([keras.Input((5, 5, 2)), *layers]))
    _zero(model.layers[0], 1, bias=0.5)
    _zero(model.layers[2], 0, 3, axis=2)
    small = check(model)
    shapes = [small.get_layer("separable").depthwise_kernel.shape, small.get_layer("separable").pointwise_kernel.shape]
    assert shapes == [(3, 3, left, 1), (1, 1, left, 2)]


def test_transposed_convolutions_fold_only_zeros(lively, check):
    layers = [L.Conv2D(4, 1, name="a"), L.Conv2DTranspose(3, 3, strides=2, name="up"), L.Conv2D(2, 1)]
    model = lively(keras.Sequential([keras.Input((4, 4, 2)), *layers]))
    _zero(model.layers[0], 0, bias=0.5)
    _zero(model.layers[0], 1, bias=0.0)
    _zero(model.layers[2], 2, axis=2)
    small = check(model)
    assert small.get_layer("up").kernel.shape == (3, 3, 2, 3)


@pytest.mark.parametrize(
    "conv, transposed, pool, shape",
    [
        (L.Conv1D, L.Conv1DTranspose, L.GlobalMaxPooling1D, (9, 2)),
        (L.Conv3D, L.Conv3DTranspose, L.GlobalMaxPooling3D, (4, 4, 3, 2)),
    ],
)
def test_other_ranks(conv, transposed, pool, shape, lively, check):
    padding = "causal" if conv is L.Conv1D else "same"
    layers = [conv(4, 1), conv(3, 3, padding=padding, name="b"), transposed(3, 2), pool(), L.Dense(2)]
    model = lively(keras.Sequential([keras.Input(shape), *layers]))
    _zero(model.layers[0], 0, bias=0.5)
    _zero(model.layers[0], 1, bias=0.0)
    _zero(model.layers[1], 2, bias=0.0)
    small = check(model)
    assert tuple(small.get_layer("b").kernel.shape[-2:]) == (3, 2)


def _squeeze_and_excite(lively):
    x = inputs = keras.Input((5, 5, 2))
    x = L.Conv2D(4, 3, name="stem")(x)
    gate = L.Reshape((1, 1, 4))(L.GlobalAveragePooling2D()(x))
    gate = L.Conv2D(4, 1, activation="sigmoid", name="excite")(L.Conv2D(3, 1, activation="relu", name="squeeze")(gate))
    x = L.Conv2D(2, 3, padding="same", name="last")(L.Multiply()([x, gate]))
    return lively(keras.Model(inputs, x))


def test_squeeze_and_excite(lively, check):
    """What the last layer does not read still feeds the gates; a channel of zeros needs no gate."""
    model = _squeeze_and_excite(lively)
    _zero(model.get_layer("last"), 0, axis=2)
    assert check(model).get_layer("stem").filters == 4
    _zero(model.get_layer("stem"), 1, bias=0.0)
    small = check(model)
    assert small.get_layer("stem").filters == 3
    assert small.get_layer("squeeze").kernel.shape == (1, 1, 3, 3)
    assert small.get_layer("excite").kernel.shape == (1, 1, 3, 3)


def test_shared_layers_shrink_where_all_uses_agree(lively, check):
    left, right = keras.Input((4,)), keras.Input((4,))
    shared = L.Dense(4, "relu", name="shared")
    a, b = L.Dense(3, name="a"), L.Dense(3, name="b")
    outputs = [L.Dense(2, name="one")(shared(a(left))), L.Dense(2, name="two")(shared(b(right)))]
    model = lively(keras.Model([left, right], outputs))
    _zero(model.get_layer("a"), 0, bias=0.5)
    _zero(model.get_layer("b"), 0, bias=0.4)  # another constant: it cannot move into the one bias
    _zero(model.get_layer("one"), 1, 2, axis=0)
    _zero(model.get_layer("two"), 2, 3, axis=0)
    small = check(model)
    assert small.get_layer("shared").kernel.shape == (3, 3)
    assert small.get_layer("a").units == 3
    _zero(model.get_layer("b"), 0, bias=0.5)
    assert check(model).get_layer("shared").kernel.shape == (2, 3)


def test_nested_models(lively, check):
    """The inner model's input and output lose channels; used twice, only what is dead in both uses."""
    inner = keras.Sequential(
        [keras.Input((4,)), L.Dense(5, "relu", name="hidden"), L.Dense(4, name="out")], name="inner"
    )
    x = inputs = keras.Input((3,))
    x = inner(inner(L.Dense(4, name="first")(x)))
    model = lively(keras.Model(inputs, L.Dense(2, name="last")(x)))
    _zero(model.get_layer("inner").get_layer("hidden"), 2, axis=0)
    _zero(model.get_layer("last"), 2, axis=0)
    _zero(model.get_layer("inner").get_layer("out"), 4, axis=0)
    small = check(model)
    assert small.get_layer("inner").input_shape == small.get_layer("inner").output_shape == (None, 3)
    assert small.get_layer("inner").get_layer("hidden").kernel.shape == (3, 4)
    assert small.get_layer("first").units == 3


@pytest.mark.parametrize(
    "equation, shape, cut",
    [("btc,cd->btd", (None, 4), 3), ("btc,dc->btd", (None, 4), 3), ("btc,tcd->btd", (None, 4), 4)],
)
def test_einsum_dense_is_cut_where_it_is_dense(equation, shape, cut, lively, check):
    layers = [
        L.EinsumDense(equation, (5, 4), bias_axes="d", name="a"),
        L.EinsumDense("btc,cd->btd", (None, 2), name="b"),
    ]
    model = lively(keras.Sequential([keras.Input((5, 3)), *layers]))
    _zero(model.layers[0], 1, axis=0 if "dc" in equation else -1, bias=0.5)
    small = check(model)
    assert small.get_layer("b").kernel.shape == (cut, 2)
    assert (small.get_layer("b").bias is not None) == (cut == 3)


def test_lookups_of_texts_and_numbers_are_passed_over(lively):
    lookup, numbers, parts = (
        L.StringLookup(vocabulary=["a", "b"]),
        L.IntegerLookup(vocabulary=[3, 4]),
        L.Discretization([0]),
    )
    text = L.TextVectorization(output_sequence_length=2, vocabulary=["a", "b"])
    words, ids, real = keras.Input((2,), dtype="string"), keras.Input((2,), dtype="int64"), keras.Input((1,))
    line = keras.Input((1,), dtype="string")
    hashed = L.HashedCrossing(3, output_mode="one_hot")((words[:, :1], ids[:, :1]))
    tokens = L.Concatenate()([lookup(words), numbers(ids), parts(real), text(line), L.Hashing(4)(words)])
    x = L.Concatenate()([L.Flatten()(L.Embedding(8, 2)(tokens)), hashed, L.CategoryEncoding(4)(numbers(ids))])
    outputs = L.Dense(2)(L.Dense(4, activation="relu", name="a")(x))
    model = lively(keras.Model([words, ids, real, line], outputs))
    _zero(model.get_layer("a"), 1, bias=0.0)
    small = compact(model)
    given = [tf.constant([["a", "z"]]), tf.constant([[3, 9]], tf.int64), tf.constant([[1.0]]), tf.constant([["b a"]])]
    assert small.get_layer("a").units == 3
    np.testing.assert_allclose(small(given), model(given), rtol=1e-5)


def test_layers_that_mix_features_keep_their_channels(lively, check):
    for mixing in (
        L.LayerNormalization(),
        L.GroupNormalization(2),
        L.Softmax(),
        L.Conv2D(4, 1, groups=2, name="mixing"),
    ):
        layers = [L.Conv2D(4, 1, name="a"), mixing, L.Conv2D(2, 1)]
        model = lively(keras.Sequential([keras.Input((3, 3, 2)), *layers]))
        _zero(model.layers[0], 1, bias=0.0)
        assert check(model).get_layer("a").filters == 4


def test_operations_of_keras(lively, check):
    """Gates, sums and products written as operators; a quotient keeps its channels."""
    x = inputs = keras.Input((5, 5, 2))
    x = L.Conv2D(4, 3, name="a")(x)
    x = keras.ops.relu(2 - x) * keras.ops.mean(x, axis=(1, 2), keepdims=True) / 3 + 0.5
    y = L.Conv2D(3, 1, name="b")(keras.ops.concatenate([x, L.Conv2D(3, 1, name="c")(x)], -1))
    z = L.Conv2D(3, 1, activation="softplus", name="d")(y) / L.Conv2D(3, 1, activation="softplus", name="e")(y)
    model = lively(keras.Model(inputs, L.Conv2D(2, 1, name="last")(z)))
    _zero(model.get_layer("a"), 1, bias=2.0)  # relu(2 - 2) is 0, and 0.5 moves on
    _zero(model.get_layer("b"), 4, axis=2)
    _zero(model.get_layer("last"), 1, axis=2)
    small = check(model)
    assert [small.get_layer(name).filters for name in "abcde"] == [3, 3, 2, 3, 3]


def test_masks_are_baked_in_and_masked_models_become_plain(lively):
    model = lively(keras.Sequential([keras.Input((3,)), L.Dense(4, "relu", name="a"), L.Dense(2, name="b")]))
    masks = {"a/kernel": np.ones((3, 4), bool), "b/kernel": np.ones((4, 2), bool)}
    masks["b/kernel"][1] = False
    masks["a/kernel"][0, 0] = False
    small = tfprune.compact(model, masks)
    assert type(small.get_layer("a")) is L.Dense and small.get_layer("a").units == 3
    assert small.get_layer("a").kernel[0, 0] == 0
    other = tfprune.compact(masked(model, masks))
    np.testing.assert_array_equal(other.get_layer("b").kernel, small.get_layer("b").kernel)
    assert (
        tfprune.compact(masked(model, masks), {path: np.ones_like(mask) for path, mask in masks.items()})
        .get_layer("a")
        .units
        == 4
    )


def test_a_network_that_is_pruned_away_keeps_its_outputs(lively, check):
    model = lively(keras.Sequential([keras.Input((6, 6, 2)), L.Conv2D(5, 3), L.ReLU(), L.Flatten(), L.Dense(3)]))
    masks = {path: np.zeros(variable.shape, bool) for path, variable in tfprune.prunable(model).items()}
    small = check(model, tfprune.Masks(masks))
    assert small.count_params() == 9 * 2 + 1 + 16 * 3 + 3


def test_saved_and_loaded(lively, check, tmp_path):
    model = lively(keras.Sequential([keras.Input((6, 6, 2)), L.Conv2D(5, 3), L.Flatten(), L.Dense(3)]))
    _zero(model.layers[0], 1, bias=0.5)
    small = check(model)
    small.save(tmp_path / "small.keras")
    loaded = keras.saving.load_model(tmp_path / "small.keras")
    x = np.ones((1, 6, 6, 2), np.float32)
    np.testing.assert_array_equal(loaded(x), small(x))


@keras.saving.register_keras_serializable("tests_surgery")
class Strange(L.Layer):
    def call(self, x):
        return x[..., ::-1] * 2


def test_unknown_layers_are_named_until_they_are_taught(lively, check):
    model = lively(keras.Sequential([keras.Input((3,)), L.Dense(4, name="a"), Strange(name="odd"), L.Dense(2)]))
    with pytest.raises(InputError, match=r"'odd'.*Strange.*tfprune.surgery.trace.register_rule\(Strange\)"):
        compact(model, unknown="refuse")
    with pytest.raises(InputError, match="'lambda'"):
        lambdas = [L.Dense(4), L.Lambda(lambda x: x * 2, name="lambda"), L.Dense(2)]
        compact(keras.Sequential([keras.Input((3,)), *lambdas]), unknown="refuse")
    register_rule(Strange)(Trace.keep)
    _zero(model.layers[0], 1, bias=0.5)
    try:
        assert check(model).get_layer("a").units == 4
    finally:
        from tfprune.surgery import trace

        del trace._RULES._layers[Strange]


def test_masks_of_another_model_are_refused(lively):
    model = keras.Sequential([keras.Input((3,)), L.Dense(4, name="a")])
    with pytest.raises(InputError, match="'b/kernel'"):
        compact(model, {"b/kernel": np.ones((3, 4), bool)})
    with pytest.raises(InputError, match="shape"):
        compact(model, {"a/kernel": np.ones((3, 3), bool)})
