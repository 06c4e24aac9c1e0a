"""Weight decay."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.layers.convert import masked
from tfprune.training.decay import AllDecay, KernelDecay


def test_kernel_decay_is_that_of_keras():
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.01))])
    with tf.GradientTape() as tape:
        loss = tf.add_n(plain.losses)
    expected = tape.gradient(loss, plain.layers[0].kernel.value)
    model = masked(plain)
    decay = KernelDecay(model, 0.01)
    np.testing.assert_allclose(decay.gradient(model.layers[0].kernel), expected, rtol=1e-6)
    np.testing.assert_allclose(decay.value(), loss, rtol=1e-6)
    assert decay.gradient(model.layers[0].bias) is None


def test_decay_of_all_takes_biases_and_normalisation_but_no_averages():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization()])
    arrays = [np.random.default_rng(0).normal(size=variable.shape) for variable in model.variables]
    model.set_weights(arrays)
    decay = AllDecay(model, 0.1)
    expected = 0.05 * sum((variable.numpy() ** 2).sum() for variable in model.trainable_variables)
    assert len(model.trainable_variables) == 4
    assert decay.value() == pytest.approx(expected, rel=1e-6)
    for variable in model.trainable_variables:
        np.testing.assert_allclose(decay.gradient(variable), 0.1 * variable.numpy(), rtol=1e-6)
    assert decay.gradient(model.layers[1].moving_mean) is None
