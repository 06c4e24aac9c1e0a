"""Convolutions with a group for each channel filter channels that others make, as depthwise ones do."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfprune.layers.weights import weights_of
from tfprune.surgery.compact import compact
from tfprune.surgery.filter_sets import without
from tfprune.surgery.rebuild import rebuild
from tfprune.surgery.trace import Trace

X = np.random.default_rng(0).normal(size=(2, 6, 6, 3))


def _model(groups, filters, padding="same", use_bias=True, last=1):
    layers = [
        L.Conv2D(4, 1, name="a"),
        L.Conv2D(filters, 3, groups=groups, padding=padding, use_bias=use_bias, activation="relu", name="g"),
        L.Conv2D(2, last, padding="same", name="last"),
    ]
    model = keras.Sequential([keras.Input((6, 6, 3)), *layers])
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.normal(0, 0.6, variable.shape))
    return model


def _off(variable, axis, indices):
    value = variable.numpy()
    np.moveaxis(value, axis, 0)[indices] = 0
    variable.assign(value)


def _assert_same(small, model):
    expected, found = model(X).numpy(), small(X).numpy()
    assert np.abs(expected - found).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("bias", [True, False])
def test_without_two_channels(bias):
    model = _model(4, 4, use_bias=bias)
    trace = Trace(model, weights_of(model))
    small = rebuild(model, trace, without(trace, [trace.channels.classes[trace.kernels["a/kernel"].made[[1, 2]]]]))
    _off(model.get_layer("last").kernel, 2, [1, 2])
    # a 3 x 2 + 2, g 9 positions x 2 channels and their biases, last 2 x 2 + 2
    assert small.count_params() == 8 + 18 + 2 * bias + 6
    for one in (small, compact(model)):
        _assert_same(one, model)
        assert (one.get_layer("g").filters, one.get_layer("g").groups) == (2, 2)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_constants_go_through(padding):
    model = _model(4, 4, padding)
    _off(model.get_layer("a").kernel, 3, [1, 3])
    _off(model.get_layer("a").bias, 0, [1])
    small = compact(model)
    _assert_same(small, model)
    # Among zeros of padding what is constant and not 0 varies.
    assert small.get_layer("g").groups == (3 if padding == "same" else 2)


def test_one_channel_left_is_a_plain_convolution():
    """A group of one channel is no group: what is constant then goes into a bias, in the same call."""
    model = _model(4, 4, "valid", use_bias=False, last=3)
    _off(model.get_layer("a").kernel, 3, [0, 1, 2, 3])
    _off(model.get_layer("a").bias, 0, [0, 1, 2])
    for variable in (model.get_layer("a").bias, model.get_layer("g").kernel):
        variable.assign(abs(variable))
    small = compact(model)
    _assert_same(small, model)
    assert small.get_layer("g").groups == 1 and not small.get_layer("g").kernel.numpy().any()
    again, first = weights_of(compact(small)), weights_of(small)
    assert list(again) == list(first)
    assert all(np.array_equal(array, first[path]) for path, array in again.items())


@pytest.mark.slow_beyond(3)
@pytest.mark.parametrize("seed", [1087, 1387, 1399, 3, 4, 5])
@pytest.mark.filterwarnings("ignore:nothing can leave")
def test_compacting_again_changes_nothing(seed, check):
    """Random graphs with groups of all sizes, in which most filters make nothing."""
    check(_random(seed))


def _random(seed):
    rng = np.random.default_rng(seed)

    def pick(*choices):
        return choices[rng.integers(len(choices))]

    x = inputs = keras.Input((6, 3))
    for _ in range(int(rng.integers(3, 8))):
        width, padding, bias = x.shape[-1], pick("same", "valid") if x.shape[1] > 3 else "same", pick(True, False)
        groups = pick(*(number for number in (1, 2, 3, 4, 6, 8, width) if width % number == 0))
        options = {"padding": padding, "use_bias": bias, "activation": pick(None, "relu", "sigmoid")}
        kind = int(rng.integers(5))
        if kind == 0:
            x = L.Conv1D(pick(2, 4, 6, 8), pick(1, 3), **options)(x)
        elif kind == 1:
            x = L.Conv1D(pick(width, 2 * groups), pick(1, 2), groups=groups, **options)(x)
        elif kind == 2:
            x = L.Conv1D(width, pick(1, 3), groups=width, **options)(x)
        elif kind == 3:
            x = L.Add()([L.Conv1D(width, 3, padding="same", groups=pick(1, width))(x), x])
        else:
            x = L.Concatenate()([L.Conv1D(width, 1, groups=width)(x), L.Conv1D(2, 1)(x)])
    model = keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling1D()(x)))
    for variable in model.weights:
        value = rng.normal(0, 0.6, variable.shape) * (rng.random(variable.shape) < pick(0.9, 0.6, 0.3))
        if len(value.shape) > 1 and variable.shape[-1] > 2:
            value[..., rng.random(value.shape[-1]) < pick(0.4, 0.7, 0.9)] = 0
        variable.assign(value)
    return model


@pytest.mark.parametrize("filters", [2, 8])
@pytest.mark.filterwarnings("ignore:nothing can leave")
def test_other_groups_keep_their_channels(filters):
    model = _model(2 if filters == 2 else 4, filters)
    _off(model.get_layer("last").kernel, 2, [1])
    small = compact(model)
    _assert_same(small, model)
    assert small.get_layer("g").filters == filters and small.get_layer("a").filters == 4
