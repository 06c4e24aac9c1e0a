"""The linear network, the rules of Keras operations, and what happens where no rule is known."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L
from keras import ops

from tfprune.connectivity import graph
from tfprune.connectivity.graph import Walk, evaluate, ones_input
from tfprune.connectivity.reachability import Reachability, effective_masks
from tfprune.errors import InputError
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable


def _kernels(model):
    return {path: tf.abs(variable.value) for path, variable in prunable(model).items()}


def test_linear_network_by_hand():
    """Two inputs, a hidden layer of two, one output: sums of products along paths, without bias and activation."""
    inputs = keras.Input((2,))
    x = L.Dense(2, activation="sigmoid", bias_initializer="ones", name="hidden")(inputs)
    x = L.BatchNormalization()(x)
    model = keras.Model(inputs, L.Dense(1, activation="tanh", name="out")(x) * 3 + 5)
    kernels = {"hidden/kernel": tf.constant([[1.0, 2.0], [3.0, 4.0]]), "out/kernel": tf.constant([[10.0], [100.0]])}
    with tf.GradientTape() as tape:
        tape.watch(kernels)
        (output,) = evaluate(model, kernels)
    assert output.numpy().item() == (1 + 3) * 10 + (2 + 4) * 100
    gradients = tape.gradient(output, kernels)
    np.testing.assert_array_equal(gradients["hidden/kernel"], [[10, 100], [10, 100]])
    np.testing.assert_array_equal(gradients["out/kernel"], [[4], [6]])
    (doubled,) = evaluate(model, kernels, inputs=[tf.constant([[2.0, 2.0]])])
    assert doubled.numpy().item() == 2 * output.numpy().item()


def test_linear_network_averages_where_reachability_sums():
    inputs = keras.Input((4, 4, 1))
    x = L.MaxPooling2D(2)(inputs)
    x = L.Average()([x, x])
    model = keras.Model(inputs, L.Flatten()(L.GlobalMaxPooling2D()(x)))
    (linear,) = evaluate(model, {})
    (boolean,) = evaluate(model, {}, boolean=True)
    assert linear.numpy().item() == 1
    assert boolean.numpy().item() == 4 * 2 * 4


def test_agrees_with_a_keras_model_that_is_linear_itself():
    """Every kernel layer's rule is the layer's own product."""
    inputs = keras.Input((6, 6, 3))
    x = inputs
    for layer in (
        L.Conv2D(4, 3, strides=2, padding="same", use_bias=False),
        L.DepthwiseConv2D(2, depth_multiplier=2, use_bias=False),
        L.SeparableConv2D(3, 2, padding="same", use_bias=False),
        L.Conv2DTranspose(3, 3, strides=2, padding="same", use_bias=False),
        L.Reshape((4, 12)),
        L.Conv1D(5, 3, padding="causal", use_bias=False),
        L.SeparableConv1D(4, 2, use_bias=False),
        L.Conv1DTranspose(3, 2, use_bias=False),
        L.DepthwiseConv1D(2, use_bias=False),
        L.EinsumDense("abc,cd->abd", (3, 6), bias_axes=None),
        L.Reshape((3, 3, 2, 1)),
        L.Conv3D(2, 2, use_bias=False),
        L.Conv3DTranspose(2, 2, use_bias=False),
        L.Flatten(),
        L.Dense(4, use_bias=False),
    ):
        x = layer(x)
    model = keras.Model(inputs, x)
    kernels = {path: variable.value for path, variable in prunable(model).items()}
    assert len(kernels) == 14
    images = tf.random.stateless_normal((2, 6, 6, 3), (1, 2))
    np.testing.assert_allclose(evaluate(model, kernels, inputs=[images])[0], model(images), rtol=1e-5, atol=1e-7)


def test_step_is_applied_after_each_layer():
    model = keras.Sequential([keras.Input((3,)), L.Dense(3), L.ReLU(), L.Dense(2)])
    kernels = {path: 1e30 * tf.ones(kernel.shape) for path, kernel in _kernels(model).items()}
    assert not np.isfinite(evaluate(model, kernels)[0]).any()
    (bounded,) = evaluate(model, kernels, step=lambda x: x / tf.reduce_max(x))
    np.testing.assert_array_equal(bounded, [[1, 1]])


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda x: x + 1, [1, 1, 1]),
        (lambda x: 1 - x, [1, 1, 1]),
        (lambda x: x * np.array([1.0, 0.0, -2.0], "float32"), [1, 0, 1]),
        (lambda x: ops.relu(x / 3) ** 2, [1, 1, 1]),
        (lambda x: x * ops.sigmoid(x), [1, 1, 1]),
        (lambda x: x[:, :2], [1, 1, 0]),
        (lambda x: ops.concatenate([x[:, 1:2], x[:, 1:2]], axis=-1), [0, 1, 0]),
        (lambda x: ops.reshape(ops.expand_dims(x, 1), (-1, 3)), [1, 1, 1]),
        (lambda x: ops.transpose(ops.stack([x, x], axis=1), (0, 2, 1))[:, 2], [0, 0, 1]),
        (lambda x: ops.split(x, 3, axis=-1)[0], [1, 0, 0]),
        (lambda x: ops.mean(x, axis=-1), [1, 1, 1]),
        (lambda x: ops.sum(ops.pad(x, ((0, 0), (2, 0)))[:, :4], axis=-1), [1, 1, 0]),
        (lambda x: ops.maximum(x[:, :1], x[:, 2:]), [1, 0, 1]),
        (lambda x: ops.matmul(x, np.array([[0.0], [0.0], [-1.0]], "float32")), [0, 0, 1]),
        (lambda x: ops.einsum("bi,bi->b", x, x), [1, 1, 1]),
        (lambda x: L.Dot(-1, normalize=True)([x, x[:, ::-1]]), [1, 1, 1]),
    ],
)
def test_keras_operations(build, expected):
    """Which columns of the first kernel lead to an output."""
    inputs = keras.Input((2,))
    model = keras.Model(inputs, build(L.Dense(3, name="first")(inputs)))
    masks = {"first/kernel": np.array([[1, 1, 1], [0, 0, 0]], bool)}
    np.testing.assert_array_equal(effective_masks(model, masks)["first/kernel"][0], expected)


@pytest.mark.parametrize("biased", [False, True])
def test_product_of_two_branches(biased):
    """A factor that has lost its paths is 0 without a bias and a constant with one."""
    inputs = keras.Input((2,))
    a, b = (L.Dense(2, use_bias=biased, name=name)(inputs) for name in "ab")
    model = keras.Model(inputs, a * b)
    whole = np.ones((2, 2), bool)
    effective = effective_masks(model, {"a/kernel": whole, "b/kernel": np.eye(2, dtype=bool)[:, [0, 0]]})
    np.testing.assert_array_equal(effective["b/kernel"], [[1, 1], [0, 0]])
    half = {"a/kernel": whole, "b/kernel": np.array([[0, 1], [0, 0]], bool)}
    np.testing.assert_array_equal(effective_masks(model, half)["a/kernel"], whole if biased else [[0, 1], [0, 1]])
    np.testing.assert_array_equal(effective_masks(model, half, convention="paper")["a/kernel"], [[0, 1], [0, 1]])


@keras.saving.register_keras_serializable("tfprune_test")
class Doubled(L.Layer):
    def call(self, inputs):
        return ops.concatenate([inputs, inputs], axis=-1)


@keras.saving.register_keras_serializable("tfprune_test")
class Backwards(L.Dense):
    def call(self, inputs, training=None):
        return super().call(inputs[:, ::-1])


def test_unknown_layers_are_named_until_they_are_taught():
    model = keras.Sequential([keras.Input((3,)), L.Dense(2), Doubled(name="twice"), L.Dense(2)])
    with pytest.raises(InputError, match=r"'twice'.*Doubled.*register_rule\(Doubled\)"):
        Reachability(model, unknown="refuse")
    graph.register_rule(Doubled)(lambda walk, layer, inputs: layer.call(inputs))
    try:
        masks = Masks.dense(model)
        assert Reachability(model)(masks) == masks
    finally:
        del graph._RULES._layers[Doubled]


def test_a_subclass_that_computes_something_else_is_unknown():
    model = keras.Sequential([keras.Input((3,)), Backwards(2, name="odd")])
    with pytest.raises(InputError, match=r"'odd'.*Backwards"):
        Reachability(model, unknown="refuse")


def test_unknown_operation_is_named():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, ops.cumprod(inputs, axis=-1))
    with pytest.raises(InputError, match="Cumprod"):
        Reachability(model, unknown="refuse")


def test_open_sizes_need_an_input_shape():
    model = keras.Sequential([keras.Input((None, None, 3)), L.Conv2D(2, 3), L.GlobalAveragePooling2D()])
    with pytest.raises(InputError, match="input_shape"):
        Reachability(model)
    with pytest.raises(InputError, match="input_shape"):
        Reachability(model, (8, 8, 4))
    assert Reachability(model, (8, 8, 3)).uses == {next(iter(prunable(model))): 36}


def test_integer_inputs_and_tables():
    inputs = keras.Input((5,), dtype="int32")
    x = L.Embedding(10, 4)(inputs)
    x = L.MultiHeadAttention(2, 2)(x, x)
    model = keras.Model(inputs, L.Dense(2, name="head")(L.GlobalAveragePooling1D()(x)))
    assert [tensor.dtype for tensor in ones_input(model)] == [tf.float32]
    masks = {path: np.ones(kernel.shape, bool) for path, kernel in prunable(model).items()}
    masks["head/kernel"] = np.eye(4, 2, dtype=bool)
    effective = effective_masks(model, masks)
    np.testing.assert_array_equal(effective["head/kernel"], masks["head/kernel"])
    assert effective.kept == masks["head/kernel"].sum() + 10 * 4 + 3 * 16 + 2 * 2 * 2  # of four outputs, two are read


def test_missing_kernel():
    model = keras.Sequential([keras.Input((3,)), L.Dense(2, name="only")])
    with pytest.raises(InputError, match="'only/kernel'"):
        evaluate(model, {})


@pytest.mark.parametrize(
    ("equation", "shape", "output", "uses"),
    [
        ("abc,cd->abd", (5, 6), (5, 2), 5),
        ("abc,bcd->abd", (5, 6), (5, 2), 1),
        ("ab...,bc->ac...", (5, 6), (2, 6), 6),
        ("...c,cd->...d", (4, 5, 6), (2,), 20),
    ],
)
def test_uses_of_an_einsum(equation, shape, output, uses):
    model = keras.Sequential([keras.Input(shape), L.EinsumDense(equation, output, name="e")])
    assert Reachability(model).uses == {"e/kernel": uses}


def test_uses_of_shared_and_strided_layers():
    inputs = keras.Input((8, 8, 3))
    shared = L.Conv2D(3, 3, padding="same", name="shared")
    x = L.Conv2DTranspose(2, 3, strides=2, name="up")(L.Conv2D(3, 3, strides=2, name="down")(shared(shared(inputs))))
    model = keras.Model(inputs, x)
    walk = Walk(model, _kernels(model))
    walk.run(model, ones_input(model))
    assert walk.uses == {"shared/kernel": 128, "down/kernel": 9, "up/kernel": 9}


@pytest.mark.parametrize("as_dict", [True, False])
def test_nested_model_called_with_a_dict(as_dict):
    a, b = keras.Input((2,), name="z"), keras.Input((3,), name="a")
    outputs = L.Concatenate()([L.Dense(1, name="of_z")(a), L.Dense(1, name="of_a")(b)])
    inner = keras.Model({"z": a, "a": b} if as_dict else [a, b], outputs, name="inner")
    outer = keras.Input((2,)), keras.Input((3,))
    model = keras.Model(outer, L.Dense(1, name="head")(inner({"z": outer[0], "a": outer[1]})))
    masks = {**Masks.dense(model), "head/kernel": np.array([[1], [0]], bool)}
    assert effective_masks(model, masks).counts == {"inner/of_z/kernel": 2, "inner/of_a/kernel": 0, "head/kernel": 1}
