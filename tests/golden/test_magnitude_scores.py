"""Masks by magnitude and LAMP against the original's, bit for bit."""

import numpy as np
import pytest

from tfprune.layers.masks import Masks
from tfprune.pruning.pruner import prune
from tfprune.pruning.ranking import Alive, Ranking
from tfprune.pruning.scores import SCORES

PRUNERS = {
    "lamp": "lamp",
    "magnitude_global": "magnitude/global",
    "magnitude_erk": "magnitude/erk",
    "magnitude_igq": "magnitude/igq",
}
# Two equal |w| lie at the first layer's cut: which of them is kept is luck in the original and seeded here.
TIES = {("lenet300100", "magnitude_erk", 0.95): 2}
# The original's IGQ ends its bisection within one weight of the total, and that may turn a rounding in a layer.
ROUNDED_OTHERWISE = {"magnitude_igq": 1}


@pytest.fixture
def stored(golden):
    with np.load(golden / "effective_sparsity/magnitude.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", ["lenet300100", "lenet5"])
@pytest.mark.parametrize("sparsity", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("method", PRUNERS)
def test_masks(stored, weighted_model, flat, unpacked, name, method, sparsity):
    masks = prune(weighted_model(name), PRUNERS[method], sparsity, quota_rule="published")
    ours = flat(masks)
    theirs = unpacked(stored[f"{name}__{method}__{sparsity}"], ours.size)
    allowed = ROUNDED_OTHERWISE.get(method, 0) * len(masks)
    assert abs(np.count_nonzero(ours) - np.count_nonzero(theirs)) <= allowed
    assert np.count_nonzero(ours != theirs) <= TIES.get((name, method, sparsity), allowed)


@pytest.mark.parametrize("name", ["lenet300100", "lenet5"])
@pytest.mark.parametrize("sparsity", [0.8, 0.95, 0.99])
def test_igq_masks_with_the_stored_quotas(stored, weighted_model, flat, unpacked, name, sparsity):
    model = weighted_model(name)
    dense = Masks.dense(model)
    scores = SCORES["magnitude"](model, None, dense, np.random.default_rng(0))
    sizes = [mask.size for mask in dense.values()]
    quotas = stored[f"{name}__igq_quotas__{sparsity}"]
    counts = [size - round(size * quota) for size, quota in zip(sizes, quotas, strict=True)]
    ours = flat(Ranking(scores, Alive(dense), [[path] for path in dense], seed=0).masks(counts))
    np.testing.assert_array_equal(ours, unpacked(stored[f"{name}__magnitude_igq__{sparsity}"], ours.size))


@pytest.mark.parametrize("name", ["lenet300100", "lenet5"])
def test_lamp_scores(stored, weighted_model, flat, name):
    model = weighted_model(name)
    scores = flat(SCORES["lamp"](model, None, Masks.dense(model), np.random.default_rng(0)))
    sample = scores[np.random.default_rng(99).choice(scores.size, 2000, replace=False)]
    np.testing.assert_allclose(sample, stored[f"{name}__lamp_scores_sample_numpy1_float64"], rtol=1.2e-4)
    np.testing.assert_allclose(sample, stored[f"{name}__lamp_scores_sample_numpy2_float32"], rtol=1.2e-4)
