"""Masks of iterative magnitude pruning against the original's, bit for bit."""

import numpy as np
import pytest

from tfprune.experiments.imp.arch import parse_arch
from tfprune.experiments.imp.masks import prune_layerwise
from tfprune.layers.masks import Masks

SHAPES = ((192, 32), (32, 16), (16, 10))
# The original's fault: a mask already sparser than its ratio lost its threshold and every weight came back.
REGROWN = {"with_old_mask__ratio_0.3": (0, 1), "with_old_mask__ratio_0.51": (1,)}


@pytest.fixture
def case(golden):
    with np.load(golden / "imp/masks.npz") as arrays:
        stored = dict(arrays)

    def masks(name):
        return {
            f"layer_{index}/{ours}": np.unpackbits(stored[f"{name}__{part}_layer{index}"])[: np.prod(shape)]
            .reshape(shape)
            .astype(bool)
            for index, layer in enumerate(SHAPES)
            for ours, part, shape in (("kernel", "weights", layer), ("bias", "biases", layer[1:]))
        }

    return masks, stored


@pytest.fixture
def inputs():
    """(weights, old masks) as the golden recipe draws them."""
    rng = np.random.default_rng(5)
    weights = [[rng.normal(size=shape).astype("f4"), rng.normal(size=shape[1]).astype("f4")] for shape in SHAPES]
    rng = np.random.default_rng(6)
    old = [[rng.random(shape) >= 0.5, rng.random(shape[1]) >= 0.2] for shape in SHAPES[:2]]
    return _by_path(weights), Masks({**_ones(), **_by_path(old)})


def _ones():
    return Masks(_by_path([[np.ones(shape, bool), np.ones(shape[1], bool)] for shape in SHAPES]))


def _by_path(layers):
    return {
        f"layer_{index}/{name}": array
        for index, arrays in enumerate(layers)
        for name, array in zip(("kernel", "bias"), arrays, strict=True)
    }


def _layers(prune="T:T:F"):
    return parse_arch("f32:f16:x", prune, (3, 8, 8), 10)


def _assert_equal(got, expected, layers=(0, 1, 2)):
    for index in layers:
        for path in (f"layer_{index}/kernel", f"layer_{index}/bias"):
            np.testing.assert_array_equal(got[path], expected[path])


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.51, 0.9, 0.99])
def test_from_a_dense_mask(case, inputs, ratio):
    masks = prune_layerwise(_layers(), inputs[0], _ones(), np.full(2, ratio))
    _assert_equal(masks, case[0](f"no_old_mask__ratio_{ratio}"))


@pytest.mark.parametrize("ratio", [0.3, 0.51, 0.9, 0.99])
def test_from_an_old_mask(case, inputs, ratio):
    weights, old = inputs
    name = f"with_old_mask__ratio_{ratio}"
    published = prune_layerwise(_layers(), weights, old, np.full(2, ratio), regrow=True)
    _assert_equal(published, case[0](name))
    ours = prune_layerwise(_layers(), weights, old, np.full(2, ratio))
    grown_back = REGROWN.get(name, ())
    _assert_equal(ours, published, [index for index in range(3) if index not in grown_back])
    for index in grown_back:
        assert published[f"layer_{index}/kernel"].all()
        _assert_equal(ours, old, [index])


def test_one_ratio_per_pruned_layer(case, inputs):
    weights = inputs[0]
    masks = prune_layerwise(_layers(), weights, _ones(), np.array([0.3, 0.9]))
    _assert_equal(masks, case[0]("no_old_mask__ratios_0.3_0.9"))
    masks = prune_layerwise(_layers("T:F:T"), weights, _ones(), np.array([0.3, 0.9]))
    _assert_equal(masks, case[0]("prune_TFT_no_old_mask__ratios_0.3_0.9"))


def test_zero_biases_are_pruned_with_the_weights(case, inputs):
    weights = {path: array * (not path.endswith("bias")) for path, array in inputs[0].items()}
    masks = prune_layerwise(_layers(), weights, _ones(), np.full(2, 0.3))
    _assert_equal(masks, case[0]("zero_biases_no_old_mask__ratio_0.3"))


def test_a_chain_of_prunings(case, inputs):
    masks, ratios = _ones(), np.zeros(2)
    for iteration in range(1, 5):
        ratios = ratios + 0.3 * (1 - ratios)
        np.testing.assert_array_equal(ratios, case[1][f"chain_prune_ratio_0.3__iteration_{iteration}__ratios"])
        masks = prune_layerwise(_layers(), inputs[0], masks, ratios)
        _assert_equal(masks, case[0](f"chain_prune_ratio_0.3__iteration_{iteration}"))
