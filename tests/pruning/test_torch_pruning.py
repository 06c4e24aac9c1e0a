"""Scores of groups as Torch-Pruning normalises them, by numbers worked out by hand.

What its `GroupNormImportance` (called `MagnitudeImportance`, too) does, as read in its source: of each kernel of a
group Σ|w|^p of what makes a channel; members added up (`"sum"`, `"mean"`) or the first alone (`"first"`); the result
over its mean, maximum or sum, or as it is (`normalizer=` `"mean"`, `"max"`, `"sum"`, None). Then channels of all groups
compete.
"""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfprune.pruning.channel_choice import Choice
from tfprune.pruning.channel_network import ChannelNetwork
from tfprune.pruning.channel_order import NORMALIZERS, leaving_order
from tfprune.pruning.channel_scores import Scorer


def squares(layer, kernel):
    """Σ|w|^p with p = 2."""
    return np.square(kernel).sum((0, 1))


@pytest.fixture
def chain():
    """`a` has Σw² 1, 4, 9, 16 (mean 7.5, sum 30) for its units, `b` 3, 19, 38 (mean 20, sum 60)."""
    model = keras.Sequential(
        [keras.Input((2,)), L.Dense(4, name="a"), L.ReLU(), L.Dense(3, name="b"), L.ReLU(), L.Dense(1)]
    )
    a = np.array([[1, 0, 0, 4], [0, 2, 3, 0]], "f4")
    b = np.array([[1, 3, 1], [1, 3, 6], [1, 1, 1], [0, 0, 0]], "f4")
    model.get_layer("a").kernel.assign(a)
    model.get_layer("b").kernel.assign(b)
    return model


@pytest.mark.parametrize(
    "normalizer, a, b, order",
    [
        ("mean", [2 / 15, 8 / 15, 6 / 5, 32 / 15], [0.15, 0.95, 1.9], "a1 b1 a2 b2 a3"),
        ("max", [1 / 16, 1 / 4, 9 / 16, 1], [3 / 38, 0.5, 1], "a1 b1 a2 b2 a3"),
        ("sum", [1 / 30, 2 / 15, 3 / 10, 8 / 15], [1 / 20, 19 / 60, 19 / 30], "a1 b1 a2 a3 b2"),
        (None, [1, 4, 9, 16], [3, 19, 38], "a1 b1 a2 a3 b2"),
    ],
)
def test_groups_of_one_kernel(chain, normalizer, a, b, order):
    for raw, expected in (([1, 4, 9, 16], a), ([3, 19, 38], b)):
        np.testing.assert_allclose(np.array(raw) / NORMALIZERS[normalizer](np.array(raw, float)), expected)
    network = ChannelNetwork(chain)
    choice = Choice(network.makers)
    scores = Scorer(squares).classes(network, choice.makers.values(), relative=normalizer is not None)
    blocks = leaving_order(network, choice, scores, normalizer, 1).blocks
    places = {}
    for name in "ab":
        places |= {int(one): f"{name}{number}" for number, one in enumerate(network.makers[name].channels, 1)}
    assert " ".join(places[int(one)] for (one,) in blocks) == order


def test_groups_of_several_kernels():
    """Σw² 1, 4 of one kernel and 30, 10 of the other: Torch-Pruning adds them up as they are, 31 and 14, so that the
    larger kernel decides; with None so do we, else each counts over its largest, 1/4 + 1 and 1 + 1/3, and both do."""
    inputs = keras.Input((2,))
    x = L.Add()([L.Dense(2, name="a")(inputs), L.Dense(2, name="c")(inputs)])
    model = keras.Model(inputs, L.Dense(1)(L.ReLU()(x)))
    a, c = np.array([[1, 2], [0, 0]], "f4"), np.sqrt(np.array([[30, 10], [0, 0]], "f4"))
    model.get_layer("a").kernel.assign(a)
    model.get_layer("c").kernel.assign(c)
    network = ChannelNetwork(model)
    makers, (one,) = network.makers.values(), [one for one in network.sets if not one.fixed]
    theirs = Scorer(squares).classes(network, makers, relative=False)[one.channels]
    np.testing.assert_allclose(theirs, [31, 14], rtol=1e-6)
    np.testing.assert_allclose(theirs / NORMALIZERS["mean"](theirs), [31 / 22.5, 14 / 22.5], rtol=1e-6)
    ours = Scorer(squares).classes(network, makers)[one.channels]
    np.testing.assert_allclose(ours, [5 / 4, 4 / 3], rtol=1e-6)
