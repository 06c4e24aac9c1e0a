"""SNIP's saliencies with both losses against the original's, on LeNet-300-100 with batch norm."""

import numpy as np
import pytest

from tfprune.layers.masks import Masks
from tfprune.pruning.pruner import prune
from tfprune.pruning.scores import SCORES

LOSSES = {"swapped_as_original": "published", "standard_order": "cross_entropy"}


@pytest.fixture
def case(golden, weighted_model):
    """(model, (inputs, labels), stored arrays)."""
    with np.load(golden / "effective_sparsity/snip.npz") as arrays:
        stored = dict(arrays)
    rng = np.random.default_rng(11)
    data = rng.normal(size=(128, 28, 28, 1)).astype("f4"), rng.integers(0, 10, 128)
    np.testing.assert_array_equal(data[1][:16], stored["labels_first_16"])
    return weighted_model("lenet300100", scale=0.05, batchnorm=True), data, stored


@pytest.mark.parametrize("tag", LOSSES)
def test_saliencies(case, flat, tag):
    model, data, stored = case
    scores = SCORES["snip"](model, [data], Masks.dense(model), np.random.default_rng(0), loss=LOSSES[tag])
    saliencies = flat(scores)[np.random.default_rng(12).choice(266200, 20000, replace=False)]
    np.testing.assert_allclose(saliencies, stored[f"{tag}__saliency_subsample"], rtol=1e-5, atol=1e-7)
    sums = [score.sum(dtype=np.float64) for score in scores.values()]
    np.testing.assert_allclose(sums, stored[f"{tag}__saliency_layer_sums"], rtol=1e-5)


@pytest.mark.parametrize("tag", LOSSES)
@pytest.mark.parametrize("one_hot", [False, True])
def test_masks(case, flat, unpacked, tag, one_hot):
    model, (inputs, labels), stored = case
    data = inputs, np.eye(10, dtype="f4")[labels] if one_hot else labels
    masks = prune(model, "snip", 0.95, data=data, loss=LOSSES[tag])
    assert np.count_nonzero(flat(masks) != unpacked(stored[f"{tag}__mask_packed_0.95"], 266200)) <= 2
    assert masks.kept == stored[f"{tag}__mask_counts_0.95"].sum()
