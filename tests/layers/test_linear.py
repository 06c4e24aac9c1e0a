"""Features times matrices is what each layer computes, and what is summed of features is so of all of them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L
from keras import ops

from tfprune.layers.catching import Enough, catching
from tfprune.layers.linear import linear_kernels

CASES = {
    "dense": (lambda: L.Dense(5), (4,)),
    "dense along steps": (lambda: L.Dense(5), (6, 4)),
    "queries": (lambda: L.EinsumDense("abc,cde->abde", (None, 2, 3)), (6, 4)),
    "heads together": (lambda: L.EinsumDense("abcd,cde->abe", (None, 5)), (6, 3, 4)),
    "a matrix for each step": (lambda: L.EinsumDense("abc,bcd->abd", (6, 5)), (6, 4)),
    "dots": (lambda: L.EinsumDense("...x,xy->...y", 5), (6, 4)),
    "turned kernel": (lambda: L.EinsumDense("abc,dc->abd", (None, 5)), (6, 4)),
    "summed label": (lambda: L.EinsumDense("abcd,ebd->ae", (5,)), (6, 3, 4)),
    "causal": (lambda: L.Conv1D(5, 3, padding="causal", dilation_rate=2), (9, 4)),
    "grouped": (lambda: L.Conv2D(6, (3, 2), strides=2, padding="same", groups=2), (7, 8, 4)),
    "dilated": (lambda: L.Conv2D(6, 3, dilation_rate=2), (9, 8, 3)),
    "volume": (lambda: L.Conv3D(4, 2, padding="same"), (4, 5, 3, 2)),
    "depthwise": (lambda: L.DepthwiseConv2D(3, depth_multiplier=2, strides=2, padding="same"), (7, 7, 3)),
    "separable": (lambda: L.SeparableConv2D(5, 3, depth_multiplier=2, padding="same"), (7, 7, 3)),
    "transposed": (lambda: L.Conv2DTranspose(5, 3, strides=2, padding="same"), (4, 5, 3)),
    "padded outputs": (lambda: L.Conv2DTranspose(5, 3, strides=2, output_padding=1), (4, 5, 3)),
    "transposed, dilated": (lambda: L.Conv1DTranspose(5, 3, dilation_rate=2), (6, 3)),
}


@pytest.mark.parametrize("name", CASES)
def test_products_are_those_of_the_layer(name):
    make, shape = CASES[name]
    rng = np.random.default_rng(0)
    model = keras.Sequential([keras.Input(shape), make()])
    (layer,) = model.layers
    for variable in layer.weights:
        variable.assign(rng.normal(size=variable.shape) if variable.name != "bias" else np.zeros(variable.shape))
    x = tf.constant(rng.normal(size=(3, *shape)), tf.float32)
    found = linear_kernels(model)
    assert len(found) == (2 if name == "separable" else 1)
    for path, linear in found.items():
        kernel = getattr(layer, path.rpartition("/")[2]).numpy()
        matrices = linear.matrices(kernel)
        np.testing.assert_array_equal(linear.kernel(matrices).reshape(kernel.shape), kernel)
        features = linear.select(linear.given(x))
        expected = layer(x)
        if path.endswith("depthwise_kernel"):
            expected = ops.depthwise_conv(x, kernel, padding="same")
        products = np.asarray(features @ matrices).transpose(1, 0, 2)  # rows, groups, outputs
        np.testing.assert_allclose(products.reshape(expected.shape), expected, atol=1e-5)
        dense = np.asarray(features, np.float64)
        grams = dense.transpose(0, 2, 1) @ dense
        np.testing.assert_allclose(sum(map(np.asarray, linear.grams(x))), grams, atol=1e-4)
        np.testing.assert_allclose(linear.squares(x), np.diagonal(grams, axis1=1, axis2=2), rtol=1e-5)


def test_patches_are_made_in_parts(monkeypatch):
    monkeypatch.setattr("tfprune.layers.linear._PATCH_BYTES", 1)
    model = keras.Sequential([keras.Input((4, 4, 2)), L.Conv2D(3, 3)])
    x = tf.constant(np.random.default_rng(0).normal(size=(5, 4, 4, 2)), tf.float32)
    (linear,) = linear_kernels(model).values()
    parts = list(linear.grams(x))
    assert len(parts) == 5
    np.testing.assert_allclose(np.diagonal(sum(parts)[0]), linear.squares(x)[0], rtol=1e-5)


def test_kernels_that_no_layer_multiplies_rows_with_are_left_out():
    tokens = keras.Input((6,), dtype="int32")
    x = L.LSTM(4, return_sequences=True)(L.Embedding(9, 4, name="table")(tokens))
    x = L.MultiHeadAttention(2, 3, name="heads")(x, x)
    found = linear_kernels(keras.Model(tokens, L.Dense(2, name="last")(x)))
    parts = ("query", "key", "value", "output")
    assert list(found) == [*(f"heads/{part}_dense.kernel" for part in parts), "last/kernel"]


def test_calls_are_caught_wherever_they_come_from_and_then_no_more():
    inner, outer = L.Dense(3), L.Dense(2)

    @keras.saving.register_keras_serializable("tfprune_linear")
    class Twice(keras.Model):
        def call(self, x):
            return outer(inner(inner(x)))

    model, seen = Twice(), []
    x = np.ones((1, 3), "f4")
    expected = np.asarray(model(x))

    def around(layer, call, args, kwargs):
        seen.append(layer)
        if layer is outer:
            raise Enough
        return call(*args, **kwargs)

    with catching([inner, outer], around), pytest.raises(Enough):
        model(x)
    assert seen == [inner, inner, outer] and "call" not in vars(inner)
    np.testing.assert_array_equal(model(x), expected)
    assert len(seen) == 3
