"""Grouped convolutions: whole groups leave, or the same channels of each; against models whose weights are really 0."""

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


def _model(width, groups, filters, use_bias=True, activation="relu"):
    layers = [
        L.Conv2D(width, 1, name="a"),
        L.Conv2D(filters, 3, groups=groups, padding="same", use_bias=use_bias, activation=activation, name="g"),
        L.Conv2D(2, 1, name="last"),
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


# (inputs, groups, outputs), filters of the grouped layer to remove, what leaves with them, groups that are left
CASES = {
    "whole groups": ((8, 4, 12), [3, 4, 5], [2, 3], 3),
    "depthwise": ((4, 4, 8), [2, 3], [1], 3),
    "channels of each": ((8, 2, 6), [1, 4], [], 2),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_without_filters(case, bias):
    (width, groups, filters), gone, before, left = CASES[case]
    model = _model(width, groups, filters, bias)
    trace = Trace(model, weights_of(model))
    small = rebuild(model, trace, without(trace, [trace.channels.classes[trace.kernels["g/kernel"].made[gone]]]))
    _off(model.get_layer("last").kernel, 2, gone)
    _assert_same(small, model)
    g = small.get_layer("g")
    assert (g.filters, g.groups) == (filters - len(gone), left)
    assert small.get_layer("a").filters == width - len(before)
    again = compact(model)
    _assert_same(again, model)
    assert (again.get_layer("g").filters, again.get_layer("g").groups) == (g.filters, left)
    assert again.count_params() == small.count_params()


def test_counts_by_hand():
    model = _model(8, 4, 12)
    trace = Trace(model, weights_of(model))
    small = rebuild(model, trace, without(trace, [trace.channels.classes[trace.kernels["g/kernel"].made[[0]]]]))
    # a 3 x 6 + 6, g 9 positions x 2 inputs x 9 filters + 9, last 9 x 2 + 2
    assert small.count_params() == 24 + 171 + 20


def test_inputs_that_each_group_ignores():
    model = _model(8, 2, 6)
    _off(model.get_layer("g").kernel, 2, [1])
    small = compact(model)
    _assert_same(small, model)
    assert small.get_layer("a").filters == 6 and small.get_layer("g").kernel.shape == (3, 3, 3, 6)


def test_inputs_that_are_zero():
    model = _model(8, 2, 6)
    for indices, shape in (([1], 8), ([1, 5], 6)):
        _off(model.get_layer("a").kernel, 3, indices)
        _off(model.get_layer("a").bias, 0, indices)
        small = compact(model)
        _assert_same(small, model)
        assert small.get_layer("a").filters == shape


def test_a_group_that_reads_zeros_is_its_bias():
    model = _model(8, 4, 12)
    _off(model.get_layer("a").kernel, 3, [2, 3])
    _off(model.get_layer("a").bias, 0, [2, 3])
    small = compact(model)
    _assert_same(small, model)
    assert small.get_layer("g").groups == 3 and small.get_layer("a").filters == 6
