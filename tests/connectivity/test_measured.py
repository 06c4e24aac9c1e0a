"""What a finished network counts, against numbers worked out by hand and variables counted one by one."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers as L

import tfprune
from tfprune.connectivity.measured import measured, parameters_of
from tfprune.experiments.imp.normalized_dense import NormalizedMaskedDense
from tfprune.layers.convert import masked, strip
from tfprune.records.result import COUNTED, Result


@pytest.fixture
def model():
    """3×3 convolution of 4×4 images (4 positions), normalisation, then 8 inputs to 2 outputs."""
    layers = [L.Conv2D(2, 3, name="conv"), L.BatchNormalization(name="norm"), L.Flatten(), L.Dense(2, name="dense")]
    return keras.Sequential([keras.Input((4, 4, 1)), *layers])


MASKS = {"conv/kernel": np.ones((3, 3, 1, 2), bool), "dense/kernel": np.ones((8, 2), bool)}
MASKS["conv/kernel"][..., 1] = False
# The second channel is constant: half of everything goes but the output's 2 biases.
EXPECTED = {
    "weights": 18 + 16,
    "kept": 9 + 16,
    "effective": 9 + 8,
    "parameters": 18 + 2 + 2 * 2 + 16 + 2,
    "parameters_masked": 9 + 2 + 2 * 2 + 16 + 2,
    "parameters_compacted": 9 + 1 + 2 * 1 + 8 + 2,
    "flops": 2 * (4 * 18 + 16),
    "flops_masked": 2 * (4 * 9 + 16),
    "flops_compacted": 2 * (4 * 9 + 8),
}
LAYERS = {
    "conv/kernel": {"weights": 18, "kept": 9, "effective": 9},
    "dense/kernel": {"weights": 16, "kept": 16, "effective": 8},
}


def test_counts(model):
    assert measured(model, MASKS) == EXPECTED | {"layers": LAYERS} and tuple(EXPECTED) == COUNTED
    assert Result("mine", "small", **measured(model, MASKS)).density == 25 / 34


def test_masked_and_stripped_models_speak_for_themselves(model):
    sparse = masked(model, MASKS)
    assert measured(sparse) == measured(strip(sparse)) == EXPECTED | {"layers": LAYERS}


def test_a_dense_model(model):
    found = measured(model)
    assert found["kept"] == found["effective"] == found["weights"] == 34
    for name in ("parameters", "flops"):
        assert found[name] == found[f"{name}_masked"] == found[f"{name}_compacted"] == EXPECTED[name]


def test_the_model_stays_as_it_is(model):
    before = model.get_weights()
    measured(model, MASKS)
    assert all(np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True))


def test_parameters_are_the_trainable_variables_also_of_frozen_layers():
    inputs = keras.Input((6, 6, 3))
    x = L.SeparableConv2D(4, 3, name="separable")(inputs)
    x = L.BatchNormalization()(x)
    x = L.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, L.Dense(2)(x))
    count = 3 * 9 + 3 * 4 + 4 + 2 * 4 + 4 * 2 + 2
    assert parameters_of(model) == sum(int(np.prod(one.shape)) for one in model.trainable_variables) == count
    for layer in model.layers:
        layer.trainable = False
    assert not model.trainable_variables and parameters_of(model) == count
    assert parameters_of(masked(model)) == count


def test_the_compacted_network_is_really_there():
    """A random sparse network with a branch: its variables are counted in what `tfprune.compact` makes."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 2))
    x = L.Conv2D(6, 3, activation="relu", name="a")(inputs)
    y = L.BatchNormalization()(L.Conv2D(6, 3, padding="same", name="b")(x))
    x = L.Flatten()(L.MaxPooling2D()(L.ReLU()(L.Add()([x, y]))))
    model = keras.Model(inputs, L.Dense(3, name="c")(x))
    masks = tfprune.prune(model, "random/uniform", 0.97, seed=1)
    found, small = measured(model, masks), tfprune.compact(model, masks)
    assert found["parameters_compacted"] == sum(int(np.prod(one.shape)) for one in small.trainable_variables)
    convolutions = sum(36 * int(np.prod(small.get_layer(name).kernel.shape)) for name in "ab")
    assert found["flops_compacted"] == 2 * (convolutions + int(np.prod(small.get_layer("c").kernel.shape)))
    assert found["parameters_compacted"] < found["parameters"] and found["flops_compacted"] < found["flops"]
    assert found["kept"] == masks.kept and found["effective"] == tfprune.sparsity(model, masks).weights.effective


