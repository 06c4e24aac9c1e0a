"""SynFlow against the original: masks after 100 rounds and the flow on the way."""

import dataclasses

import numpy as np
import pytest

from tfprune.pruning.pruner import prune
from tfprune.pruning.scores import SCORES
from tfprune.pruning.scores.synflow import flow


@pytest.mark.parametrize("name", ["lenet300100", "lenet5"])
@pytest.mark.parametrize("sparsity", [0.9, 0.99])
def test_masks_and_flow(golden, weighted_model, flat, unpacked, monkeypatch, name, sparsity):
    """At most 2 of 10,000 kept bits differ; the score sums of all layers in rounds 1, 50, 100 are those published."""
    sums = []

    def recorded(*arguments, **options):
        model, _, masks, _ = arguments
        scores, exponent = flow(model, masks)
        sums.append([score.sum(dtype=np.float64) * 2.0**exponent for score in scores.values()])
        return scores

    monkeypatch.setitem(SCORES, "synflow", dataclasses.replace(SCORES["synflow"], function=recorded))
    masks = prune(weighted_model(name), "synflow", sparsity)
    with np.load(golden / "effective_sparsity/synflow.npz") as stored:
        ours = flat(masks)
        theirs = unpacked(stored[f"{name}__mask_packed__{sparsity}"], ours.size)
        assert masks.kept == stored[f"{name}__counts__{sparsity}"].sum()
        assert np.count_nonzero(ours != theirs) <= 2 * masks.kept / 10_000
        expected = stored[f"{name}__score_sums_at_iterations_1_50_100__{sparsity}"]
    np.testing.assert_allclose(np.array(sums)[[0, 49, 99]], expected, rtol=1e-5)
