"""Layers of kept weights that are computed at once: which ones, and that nothing else changes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("numba")

from tfprune.experiments.imp.normalized_dense import NormalizedMaskedDense
from tfprune.experiments.imp.normalized_kept import NormalizedKeptDense
from tfprune.layers.joined import joined
from tfprune.layers.kept import kept_copy
from tfprune.layers.kept_layers import SparseDense
from tfprune.training.feeds import Pixels, normalise

PIXELS = Pixels(np.linspace(0, 255, 30, dtype=np.float32), 1 / 50)


def _dense(units, activation="relu"):
    return NormalizedMaskedDense(units, activation=activation)


def _kept(inputs, outputs):
    rng = np.random.default_rng(0)
    model = keras.Model(inputs, outputs)
    for layer in model.layers:
        if isinstance(layer, NormalizedMaskedDense):
            layer.kernel_mask.assign(rng.random(layer.kernel.shape) < 0.5)
    return kept_copy(model, lambda layer, mask: isinstance(layer, NormalizedMaskedDense))


def _chain(*activations):
    x = inputs = keras.Input((30,))
    for number, activation in enumerate(activations):
        x = _dense(12 - number, activation)(x)
    return _kept(inputs, x)


def _branches():
    """The output of the first layer is used twice; what follows it on both sides is a run of two."""
    inputs = keras.Input((30,))
    x = _dense(12)(inputs)
    one, other = (_dense(5)(_dense(8)(x)) for _ in range(2))
    return _kept(inputs, keras.layers.Add()([one, other]))


def _shared():
    inputs = keras.Input((12,))
    layer = _dense(12)
    return _kept(inputs, _dense(3)(layer(layer(inputs))))


def _by_keyword():
    inputs = keras.Input((30,))
    return _kept(inputs, _dense(8)(inputs=_dense(12)(inputs=inputs)))


def _with_others():
    inputs = keras.Input((6, 5))
    x = keras.layers.Flatten()(inputs)
    x = _dense(10)(_dense(12)(x))
    return _kept(inputs, keras.layers.Dense(3)(x))


MODELS = {
    "chain": (lambda: _chain("relu", "relu", None), [3]),
    "linear": (lambda: _chain(None, "relu", "softmax"), [3]),
    "tanh": (lambda: _chain("relu", "tanh", "relu"), []),  # only the last one may have another activation
    "branches": (_branches, [2, 2]),
    "shared": (_shared, []),
    "keyword": (_by_keyword, []),
    "others": (_with_others, [2]),
    "alone": (lambda: _chain("relu"), []),
}


def _trained(model, quick, x):
    """Outputs of a batch in training, gradients, and what the averages are after it."""
    with tf.GradientTape() as tape:
        outputs = quick(x, training=True)
        loss = tf.reduce_sum(outputs**2)
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    averages = [np.asarray(variable) for variable in model.non_trainable_variables]
    return [outputs.numpy(), *(each.numpy() for each in gradients), *averages]


@pytest.mark.parametrize("kind", MODELS)
def test_same_outputs_gradients_and_averages(kind, monkeypatch):
    make, expected = MODELS[kind]
    model, runs, joining = make(), [], NormalizedKeptDense.joined

    def noted(layers, pixels=None):
        function = joining(layers, pixels)
        runs.extend([len(layers)] if function is not None else [])
        return function

    monkeypatch.setattr(NormalizedKeptDense, "joined", staticmethod(noted))
    quick = joined(model)
    assert sorted(runs) == expected
    assert (quick is model) == (not expected)
    start = [np.asarray(variable) for variable in model.variables]
    x = np.random.default_rng(1).normal(size=(40, *model.input_shape[1:])).astype("f4")
    found = []
    for each in (model, quick):
        for variable, value in zip(model.variables, start, strict=True):
            variable.assign(value)
        found.append(_trained(model, each, x))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("activations", [("relu", "relu", None), ("relu",)])
def test_bytes_are_taken_where_the_layers_stand_first(activations):
    model = _chain(*activations)
    quick = joined(model, PIXELS)
    assert quick.inputs[0].dtype == "uint8"
    rows = np.random.default_rng(0).integers(0, 256, (40, 30), np.uint8)
    floats = normalise(tf.constant(rows), PIXELS.mean, PIXELS.scale)
    expected = model(floats, training=True)
    np.testing.assert_allclose(quick(rows, training=True), expected, rtol=1e-5, atol=1e-5)

    # Or their numbers, among images that are longer than the inputs.
    images = np.random.default_rng(1).integers(0, 256, (90, 32), np.uint8)
    numbers = np.random.default_rng(2).permutation(90)[:40].astype(np.int32)
    images[numbers, :30] = rows
    quick = joined(model, Pixels(PIXELS.mean, PIXELS.scale, images))
    assert (quick.inputs[0].dtype, quick.inputs[0].shape) == ("int32", (None,))
    np.testing.assert_allclose(quick(numbers, training=True), expected, rtol=1e-5, atol=1e-5)
    for wrong in (-1, 90):
        with pytest.raises(IndexError, match=r"numbers of images must be in \[0, 90\)"):
            quick(np.int32([0, wrong]), training=True)


@pytest.mark.parametrize("make", [_with_others, _branches])
def test_bytes_are_not_taken_elsewhere(make):
    model = make()
    takes = joined(model, PIXELS).inputs[0].dtype == "uint8"
    assert takes == (make is _branches)  # there a layer stands first, alone


def test_models_without_such_layers_are_not_looked_through(monkeypatch):
    monkeypatch.setattr("tfprune.layers.joined.run", None)
    model = keras.Sequential([keras.Input((30,)), SparseDense(20, density=0.1), SparseDense(3, density=0.5)])
    assert joined(model, PIXELS) is model
