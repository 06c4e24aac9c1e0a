"""Which filters leave together, in networks that can be read at a glance."""

import keras
from keras import layers as L

from tfprune.layers.weights import weights_of
from tfprune.surgery.filter_sets import filter_sets, without
from tfprune.surgery.rebuild import rebuild
from tfprune.surgery.trace import Trace


def _members(one):
    return {path: index.tolist() for path, index in one.members.items()}


def test_a_sum_over_a_concatenation_has_a_set_for_each_part():
    x = inputs = keras.Input((4,))
    joined = L.Concatenate()([L.Dense(2, name="a")(x), L.Dense(3, name="b")(x)])
    model = keras.Model(inputs, L.Dense(2, name="last")(L.Add()([joined, L.Dense(5, name="c")(x)])))
    first, second, last = filter_sets(Trace(model, weights_of(model)))
    assert _members(first) == {"a/kernel": [0, 1], "c/kernel": [0, 1, -1, -1, -1]}
    assert _members(second) == {"b/kernel": [0, 1, 2], "c/kernel": [-1, -1, 0, 1, 2]}
    assert _members(last) == {"last/kernel": [0, 1]}
    assert (first.fixed, second.fixed, last.fixed) == (False, False, True)


def test_several_depthwise_filters_of_a_channel():
    layers = [L.Conv2D(2, 1, name="a"), L.DepthwiseConv2D(1, depth_multiplier=2, name="d"), L.Conv2D(3, 1, name="last")]
    model = keras.Sequential([keras.Input((4, 4, 3)), *layers])
    first, last = filter_sets(Trace(model, weights_of(model)))
    assert _members(first) == {"a/kernel": [0, 1], "d/kernel": [0, 0, 1, 1]}
    assert _members(last) == {"last/kernel": [0, 1, 2]}


def test_a_part_whose_channels_stay_is_a_set_of_its_own():
    """The output reads a: the two filters of c that are added to it stay, the other three can go."""
    x = inputs = keras.Input((4,))
    a = L.Dense(2, name="a")(x)
    joined = L.Add()([L.Concatenate()([a, L.Dense(3, name="b")(x)]), L.Dense(5, name="c")(x)])
    model = keras.Model(inputs, [a, L.Dense(2, name="last")(joined)])
    fixed = {tuple(one.members): one.fixed for one in filter_sets(Trace(model, weights_of(model)))}
    assert fixed == {("a/kernel", "c/kernel"): True, ("b/kernel", "c/kernel"): False, ("last/kernel",): True}


def test_a_model_without_some_channels():
    model = keras.Sequential([keras.Input((4,)), L.Dense(3, name="a"), L.Dense(2, name="last")])
    trace = Trace(model, weights_of(model))
    first, _ = filter_sets(trace)
    small = rebuild(model, trace, without(trace, [first.channels[[0, 2]]]))
    assert (small.get_layer("a").kernel.numpy() == model.get_layer("a").kernel.numpy()[:, [1]]).all()
    assert small.get_layer("last").kernel.shape == (1, 2)
