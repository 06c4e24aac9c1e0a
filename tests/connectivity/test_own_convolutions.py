"""Convolutions that an own layer computes with kernels of its own, against Keras's layers of the same kernels."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops
from seen_weights import draw

from tfprune.connectivity.reachability import Reachability
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable

pytestmark = pytest.mark.usefixtures("float64")


class Own(L.Layer):
    """`function(x, *kernels)`, with kernels of some shapes."""

    def __init__(self, function, shapes, **kwargs):
        super().__init__(**kwargs)
        self.function, self.shapes = function, shapes

    def build(self, shape):
        self.kernels = [self.add_weight(shape=one, name=f"kernel{at}") for at, one in enumerate(self.shapes)]

    def call(self, x):
        return self.function(x, *self.kernels)


CASES = {
    "conv": (
        lambda x, k: ops.conv(x, k, strides=2, padding="same"),
        lambda: L.Conv2D(3, 3, strides=2, padding="same", use_bias=False),
    ),
    "single": (lambda x, k: ops.conv(x, k, strides=(2, 1)), lambda: L.Conv2D(3, 1, strides=(2, 1), use_bias=False)),
    "depthwise": (
        lambda x, k: ops.depthwise_conv(x, k, padding="same"),
        lambda: L.DepthwiseConv2D(2, padding="same", depth_multiplier=2, use_bias=False),
    ),
    "separable": (lambda x, *k: ops.separable_conv(x, *k), lambda: L.SeparableConv2D(3, 2, use_bias=False)),
}


def _model(layer):
    x = keras.Input((4, 4, 2))
    y = layer(L.Conv2D(3, 2, name="before")(x))
    return keras.Model(x, L.Dense(2, name="out")(L.Flatten()(y)[:, ::3]))


def _random_masks(model, rng):
    for density in (0.7, 0.3, 0.15):
        yield Masks({path: rng.random(kernel.shape) < density for path, kernel in prunable(model).items()})


@pytest.mark.parametrize("case", CASES)
def test_is_the_layer_of_the_same_kernels(case):
    function, build = CASES[case]
    layer, rng, told_apart = build(), np.random.default_rng(0), False
    theirs = _model(layer)
    mine = _model(Own(function, [weight.shape for weight in layer.weights], name="own"))
    found, expected = Reachability(mine), Reachability(theirs)
    assert found.barriers == () and list(found.uses.values()) == list(expected.uses.values())
    for masks in _random_masks(theirs, rng):
        draw(theirs, masks, rng)
        mine.set_weights(theirs.get_weights())
        numbers = rng.normal(size=(2, 4, 4, 2))
        np.testing.assert_allclose(mine(numbers), theirs(numbers), rtol=1e-9)
        effective = expected(masks)
        renamed = dict(zip(prunable(mine), masks.values(), strict=True))
        for one, other in zip(found(renamed).values(), effective.values(), strict=True):
            np.testing.assert_array_equal(one, other)
        told_apart |= 0 < effective.kept < masks.kept
    assert told_apart
