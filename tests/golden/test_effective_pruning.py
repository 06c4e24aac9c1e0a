"""Pruning LeNet-300-100 to effective and direct targets, for every seed of the weights that the original was run with.

SynFlow, where only the weights are drawn, gives the original's numbers; what draws by itself lies within 5 standard
deviations of them.
"""

import numpy as np
import pytest

from tfprune.connectivity.reachability import Reachability
from tfprune.pruning.pruner import prune

PRUNERS = {
    "random_uniform": "random/uniform",
    "random_erk": "random/erk",
    "random_igq": "random/igq",
    "snip": "snip",
    "synflow": "synflow",
}
# Largest standard deviation over seeds of the direct sparsity that reaches an effective target.
DEVIATIONS = {"random_uniform": 7.4e-4, "random_erk": 2.2e-4, "random_igq": 7.5e-5, "snip": 2e-4, "synflow": 4.3e-5}
TOTAL = 266_200
CASES = [(key, seed) for key in PRUNERS for seed in range(3 if key in ("snip", "synflow") else 5)]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(21)
    return rng.normal(size=(1024, 28, 28, 1)).astype("f4"), rng.integers(0, 10, 1024)


def near(value, samples, deviation, least):
    """Within 5 standard deviations of the samples' mean: the stated one or the samples' own, whichever is larger."""
    return abs(value - samples.mean()) <= 5 * max(deviation, samples.std()) + least


@pytest.mark.filterwarnings("ignore:layer collapse")  # SNIP at 0.999, as the original
@pytest.mark.parametrize(
    ("pruning_type", "key", "seed"),
    [
        pytest.param(*case, marks=() if case[2] < quick else pytest.mark.slow)
        for pruning_type, quick in (("effective", 2), ("direct", 1))
        for case in [(pruning_type, *each) for each in CASES]
    ],
)
def test_sparsities(golden, seeded_model, data, key, seed, pruning_type):
    with np.load(golden / "effective_sparsity/effective_pruning.npz") as stored:
        prefix = f"{key}__" if pruning_type == "effective" else f"{key}__directtype_"
        direct, effective = stored[f"{prefix}direct_overall"], stored[f"{prefix}effective_overall"]
        targets = stored["targets"]
        per_layer = stored[f"{key}__direct_kept_per_layer"]
        assert direct.shape == (len(targets), sum(known == key for known, _ in CASES))
    model = seeded_model(seed)
    reach = Reachability(model)
    for row, target in enumerate(targets):
        published = {"quota_rule": "published", "loss": "published"}
        masks = prune(model, PRUNERS[key], target, pruning_type, data, seed, batch_size=100, **published)
        achieved = reach(masks).sparsity
        assert near(masks.sparsity, direct[row], DEVIATIONS[key] if pruning_type == "effective" else 0, 8 / TOTAL)
        assert near(achieved, effective[row], 0, 60 / TOTAL if pruning_type == "effective" else 8 / TOTAL)
        if key == "synflow":
            assert abs(masks.sparsity - direct[row, seed]) * TOTAL < 3
            assert abs(achieved - effective[row, seed]) * TOTAL < 3
        if pruning_type == "effective":
            assert achieved <= target + 1e-12
            for ours, theirs in zip(masks.counts.values(), per_layer[row].T, strict=True):
                assert near(ours, theirs, DEVIATIONS[key] * TOTAL, 8)
