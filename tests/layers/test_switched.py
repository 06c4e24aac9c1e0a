"""Masked layers that switch to their kept weights: outputs and gradients are those of the masked product."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tfprune
from tfprune.layers import switched
from tfprune.layers.kernel_masks import masked_kernels
from tfprune.layers.switched import Switches, switchable

pytest.importorskip("numba")
RNG = np.random.default_rng(0)


def _model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 16))
    x = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu", name="conv")(inputs)
    x = layers.Flatten()(x)
    x = layers.Dense(64, "tanh", name="dense")(x)
    model = tfprune.masked(keras.Model(inputs, layers.Dense(5, name="small")(x)))
    for kernel, mask in masked_kernels(model):
        mask.assign(RNG.random(kernel.shape) < 0.1)
    return model


@pytest.fixture
def model(monkeypatch):
    # Pays for kernels of 4096 weights and more, of which a quarter is left, in batches of 8.
    monkeypatch.setattr(switched, "_BATCHES", (4, 8))
    monkeypatch.setattr(
        switched,
        "pays_for",
        lambda layer, kept, size: (
            4 * kept <= np.prod(layer.kernel.shape) and np.prod(layer.kernel.shape) >= 4096 and size >= 8
        ),
    )
    return _model()


def _step(model, switches=None):
    """A compiled function: images -> outputs, gradients of kernels and biases."""

    @tf.function
    def step(images):
        with tf.GradientTape() as tape:
            outputs = model(images, training=True)
            loss = tf.reduce_sum(outputs**2)
        return [outputs, *tape.gradient(loss, [variable.value for variable in model.trainable_variables])]

    if switches is not None:
        with switches.on():
            step = step.get_concrete_function(tf.TensorSpec((8, 8, 8, 16)))
    return step


def test_both_ways_give_the_same_in_one_compiled_function(model):
    images = tf.constant(RNG.normal(size=(8, 8, 8, 16)).astype(np.float32))
    dense = _step(model)(images)
    assert list(switchable(model)) == ["conv", "dense"]  # a kernel of 320 weights never pays
    switches = Switches(switchable(model))
    step = _step(model, switches)
    assert all(np.array_equal(one, other) for one, other in zip(dense, step(images), strict=True))
    switches.choose()
    assert switches.kept == ["conv", "dense"]
    for one, other in zip(dense, step(images), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    # Gradients of pruned weights are 0, not small.
    gradients = dict(zip((variable.path for variable in model.trainable_variables), step(images)[1:], strict=True))
    for kernel, mask in masked_kernels(model):
        assert not gradients[kernel.path].numpy()[~mask.numpy()].any()


def test_masks_that_change_are_seen_by_what_is_compiled(model):
    images = tf.constant(RNG.normal(size=(8, 8, 8, 16)).astype(np.float32))
    switches = Switches(switchable(model))
    switches.choose()
    step = _step(model, switches)
    before = step(images)[0].numpy()
    for _, mask in masked_kernels(model):
        mask.assign(np.logical_and(mask.numpy(), RNG.random(mask.shape) < 0.5))
    after = step(images)[0].numpy()
    assert not np.allclose(before, after)
    np.testing.assert_allclose(after, model(images), rtol=1e-4, atol=1e-5)


def test_small_batches_are_computed_densely(model):
    images = tf.constant(RNG.normal(size=(7, 8, 8, 16)).astype(np.float32))
    expected = model(images).numpy()
    switches = Switches(switchable(model))
    switches.choose()
    with switches.on():
        assert switches.kept == ["conv", "dense"] and np.array_equal(model(images), expected)
