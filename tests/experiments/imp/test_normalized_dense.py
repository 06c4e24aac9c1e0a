"""The dense layer that normalises its own input: the folded form against the formula written out."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.experiments.imp.normalized_dense import NormalizedMaskedDense

NAMES = ("kernel", "bias", "gamma", "beta")


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    layer = NormalizedMaskedDense(4, momentum=0.9, activation="relu")
    layer.build((None, 6))
    for name in NAMES:
        variable = getattr(layer, name)
        variable.assign(rng.normal(size=variable.shape))
    layer.kernel_mask.assign(rng.random((6, 4)) < 0.5)
    layer.bias_mask.assign([1, 0, 1, 1])
    return layer, tf.constant(rng.normal(3, 2, size=(8, 6)).astype("f4")), rng.normal(size=(8, 4)).astype("f4")


def _written_out(layer, inputs, mean, variance):
    normalised = layer.gamma.value * (inputs - mean) / tf.sqrt(variance + 1e-10) + layer.beta.value
    return tf.nn.relu(normalised @ (layer.kernel * layer.kernel_mask) + layer.bias * layer.bias_mask)


def test_outputs_and_gradients(case):
    layer, inputs, weights = case
    variables = [getattr(layer, name).value for name in NAMES]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        folded = layer(inputs, training=True)
        plain = _written_out(layer, inputs, tf.reduce_mean(inputs, 0), tf.math.reduce_variance(inputs, 0))
        losses = [tf.reduce_sum(outputs * weights) for outputs in (folded, plain)]
    np.testing.assert_allclose(folded, plain, atol=1e-5)
    for variable in (*variables, inputs):
        ours, theirs = (tape.gradient(loss, variable) for loss in losses)
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
    kernel_gradient = tape.gradient(losses[0], variables[0]).numpy()
    assert (kernel_gradient[layer.kernel_mask.numpy() == 0] == 0).all()
    assert tape.gradient(losses[0], variables[1]).numpy()[1] == 0


def test_running_averages(case):
    layer, inputs, _ = case
    np.testing.assert_allclose(layer(inputs), _written_out(layer, inputs, 0.0, 1.0), atol=1e-5)
    mean, variance = inputs.numpy().mean(0), inputs.numpy().var(0)
    layer(inputs, training=True)
    np.testing.assert_allclose(layer.running_mean, mean, atol=1e-6)  # the first batch replaces the start
    np.testing.assert_allclose(layer.running_variance, variance, rtol=1e-5)
    layer(2 * inputs, training=True)
    np.testing.assert_allclose(layer.running_mean, 0.9 * mean + 0.1 * 2 * mean, rtol=1e-5)
    np.testing.assert_allclose(layer.running_variance, 0.9 * variance + 0.1 * 4 * variance, rtol=1e-5)
    np.testing.assert_allclose(layer(inputs), _written_out(layer, inputs, 1.1 * mean, 1.3 * variance), atol=1e-4)
    layer.reset_averages()
    assert (layer.running_mean.numpy() == 0).all()
    layer(inputs, training=True)
    np.testing.assert_allclose(layer.running_mean, mean, atol=1e-6)


def test_the_product_can_be_replaced(case):
    layer, inputs, _ = case
    expected = layer(inputs).numpy()
    calls = []

    def sparse_engine(rows, kernel, mask, dtype):
        calls.append(dtype)
        return tf.sparse.sparse_dense_matmul(rows, tf.sparse.from_dense(kernel * mask))

    layer.product = sparse_engine
    np.testing.assert_allclose(layer(inputs), expected, atol=1e-5)
    assert calls == [None]


def test_saved_and_loaded_with_its_mask(case, tmp_path):
    layer, inputs, _ = case
    model = keras.Sequential([keras.Input((6,)), layer])
    expected = model(inputs).numpy()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(inputs), expected)
    np.testing.assert_array_equal(loaded.layers[-1].kernel_mask.numpy(), layer.kernel_mask.numpy())
    assert loaded.layers[-1].momentum == 0.9
