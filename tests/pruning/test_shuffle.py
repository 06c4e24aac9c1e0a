import numpy as np

from tfprune.layers.masks import Masks
from tfprune.pruning.shuffle import shuffled_layerwise


def test_same_counts_elsewhere():
    rng = np.random.default_rng(0)
    masks = Masks({"a/kernel": rng.random((20, 30)) < 0.2, "b/kernel": rng.random((30, 5)) < 0.7})
    new = shuffled_layerwise(masks, np.random.default_rng(1), ignore=["b/kernel"])
    assert new.counts == masks.counts
    assert not np.array_equal(new["a/kernel"], masks["a/kernel"])
    assert np.array_equal(new["b/kernel"], masks["b/kernel"])
    assert new == shuffled_layerwise(masks, np.random.default_rng(1), ignore=["b/kernel"])
