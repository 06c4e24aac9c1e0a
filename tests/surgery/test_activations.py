"""Which activations channels can go around: the same for a model with masks beside it and for one with masks in it."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

from tfprune.layers.convert import masked
from tfprune.surgery.activations import _FUNCTIONS, _NAMES, _ROOMS, is_elementwise, on_constants
from tfprune.surgery.compact import compact

KNOWN = {
    "None": None,
    "name": "relu",
    "keras.activations": keras.activations.gelu,
    "keras.ops": keras.ops.relu,
    "keras.ops.silu": keras.ops.silu,
    "tf.nn.relu": tf.nn.relu,
    "tf.nn.leaky_relu": tf.nn.leaky_relu,
    "tf.nn.tanh": tf.nn.tanh,
    "tf.nn.silu": tf.nn.silu,
    "tf.identity": tf.identity,
    "partial": functools.partial(tf.nn.leaky_relu, alpha=0.4),
    "tf.math.sigmoid": tf.math.sigmoid,
    "layer": lambda: L.LeakyReLU(0.3),
    "activation layer": lambda: L.Activation("selu"),
}


def _model(activation):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 2))
    x = L.Conv2D(6, 3, activation=activation, bias_initializer="random_normal", name="conv")(inputs)
    x = L.Activation(activation or "linear")(L.Conv2D(4, 3, name="second")(x))
    return keras.Model(inputs, L.Dense(3, name="out")(L.GlobalAveragePooling2D()(x)))


def _masks(model):
    masks = {f"{name}/kernel": np.ones(model.get_layer(name).kernel.shape, bool) for name in ("conv", "second", "out")}
    masks["conv/kernel"][..., 1:4] = False
    masks["out/kernel"][2:] = False
    return masks


@pytest.mark.parametrize("name", KNOWN)
def test_channels_go_around_known_activations(name):
    activation = KNOWN[name]() if name.endswith("layer") else KNOWN[name]
    model = _model(activation)
    masks = _masks(model)
    small = compact(model, masks)
    assert small.get_layer("conv").filters == 3 and small.get_layer("second").filters == 2
    weights = [layer.get_weights() for layer in (model.get_layer(path.split("/")[0]) for path in masks)]
    given = np.random.default_rng(0).normal(size=(3, 8, 8, 2)).astype("f4")
    found = small(given).numpy()
    # What pruning leaves, computed without a mask or a copy of anything.
    for (path, mask), values in zip(masks.items(), weights, strict=True):
        model.get_layer(path.split("/")[0]).set_weights([values[0] * mask, *values[1:]])
    expected = model(given).numpy()
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", [name for name in KNOWN if not name.endswith("layer")])
def test_masks_beside_a_model_and_in_it_give_the_same(name):
    model = _model(KNOWN[name])
    masks = _masks(model)
    beside, inside = compact(model, masks), compact(masked(model, masks))
    for one, other in zip(beside.get_weights(), inside.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_options_that_are_numbers_change_nothing():
    for activation in (
        *(functools.partial(tf.nn.leaky_relu, alpha=0.4), functools.partial(keras.activations.gelu, approximate=True)),
        *(functools.partial(functools.partial(keras.ops.elu, alpha=2.0)), tf.identity, tf.nn.silu),
    ):
        assert is_elementwise(activation)
    for activation in (
        functools.partial(tf.nn.leaky_relu, alpha=np.array([0.1, 0.2])),
        functools.partial(keras.ops.threshold, np.array([1.0, 2.0])),
        functools.partial(tf.nn.softmax, axis=-1),
    ):
        assert not is_elementwise(activation)


def test_other_functions_are_not_taken_for_element_wise():
    """Also one that passes for it in most trials, and a list, which has no hash."""
    for activation in (
        *(keras.activations.softmax, keras.activations.log_softmax, keras.activations.glu, tf.nn.crelu, tf.nn.softmax),
        *(keras.ops.softmax, keras.ops.normalize, L.Softmax(), L.PReLU(), L.Activation("softmax"), []),
        *(lambda x: x, lambda x: x + 1e-9 * keras.ops.mean(x, axis=-1, keepdims=True)),
    ):
        assert not is_elementwise(activation)


def test_known_functions_do_the_same_to_every_number():
    """On 7 numbers together, apart, and turned around; constants come out as precise as they went in."""
    values = np.array([-3.2, -1.0, -0.3, 0.0, 0.4, 1.0, 2.7])
    functions = {getattr(room, name) for room in _ROOMS for name in _NAMES if hasattr(room, name)}
    assert {id(function) for function in functions} == _FUNCTIONS - {id(tf.identity)}
    for function in functions - {keras.activations.threshold, keras.ops.threshold}:
        together = on_constants(function)(values)
        apart = [on_constants(function)(values[at : at + 1])[0] for at in range(7)]
        np.testing.assert_allclose(together, apart, rtol=1e-12, err_msg=str(function))
        np.testing.assert_allclose(on_constants(function)(values[::-1])[::-1], together, rtol=1e-12)
        with_unknown = on_constants(function)(np.where(values == 0.4, np.nan, values))
        np.testing.assert_array_equal(np.isnan(with_unknown), values == 0.4)
    expected = 1 / (1 + np.exp(-values))
    np.testing.assert_allclose(on_constants(keras.activations.sigmoid)(values), expected, rtol=1e-15)
