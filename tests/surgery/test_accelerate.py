"""Accelerated models: the same outputs, training as with masks, files, and a line where something cannot be."""

import keras
import numpy as np
import pytest
from keras import layers as L

import tfprune

pytest.importorskip("numba")


def _mlp():
    return keras.Sequential(
        [
            keras.Input((64,)),
            L.Dense(256, name="first"),
            L.BatchNormalization(),
            L.ReLU(),
            L.Dense(256, "relu", name="second"),
            L.Dense(10, name="head"),
        ],
        name="mlp",
    )


def _vgg():
    stack = [keras.Input((16, 16, 3))]
    for number, width in enumerate((32, 32, 64)):
        stack += [L.Conv2D(width, 3, padding="same", use_bias=False, name=f"conv{number}"), L.BatchNormalization()]
        stack += [L.ReLU(), L.MaxPooling2D()]
    return keras.Sequential([*stack, L.Flatten(), L.Dense(10, name="head")], name="vgg")


def _resnet():
    given = keras.Input((16, 16, 3))
    x = L.Conv2D(32, 3, padding="same", name="stem")(given)
    for number, strides in enumerate((1, 2)):
        y = L.BatchNormalization()(L.Conv2D(32, 3, strides, padding="same", name=f"a{number}")(x))
        y = L.BatchNormalization()(L.Conv2D(32, 3, padding="same", name=f"b{number}")(L.ReLU()(y)))
        x = x if strides == 1 else L.Conv2D(32, 1, strides, name=f"shortcut{number}")(x)
        x = L.ReLU()(L.Add()([x, y]))
    return keras.Model(given, L.Dense(10, name="head")(L.GlobalAveragePooling2D()(x)), name="resnet")


def _mobilenet():
    given = keras.Input((16, 16, 3))
    x = L.Conv2D(16, 3, 2, padding="same", name="stem")(given)
    for number in range(2):
        y = L.ReLU(6.0)(L.BatchNormalization()(L.Conv2D(96, 1, use_bias=False, name=f"expand{number}")(x)))
        y = L.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"depthwise{number}")(y)
        y = L.ReLU(6.0)(L.BatchNormalization()(y))
        x = L.Add()([x, L.BatchNormalization()(L.Conv2D(16, 1, use_bias=False, name=f"project{number}")(y))])
    return keras.Model(given, L.Dense(10, name="head")(L.GlobalAveragePooling2D()(x)), name="mobilenet")


def _transformer():
    given = keras.Input((6, 32))
    query, key, value = (
        L.EinsumDense("btd,dhk->bthk", (None, 4, 8), bias_axes="hk", name=name)(given)
        for name in ("query", "key", "value")
    )
    scores = L.Softmax()(keras.ops.einsum("bthk,bshk->bhts", query, key))
    mixed = keras.ops.einsum("bhts,bshk->bthk", scores, value)
    x = L.LayerNormalization()(given + L.EinsumDense("bthk,hkd->btd", (None, 32), bias_axes="d", name="out")(mixed))
    x = x + L.Dense(32, name="down")(L.Dense(128, "gelu", name="up")(x))
    return keras.Model(given, L.Dense(10, name="head")(x[:, 0]), name="transformer")


def _shared_and_nested():
    inner = keras.Sequential([keras.Input((64,)), L.Dense(64, "relu", name="d")], name="inner")
    given, shared = keras.Input((64,)), L.Dense(64, "tanh", name="shared")
    x = inner(shared(shared(given)))
    return keras.Model(given, L.Dense(10, name="head")(inner(x)), name="shared_and_nested")


NETWORKS = _mlp, _vgg, _resnet, _mobilenet, _transformer, _shared_and_nested


def _sparse(build, sparsity=0.9):
    keras.utils.set_random_seed(0)
    model = build()
    return tfprune.masked(model, tfprune.prune(model, "magnitude/uniform", sparsity))


def _examples(model, count=8):
    return np.random.default_rng(0).normal(size=(count, *model.input_shape[1:])).astype("float32")


def _assert_same(one, other, examples, tolerance=1e-5):
    expected, found = (model.predict(examples, verbose=0) for model in (one, other))
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def _kept_layers(model):
    return [layer.name for layer in model._flatten_layers() if hasattr(layer, "kernel_values")]


@pytest.mark.parametrize("build", NETWORKS)
@pytest.mark.parametrize("compact", [True, False])
def test_outputs_are_the_masked_model_s(build, compact):
    model = _sparse(build)
    fast = tfprune.accelerate(model, engine="sparse", compact=compact)
    kernels = {path.rpartition("/")[0].rpartition("/")[2] for path in tfprune.prunable(model)}
    assert set(_kept_layers(fast)) == kernels
    _assert_same(model, fast, _examples(model))
    if not compact:
        assert tfprune.masks_of(fast) == tfprune.masks_of(model)
        assert list(tfprune.prunable(tfprune.masked(fast))) == list(tfprune.prunable(model))
