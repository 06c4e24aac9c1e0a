"""What is computed of constants is as precise as the model, and layers with odd variables come through."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfprune.surgery.compact import compact
from tfprune.surgery.trace import Trace, register_rule

ACTIVATIONS = ("relu", "sigmoid", "gelu", "softplus", "tanh", "silu", "mish", "hard_sigmoid", "selu", "celu")


def _drawn(model, seed=0):
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        spread = rng.normal(0, 0.5, variable.shape)
        variable.assign(np.abs(spread) + 0.5 if variable.name in ("gamma", "moving_variance") else spread)
    return model


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_double_precision_stays(activation, fold):
    """Half of the channels are constants, which move through activation, normalisation and the next biases."""
    policy = {"dtype": "float64"}
    inputs = keras.Input((7, 3), dtype="float64")
    x = L.Conv1D(8, 3, activation=activation, use_bias=True, name="a", **policy)(inputs)
    x = L.BatchNormalization(name="norm", **policy)(x)
    x = L.Activation(activation, **policy)(x)
    x = L.DepthwiseConv1D(3, name="depthwise", **policy)(x)
    x = L.Conv1D(6, 1, use_bias=False, name="b", **policy)(x)
    outputs = L.Dense(2, name="out", **policy)(L.GlobalAveragePooling1D(**policy)(x))
    model = _drawn(keras.Model(inputs, outputs))
    kernel = model.get_layer("a").kernel.numpy()
    kernel[..., ::2] = 0
    model.get_layer("a").kernel.assign(kernel)
    small = compact(model, fold_batchnorm=fold)
    assert small.count_params() < 0.7 * model.count_params()
    assert {variable.dtype for variable in small.weights} == {"float64"}
    given = np.random.default_rng(1).normal(size=(4, 7, 3))
    expected = model(given).numpy()
    assert np.abs(small(given).numpy() - expected).max() <= 1e-12 * np.abs(expected).max()


@keras.saving.register_keras_serializable("test")
class _Unnamed(L.Layer):
    def build(self, input_shape):
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer="random_normal")
        self.shift = self.add_weight(shape=(input_shape[-1],), initializer="random_normal")

    def call(self, inputs):
        return inputs * self.scale + self.shift


register_rule(_Unnamed)(Trace.keep)


def test_weights_without_names_come_through():
    inputs = keras.Input((4,))
    model = _drawn(keras.Model(inputs, L.Dense(2)(_Unnamed(name="odd")(L.Dense(5)(inputs)))))
    given = np.random.default_rng(1).normal(size=(3, 4)).astype("f4")
    np.testing.assert_allclose(compact(model)(given), model(given), rtol=1e-6)
