"""Batch normalisation that becomes part of the layer in front of it: the same outputs, fewer normalisations."""

import keras
import numpy as np
import pytest
from keras import layers as L

import tfprune
from tfprune.layers.topology import named_layers
from tfprune.layers.weights import weights_of
from tfprune.models.named import build_named
from tfprune.surgery.norms import fold_norms


def _norms(model):
    return [path for path, layer in named_layers(model) if type(layer) is L.BatchNormalization]


def _names(model):
    return [path for path, layer in named_layers(model) if not isinstance(layer, L.InputLayer)]


def _folded(model):
    """The folded copy, after it was compared with the model."""
    before = weights_of(model)
    copy = fold_norms(model)
    images = np.random.default_rng(0).normal(size=(3, *model.input_shape[1:])).astype("f4")
    expected, found = (keras.tree.flatten(each(images)) for each in (model, copy))
    for one, other in zip(found, expected, strict=True):
        one, other = one.numpy(), other.numpy()
        assert np.abs(one - other).max() <= 1e-5 * np.abs(other).max()
    assert all(np.array_equal(array, before[path]) for path, array in weights_of(model).items())
    assert _names(copy) == _names(model)
    return copy


@pytest.mark.parametrize(
    ("shape", "layer"),
    [
        ((6,), L.Dense(5)),
        ((7, 6), L.Dense(5, use_bias=False)),
        ((8, 8, 3), L.Conv2D(4, 3, use_bias=False)),
        ((8, 8, 4), L.Conv2D(4, 3, padding="same", groups=2)),
        ((8, 3), L.Conv1D(4, 3)),
        ((4, 4, 4, 2), L.Conv3D(3, 2)),
        ((5, 5, 3), L.Conv2DTranspose(4, 3, strides=2)),
        ((8, 8, 3), L.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)),
        ((8, 8, 3), L.SeparableConv2D(4, 3, depth_multiplier=2)),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False, "epsilon": 0.1}], ids=str)
def test_kernels(shape, layer, options, lively):
    layer = type(layer).from_config(layer.get_config() | {"name": "kernel"})
    model = lively(keras.Sequential([keras.Input(shape), layer, L.BatchNormalization(**options), L.ReLU()]))
    copy = _folded(model)
    assert not _norms(copy) and copy.get_layer("kernel").use_bias
    assert copy.count_params() < model.count_params() + (not layer.use_bias) * model.layers[-2].input.shape[-1]


def _model(end):
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, end(L.Conv2D(4, 3, padding="same", name="conv")(inputs)))


def _twice(x):
    norm = L.BatchNormalization()
    return L.Add()([norm(x), norm(L.Conv2D(4, 1)(x))])


@pytest.mark.parametrize(
    "end",
    [
        lambda x: L.BatchNormalization()(L.ReLU()(x)),  # something in between
        lambda x: L.Add()([x, L.BatchNormalization()(x)]),  # others read the outputs
        lambda x: [x, L.BatchNormalization()(x)],  # so does who reads the model's
        lambda x: L.BatchNormalization(axis=1)(x),  # rows, not channels
        _twice,  # normalises two layers
        lambda x: L.BatchNormalization()(L.Conv2D(4, 1, activation="relu")(x)),
    ],
)
def test_what_stays(end, lively):
    model = lively(_model(end))
    assert len(_norms(_folded(model))) == len(_norms(model)) == 1


def test_a_layer_that_is_used_twice_stays(lively):
    conv = L.Conv2D(3, 3, padding="same")
    inputs = keras.Input((8, 8, 3))
    model = lively(keras.Model(inputs, L.BatchNormalization()(conv(L.BatchNormalization()(conv(inputs))))))
    assert len(_norms(_folded(model))) == 2


def test_nested_models(lively):
    inner = keras.Sequential([keras.Input((8, 8, 3)), L.Conv2D(4, 3), L.BatchNormalization(), L.ReLU()], name="inner")
    inputs = keras.Input((8, 8, 3))
    once = lively(keras.Model(inputs, L.Dense(2)(L.Flatten()(inner(inputs)))))
    assert not _norms(_folded(once))


@pytest.mark.parametrize(
    "build", [keras.applications.MobileNetV2, "cifar_resnet_20_8"], ids=["mobilenet_v2", "cifar_resnet_20_8"]
)
def test_networks(build, lively):
    if isinstance(build, str):
        model = build_named(build, (16, 16, 3), 10, 0)
    else:
        model = build(weights=None, input_shape=(32, 32, 3), classes=5, classifier_activation=None)
    assert not _norms(_folded(lively(model)))


def test_compacting_and_reporting(lively, tmp_path):
    stack = [L.Conv2D(6, 3, name="conv"), L.BatchNormalization(name="norm"), L.ReLU(), L.Flatten(), L.Dense(2)]
    model = lively(keras.Sequential([keras.Input((6, 6, 2)), *stack]))
    masks = {path: np.ones(kernel.shape, bool) for path, kernel in tfprune.prunable(model).items()}
    masks["conv/kernel"][..., 1] = False
    small = tfprune.compact(model, masks, fold_batchnorm=True)
    images = np.random.default_rng(0).normal(size=(3, 6, 6, 2)).astype("f4")
    expected = tfprune.masked(model, masks)(images).numpy()
    assert np.abs(small(images).numpy() - expected).max() <= 1e-5 * np.abs(expected).max()
    small.save(tmp_path / "small.keras")
    loaded = keras.saving.load_model(tmp_path / "small.keras")
    np.testing.assert_array_equal(loaded(images), small(images))
    report = tfprune.compaction_report(model, small)
    assert report.before_of["norm"].parameters == 24 and report.after_of["norm"].parameters == 0
    assert report.after_of["conv"].parameters == 5 * (3 * 3 * 2 + 1)
    assert list(report.table.index)[:2] == ["conv", "norm"]
