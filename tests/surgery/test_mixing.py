"""Normalisations over features hold channels: compact keeps all, who asks for it gets the rest normalised alone."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfprune.layers.weights import weights_of
from tfprune.surgery.compact import compact
from tfprune.surgery.filter_sets import filter_sets, without
from tfprune.surgery.groups import channel_groups
from tfprune.surgery.rebuild import rebuild
from tfprune.surgery.trace import Trace

GONE = [1, 4]
KEPT = [0, 2, 3, 5]


def _model(norm, seed=0):
    layers = [L.Dense(6, name="a"), norm, L.Dense(3, name="b")]
    model = keras.Sequential([keras.Input((4, 5)), *layers])
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(rng.normal(0, 1, variable.shape))
    return model


def _layer_norm(x, gamma, beta):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3) * gamma + beta


def _root_mean_square(x, scale):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * scale


def _unit(x):
    return x / np.sqrt((x**2).sum(-1, keepdims=True))


def _group_norm(x, gamma, beta):
    axes = (1, 2)
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-3) * gamma + beta


CASES = {
    "layer": (lambda: L.LayerNormalization(name="n"), _layer_norm),
    "rms": (lambda: L.RMSNormalization(name="n"), _root_mean_square),
    "unit": (lambda: L.UnitNormalization(name="n"), _unit),
    "group": (lambda: L.GroupNormalization(1, name="n"), _group_norm),
}


@pytest.mark.parametrize("case", CASES)
def test_without_channels_the_others_are_normalised_alone(case):
    make, formula = CASES[case]
    model = _model(make())
    trace = Trace(model, weights_of(model))
    held = next(one for one in filter_sets(trace) if "a/kernel" in one.members)
    assert held.fixed and held.held
    small = rebuild(model, trace, without(trace, [held.channels[GONE]]))
    x = np.random.default_rng(1).normal(size=(3, 4, 5))
    a, n, b = model.layers
    weights = [np.asarray(variable, float)[KEPT] for variable in n.weights]
    middle = formula((x @ a.kernel.numpy() + a.bias.numpy())[..., KEPT], *weights)
    expected = middle @ b.kernel.numpy()[KEPT] + b.bias.numpy()
    assert np.abs(small(x).numpy() - expected).max() <= 1e-5 * np.abs(expected).max()
    assert small.count_params() == (5 * 4 + 4) + 4 * len(weights) + (4 * 3 + 3)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:nothing can leave")
def test_compact_keeps_all(case):
    model = _model(CASES[case][0]())
    a = model.get_layer("a")
    a.kernel.assign(a.kernel.numpy() * (np.arange(6) < 4))
    small = compact(model)
    x = np.random.default_rng(1).normal(size=(3, 4, 5))
    np.testing.assert_allclose(small(x), model(x), rtol=1e-6)
    assert small.count_params() == model.count_params()


def test_what_the_outputs_need_is_fixed_and_not_held():
    layers = [L.Dense(6, name="a"), L.LayerNormalization(name="n"), L.Dense(3, name="b"), L.LayerNormalization()]
    model = keras.Sequential([keras.Input((5,)), *layers])
    first, last = filter_sets(Trace(model, weights_of(model)))
    assert (first.fixed, first.held, last.fixed, last.held) == (True, True, True, False)
    groups = {group.name: group for group in channel_groups(model)}
    assert groups["a/kernel[1]"].held.all() and groups["a/kernel[1]"].fixed.all()
    assert [part.path for part in groups["a/kernel[1]"].parts] == [
        "a/kernel",
        "a/bias",
        "n/gamma",
        "n/beta",
        "b/kernel",
    ]
    assert not groups["b/kernel[1]"].held.any()


def test_each_channel_by_itself_is_exact():
    """As many groups as channels: a channel leaves, and a constant one becomes its beta."""
    model = _model(L.GroupNormalization(6, name="n"))
    a, b = model.get_layer("a"), model.get_layer("b")
    a.kernel.assign(a.kernel.numpy() * (np.arange(6) != 2))
    b.kernel.assign(b.kernel.numpy() * (np.arange(6) != 5)[:, None])
    small = compact(model)
    x = np.random.default_rng(1).normal(size=(3, 4, 5))
    np.testing.assert_allclose(small(x), model(x), rtol=1e-5, atol=1e-5)
    assert small.get_layer("n").groups == small.get_layer("a").units == 4


def test_groups_of_channels_stay():
    model = _model(L.GroupNormalization(3, name="n"))
    assert all(one.fixed and not one.held for one in filter_sets(Trace(model, weights_of(model))))


def test_over_another_axis_channels_are_independent():
    model = _model(L.LayerNormalization(axis=1, name="n"))
    b = model.get_layer("b")
    b.kernel.assign(b.kernel.numpy() * (np.arange(6) != 5)[:, None])
    small = compact(model)
    x = np.random.default_rng(1).normal(size=(3, 4, 5))
    np.testing.assert_allclose(small(x), model(x), rtol=1e-5, atol=1e-5)
    assert small.get_layer("a").units == 5 and small.get_layer("n").gamma.shape == (4,)
