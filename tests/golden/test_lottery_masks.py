"""Level after level of lottery pruning against the original's masks."""

import json

import keras
import numpy as np
import pytest
from keras import layers

from tfprune.errors import InputError
from tfprune.experiments.lottery.pruning import ignored_kernels, prune_magnitudes
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable

TAGS = ("same_all", "same_ignore_out", "same_ignore_two", "same_all_f35", "same_ignore_first", "fresh_all")
SHAPES = ((784, 300), (300, 100), (100, 10))


@pytest.fixture(scope="module")
def lenet():
    names = ("fc_layers.0", "fc_layers.1", "fc")
    dense = [layers.Dense(shape[1], name=name) for name, shape in zip(names, SHAPES, strict=True)]
    return keras.Sequential([keras.Input((784,)), *dense], name="lenet")


@pytest.mark.parametrize("tag", [*TAGS, "fresh_ignore_out"])
def test_masks_of_all_levels(tag, golden, lenet):
    cases = json.loads((golden / "lottery/sparse_global_cases.json").read_text())["cases"]
    case = next(case for case in cases if case["tag"] == tag)
    rng = np.random.default_rng(case["seed"])
    ignore = ignored_kernels(lenet, case["layers_to_ignore"])
    masks, counts, kernels = Masks.dense(lenet), [], None
    with np.load(golden / "lottery/sparse_global.npz") as arrays:
        expected, packed = arrays[f"{tag}_counts"], arrays[f"{tag}_mask"]
    for _ in expected:
        if kernels is None or case["weights_per_level"] != "same":
            kernels = [(rng.normal(size=shape) * 0.05).astype("f4") for shape in SHAPES]
        for variable, kernel in zip(prunable(lenet).values(), kernels, strict=True):
            variable.assign(kernel)
        masks = prune_magnitudes(lenet, masks, case["pruning_fraction"], ignore, published=True)
        counts.append(list(masks.counts.values()))
    np.testing.assert_array_equal(counts, expected)
    bits = np.concatenate([mask.ravel() for mask in masks.values()])
    np.testing.assert_array_equal(np.packbits(bits), packed)
    if "stops" in case:
        with pytest.raises(InputError, match="23959 weights are to be pruned of the 4379"):
            prune_magnitudes(lenet, masks, case["pruning_fraction"], ignore, published=True)


def test_exactly_the_fraction_by_default(lenet):
    masks = Masks.dense(lenet)
    for left in (212960, 170368, 136294):  # n - ceil(n / 5)
        masks = prune_magnitudes(lenet, masks, 0.2)
        assert masks.kept == left
    masks = prune_magnitudes(lenet, Masks.dense(lenet), 0.2, ["fc/kernel"])
    assert masks.kept == 265200 - 53040 + 1000 and masks["fc/kernel"].all()


def test_unknown_layer(lenet):
    with pytest.raises(InputError, match=r"kernels of lenet: fc_layers.0/kernel, .* Received: 'fc.bias'"):
        ignored_kernels(lenet, "fc.weight,fc.bias")
