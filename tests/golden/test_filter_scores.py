"""Filter scores against the original's, and kept filters against the published counts."""

import json

import numpy as np
import pytest

from tfprune.pruning.filter_fractions import kept_filters
from tfprune.pruning.filter_scores import score_filters
from tfprune.pruning.filter_scores.gm_norm import geometric_median

# Relative to the largest score: |score - theirs|, and by how much their order may fall in our scores.
TOLERANCES = {"operator_norm": ("op", 5e-5, 1e-4), "l1_norm": ("l1", 1e-5, 1e-6), "gm_norm": ("gm", 1e-5, 1e-6)}


@pytest.fixture(params=range(5))
def stored(request, golden):
    """(kernel (positions, channels, filters), the original's arrays)."""
    with np.load(golden / f"filters/kernel_{request.param}.npz") as arrays:
        theirs = dict(arrays)
    drawn = np.random.default_rng(int(theirs["seed"])).normal(size=theirs["shape"]).astype(np.float32)
    filters, channels, *_ = drawn.shape
    return drawn.reshape(filters, channels, -1).transpose(2, 1, 0), theirs


@pytest.mark.parametrize("scoring", TOLERANCES)
def test_scores_and_order(stored, scoring):
    kernel, theirs = stored
    key, close, fall = TOLERANCES[scoring]
    scores = score_filters({"kernel": kernel}, scoring)["kernel"]
    expected = theirs[f"{key}_score"]
    allowed = close * (expected.max() if scoring == "operator_norm" else expected)
    assert (np.abs(scores - expected) <= allowed).all()
    assert np.diff(scores[theirs[f"{key}_order"]]).min() >= -fall * scores.max()


def test_operator_norm_before_normalisation(stored):
    kernel, theirs = stored
    raw = theirs["op_raw_f64"]
    scores = score_filters({"kernel": kernel}, "operator_norm")["kernel"]
    np.testing.assert_allclose(scores, raw**2 / raw.max(), atol=1e-6 * scores.max())


def test_geometric_median(stored):
    kernel, theirs = stored
    point = geometric_median(kernel.astype(float).reshape(-1, kernel.shape[-1])).numpy()
    point = point.reshape(kernel.shape[:2]).T.reshape(theirs["gm_point"].shape)
    np.testing.assert_allclose(point, theirs["gm_point"], atol=1e-6)


@pytest.mark.parametrize("network", ["vgg16", "resnet50"])
def test_kept_filters_of_all_versions(golden, network):
    stored = json.loads((golden / "filters/parameter_counts.json").read_text())[network]
    filters = stored["prunable_layer_filters"]
    assert len(stored["versions"]) >= 13
    for name, version in stored["versions"].items():
        kept = [kept_filters(count, fraction) for count, fraction in zip(filters, version["p"], strict=True)]
        assert kept == version["kept_filters"], name
