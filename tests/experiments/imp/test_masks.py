"""What decides the masks, where the golden masks do not show it: nothing left to prune, weights without an order."""

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.experiments.imp.arch import parse_arch
from tfprune.experiments.imp.masks import prune_layerwise, random_masks
from tfprune.experiments.imp.network import initial_weights

LAYERS = parse_arch("f3:x", "T:F", (1, 2, 2), 10)


@pytest.fixture
def weights():
    return initial_weights(LAYERS, np.random.default_rng(0))


@pytest.mark.parametrize("regrow", [False, True])
def test_all_or_nothing(weights, regrow):
    masks = random_masks(LAYERS, 0.5, np.random.default_rng(1))
    gone = prune_layerwise(LAYERS, weights, masks, np.ones(1), regrow)
    assert not gone["layer_0/kernel"].any() and not gone["layer_0/bias"].any() and gone["layer_1/kernel"].all()
    again = prune_layerwise(LAYERS, weights, masks, np.zeros(1), regrow)
    assert again["layer_0/kernel"].all() if regrow else again == masks


def test_the_threshold_by_hand(weights):
    """Of 15 magnitudes 0 .. 14 the one of rank 5 and all above it are kept, two equal ones together."""
    values = np.arange(15, dtype=np.float32)
    values[4] = 5  # as large as the threshold
    dense = {"layer_0/kernel": -values[3:].reshape(4, 3), "layer_0/bias": values[:3]}
    masks = prune_layerwise(
        LAYERS, weights | dense, random_masks(LAYERS, 0, np.random.default_rng(0)), np.full(1, 0.34)
    )
    assert masks["layer_0/kernel"].ravel().tolist() == [False, *[True] * 11]
    assert not masks["layer_0/bias"].any()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_cannot_be_ranked_are_named(weights, value):
    weights["layer_0/bias"][1] = value
    masks = random_masks(LAYERS, 0, np.random.default_rng(0))
    with pytest.raises(InputError, match="layer_0/bias holds NaN or infinite weights"):
        prune_layerwise(LAYERS, weights, masks, np.full(1, 0.5))