def test_of_a_network_that_was_shrunk_the_unpruned_one_is_told(model):
    before = measured(model)
    layers = [L.Conv2D(1, 3, name="conv"), L.Flatten(), L.Dense(2, name="dense")]
    small = keras.Sequential([keras.Input((4, 4, 1)), *layers])
    found = measured(small, unpruned=before)
    assert (found["weights"], found["parameters"], found["flops"]) == (34, 42, 176)
    assert (found["kept"], found["effective"]) == (9 + 8, 9 + 8)
    assert found["parameters_masked"] == found["parameters_compacted"] == 9 + 1 + 8 + 2
    assert found["flops_masked"] == found["flops_compacted"] == 2 * (36 + 8)
    assert found["layers"] == {
        "conv/kernel": {"weights": 18, "kept": 9, "effective": 9},
        "dense/kernel": {"weights": 16, "kept": 8, "effective": 8},
    }
    without = measured(small, unpruned={})
    assert without["weights"] is None and without["layers"] is None


def test_masked_biases_are_no_parameters_and_a_plain_twin_is_compacted():
    """Iterative pruning's own layer: normalisation of the input, a mask of the bias. Unit 1 of 3 goes."""
    layers = [NormalizedMaskedDense(3, activation="relu", name="first"), NormalizedMaskedDense(2, name="second")]
    model = keras.Sequential([keras.Input((4,)), *layers])
    masks = [[np.ones((4, 3), bool), np.ones(3, bool)], [np.ones((3, 2), bool), np.ones(2, bool)]]
    masks[0][0][:, 1] = masks[0][1][1] = masks[1][0][1] = False
    for layer, arrays in zip(layers, masks, strict=True):
        for variable, mask in zip((layer.kernel_mask, layer.bias_mask), arrays, strict=True):
            variable.assign(mask.astype("float32"))
    with pytest.warns(UserWarning, match=r"not counted: parameters and FLOPs of the compacted network \(.*first"):
        found = measured(model)
    assert (found["weights"], found["kept"], found["effective"]) == (18, 12, 12)
    assert (found["parameters"], found["parameters_masked"]) == (12 + 3 + 8 + 6 + 2 + 6, 8 + 2 + 8 + 4 + 2 + 6)
    assert found["parameters_compacted"] is None and found["flops_compacted"] is None

    keras.utils.set_random_seed(0)
    first, second = L.Dense(3, activation="relu"), L.Dense(2)
    twin = keras.Sequential([keras.Input((4,)), L.BatchNormalization(), first, L.BatchNormalization(), second])
    for layer, arrays in ((first, masks[0]), (second, masks[1])):
        layer.set_weights([value * mask for value, mask in zip(layer.get_weights(), arrays, strict=True)])
    found = measured(model, plain=twin)
    assert found["parameters_compacted"] == (8 + 4 * 2) + 2 + (4 + 2 * 2) + 2
    assert found["flops_compacted"] == 2 * (8 + 4)


class Mystery(L.Layer):
    """Nothing says what it does."""

    def call(self, inputs):
        return inputs[:, ::-1]


def test_what_has_no_rule_is_none_and_told_in_a_line(model):
    odd = keras.Sequential([keras.Input((3,)), L.Dense(2, name="d"), Mystery(name="odd")])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = measured(odd, {"d/kernel": np.eye(3, 2, dtype=bool)})
    assert (found["weights"], found["kept"], found["parameters"], found["parameters_masked"]) == (6, 2, 8, 4)
    assert all(found[name] is None for name in COUNTED[2:3] + COUNTED[5:])
    assert found["layers"] == {"d/kernel": {"weights": 6, "kept": 2, "effective": None}}
    lines = [str(one.message) for one in caught]
    assert len(lines) == 2 and all("Mystery" in line and "\n" not in line for line in lines)


def test_nothing_is_raised():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.warns(UserWarning, match="not counted: nothing of this network"):
        assert measured(Own()) == dict.fromkeys((*COUNTED, "layers"))


def test_open_sizes_need_a_shape():
    model = keras.Sequential([keras.Input((None, None, 1)), L.Conv2D(2, 3), L.GlobalAveragePooling2D(), L.Dense(2)])
    with pytest.warns(UserWarning, match="give input_shape"):
        assert measured(model)["flops"] is None
    assert measured(model, input_shape=(4, 4, 1))["flops"] == 2 * (4 * 18 + 4)
