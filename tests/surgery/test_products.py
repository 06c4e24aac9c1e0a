"""Products of tensors: channels go through, or are summed over; models without some compute the same."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

from tfprune.surgery.compact import compact

WIDTH, GONE = 6, [1, 3, 4]
X = np.random.default_rng(1).normal(size=(3, 4, 5))


def _attended(q, k, v):
    return ops.matmul(ops.softmax(ops.matmul(q, ops.transpose(k, (0, 2, 1))) / 3.0), v)


def _attended_by_einsum(q, k, v):
    return ops.einsum("bqk,bkd->bqd", ops.softmax(ops.einsum("bqd,bkd->bqk", q, k)), v)


def _over_channels(q, k, v):
    """Scores between channels: all of these are in each."""
    return ops.matmul(v, ops.softmax(ops.einsum("bld,ble->bde", q, k)))


# What is made of queries, keys and values of the same width -> what is left of each when channels of queries, or what
# the last layer reads of the outputs, are 0.
CASES = {
    "matmul": (_attended, [(3, 3, 6), (6, 6, 3)]),
    "einsum": (_attended_by_einsum, [(3, 3, 6), (6, 6, 3)]),
    "linear": (lambda q, k, v: ops.matmul(ops.matmul(q, ops.swapaxes(k, 1, 2)), v), [(3, 3, 6), (6, 6, 3)]),
    "channels": (_over_channels, [(6, 6, 6), (6, 6, 6)]),
    "entries": (lambda q, k, v: ops.einsum("bld,bld->bld", q, k) + v, [(6, 6, 6), (6, 6, 6)]),
}


def _model(function):
    x = inputs = keras.Input((4, 5))
    out = function(*(L.Dense(WIDTH, name=name)(x) for name in "qkv"))
    model = keras.Model(inputs, L.Dense(2, name="last")(out))
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.normal(0, 0.6, variable.shape))
    return model


def _off(variable, axis):
    value = variable.numpy()
    np.moveaxis(value, axis, 0)[GONE] = 0
    variable.assign(value)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:nothing can leave")
def test_channels(case):
    function, left = CASES[case]
    for (name, axes), expected in zip((("q", {"kernel": 1, "bias": 0}), ("last", {"kernel": 0})), left, strict=True):
        model = _model(function)
        for variable, axis in axes.items():
            _off(getattr(model.get_layer(name), variable), axis)
        small = compact(model)
        assert np.abs(small(X) - model(X)).max() <= 1e-5 * np.abs(model(X)).max()
        assert tuple(small.get_layer(name).units for name in "qkv") == expected


def test_scores_that_nothing_but_an_open_axis_has():
    """An output without a known width is needed like any other."""
    x = inputs = keras.Input((None, 5))
    q, k = (L.Dense(WIDTH, name=name)(x) for name in "qk")
    model = keras.Model(inputs, ops.einsum("bqd,bkd->bqk", q, k))
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.normal(0, 0.6, variable.shape))
    for variable, axis in zip(model.get_layer("q").weights, (1, 0), strict=True):
        _off(variable, axis)
    small = compact(model)
    assert small.get_layer("k").units == 3
    assert np.abs(small(X) - model(X)).max() <= 1e-5 * np.abs(model(X)).max()
