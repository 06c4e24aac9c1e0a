"""Channel groups of networks that can be read at a glance."""

import keras
import numpy as np
from keras import layers as L

from tfprune.surgery.groups import channel_groups


def _groups(model):
    return {group.name: group for group in channel_groups(model)}


def _axes(group):
    return [(part.path, part.axis) for part in group.parts]


def test_a_chain():
    layers = [
        L.Conv2D(3, 2, name="conv"),
        L.BatchNormalization(scale=False, name="norm"),
        L.Flatten(),
        L.Dense(5, name="dense"),
    ]
    groups = _groups(keras.Sequential([keras.Input((3, 3, 2)), *layers]))
    assert list(groups) == ["conv/kernel[2]", "conv/kernel[3]", "dense/kernel[1]"]
    image, hidden, classes = groups.values()
    assert image.fixed.all() and classes.fixed.all() and not hidden.fixed.any()
    assert (image.size, hidden.size, classes.size) == (2, 3, 5)
    norm = [(f"norm/{name}", 0) for name in ("beta", "moving_mean", "moving_variance")]
    assert _axes(hidden) == [("conv/kernel", 3), ("conv/bias", 0), *norm, ("dense/kernel", 0)]
    assert hidden.parts[-1].indices(1).tolist() == [1, 4, 7, 10]
    assert _axes(classes) == [("dense/kernel", 1), ("dense/bias", 0)]


def test_sums_couple_and_concatenation_does_not():
    x = inputs = keras.Input((4, 4, 2))
    a, b, c = (L.Conv2D(3, 1, use_bias=False, name=name)(x) for name in "abc")
    x = L.Concatenate()([L.Add()([a, b]), c])
    groups = _groups(keras.Model(inputs, L.Conv2D(2, 1, name="last")(x)))
    assert _axes(groups["a/kernel[3]"]) == [("a/kernel", 3), ("b/kernel", 3), ("last/kernel", 2)]
    assert _axes(groups["c/kernel[3]"]) == [("c/kernel", 3), ("last/kernel", 2)]
    assert groups["a/kernel[3]"].parts[-1].channels.tolist() == [0, 1, 2, -1, -1, -1]
    assert groups["c/kernel[3]"].parts[-1].channels.tolist() == [-1, -1, -1, 0, 1, 2]


def test_a_sum_over_a_concatenation_joins_its_parts():
    x = inputs = keras.Input((4,))
    parts = [L.Dense(2, name="a")(x), L.Dense(3, name="b")(x)]
    x = L.Add()([L.Concatenate()(parts), L.Dense(5, name="c")(x)])
    group = _groups(keras.Model(inputs, L.Dense(2, name="last")(x)))["a/kernel[1]"]
    assert group.size == 5
    assert {part.path: part.channels.tolist() for part in group.parts if "bias" in part.path} == {
        "a/bias": [0, 1],
        "b/bias": [2, 3, 4],
        "c/bias": [0, 1, 2, 3, 4],
    }


def test_depthwise_filters_belong_to_their_channel():
    layers = [L.Conv2D(3, 1, name="a"), L.DepthwiseConv2D(2, depth_multiplier=2, name="b"), L.Conv2D(2, 1, name="c")]
    group = _groups(keras.Sequential([keras.Input((4, 4, 2)), *layers]))["a/kernel[3]"]
    assert _axes(group)[2:] == [("b/kernel", 2), ("b/bias", 0), ("c/kernel", 2)]
    assert group.parts[3].channels.tolist() == group.parts[4].channels.tolist() == [0, 0, 1, 1, 2, 2]


def test_squeeze_and_excite_is_coupled_with_what_it_gates():
    x = inputs = keras.Input((4, 4, 2))
    x = L.Conv2D(3, 1, name="stem")(x)
    gate = L.Dense(3, name="excite")(L.Dense(2, name="squeeze")(L.GlobalAveragePooling2D(keepdims=True)(x)))
    groups = _groups(keras.Model(inputs, L.Conv2D(1, 1, name="last")(L.Multiply()([x, gate]))))
    axes = [("stem/kernel", 3), ("stem/bias", 0), ("squeeze/kernel", 0), ("excite/kernel", 1), ("excite/bias", 0)]
    assert _axes(groups["stem/kernel[3]"]) == [*axes, ("last/kernel", 2)]
    assert groups["squeeze/kernel[1]"].size == 2


def test_what_mixes_features_fixes_its_channels():
    layers = [L.Dense(4, name="a"), L.LayerNormalization(), L.Dense(3, name="b"), L.Dense(2)]
    groups = _groups(keras.Sequential([keras.Input((3,)), *layers]))
    assert groups["a/kernel[1]"].fixed.all()
    assert not groups["b/kernel[1]"].fixed.any()
    np.testing.assert_array_equal(groups["b/kernel[1]"].parts[0].channels, [0, 1, 2])
