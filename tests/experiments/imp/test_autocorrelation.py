from itertools import pairwise

import numpy as np
import pytest

from tfprune.experiments.imp.figures.autocorrelation import (
    expected_local_fraction_random,
    local_fraction,
    locality_by_connections,
    locality_maps,
    random_locality_maps,
    random_mask_like,
)


def pair_loop(mask, image_shape):
    """Both maps by the definition."""
    _, height, width = image_shape
    maps = np.zeros((2, 2 * height - 1, 2 * width - 1), dtype=np.int64)
    places = [np.unravel_index(i, image_shape) for i in range(len(mask))]
    for unit in mask.T:
        connected = np.flatnonzero(unit)
        for i in connected:
            for j in connected:
                if i != j:
                    (a, y, x), (b, v, u) = places[i], places[j]
                    maps[int(a != b), height - 1 + v - y, width - 1 + u - x] += 1
    return maps


def unit(image_shape, *places):
    mask = np.zeros(image_shape, dtype=bool)
    for place in places:
        mask[place] = True
    return mask.reshape(-1, 1)


def test_a_unit_of_three_pixels_by_hand():
    # Channel 0: (0, 0) and (1, 2); channel 1: (0, 0).
    maps = locality_maps(unit((2, 2, 3), (0, 0, 0), (0, 1, 2), (1, 0, 0)), (2, 2, 3))
    assert maps.same_channel.tolist() == [[1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 1]]
    assert maps.different_channel.tolist() == [[1, 0, 0, 0, 0], [0, 0, 2, 0, 0], [0, 0, 0, 0, 1]]
    assert maps.pairs == 6
    # |(1, 2)| = 2.236: local at distance 2.3, not at 2.2.
    assert maps.local_fraction(2.3) == pytest.approx(2 / 6)
    assert maps.local_fraction(2.3, "same_channel") == 1.0
    assert maps.local_fraction(2.2) == 0.0


@pytest.mark.parametrize("image_shape", [(3, 5, 4), (1, 8, 8), (2, 1, 7), (3, 1, 1)])
@pytest.mark.parametrize("density", [0.1, 0.5, 1.0])
def test_equals_loops_over_pairs(image_shape, density):
    mask = np.random.default_rng(1).random((int(np.prod(image_shape)), 6)) < density
    maps = locality_maps(mask, image_shape)
    same, different = pair_loop(mask, image_shape)
    assert np.array_equal(maps.same_channel, same)
    if image_shape[0] == 1:
        assert maps.different_channel is None and not different.any()
    else:
        assert np.array_equal(maps.different_channel, different)


def test_blocks_of_units_add_up(monkeypatch):
    mask = np.random.default_rng(2).random((48, 11)) < 0.4
    whole = locality_maps(mask, (3, 4, 4))
    monkeypatch.setattr("tfprune.experiments.imp.figures.autocorrelation._BLOCK_BYTES", 5000)
    parts = locality_maps(mask, (3, 4, 4))
    assert np.array_equal(whole.same_channel, parts.same_channel)
    assert np.array_equal(whole.different_channel, parts.different_channel)


def test_counts_of_a_dense_layer_are_exact():
    # 600 units connected to everything: the largest count at 64 × 64 pixels, far beyond what float32 holds.
    maps = locality_maps(np.ones((3 * 64 * 64, 600), dtype=bool), (3, 64, 64))
    assert maps.same_channel[63, 64] == 600 * 3 * 64 * 63
    assert maps.different_channel[63, 63] == 600 * 6 * 64 * 64
    assert maps.pairs == 600 * 12288 * 12287


def test_no_connections_and_no_units():
    for mask in (np.zeros((27, 4)), np.zeros((27, 0))):
        maps = locality_maps(mask, (3, 3, 3))
        assert maps.pairs == 0
        assert np.isnan(maps.local_fraction())
    assert locality_by_connections(np.zeros((27, 4)), (3, 3, 3)) == []


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"Received: shape \(26, 4\)"):
        locality_maps(np.zeros((26, 4)), (3, 3, 3))
    with pytest.raises(ValueError, match="among"):
        local_fraction(np.ones((27, 4)), (3, 3, 3), among="same")


def test_random_expectation_of_full_units_is_the_count_itself():
    maps = locality_maps(np.ones((60, 3)), (3, 4, 5))
    expected = random_locality_maps([60, 60, 60], (3, 4, 5))
    assert np.allclose(expected.same_channel, maps.same_channel, rtol=1e-12)
    assert np.allclose(expected.different_channel, maps.different_channel, rtol=1e-12)


@pytest.mark.parametrize("among", ["all", "same_channel"])
def test_random_expectation_agrees_with_random_masks(among):
    rng = np.random.default_rng(3)
    mask = np.zeros((192, 4000), dtype=bool)
    mask[:20, :2000] = True
    mask[:7, 2000:] = True
    fraction = local_fraction(random_mask_like(mask, rng), (3, 8, 8), among=among)
    # 20 % deviation from chance would be 20 standard errors.
    assert fraction == pytest.approx(expected_local_fraction_random((3, 8, 8), among=among), rel=0.02)


def test_expected_fraction_by_hand():
    # 1 × 2 pixels in 2 channels: of 4·3 ordered pairs 4 are in the same channel, all at distance 1.
    assert expected_local_fraction_random((2, 1, 2)) == pytest.approx(1 / 3)
    assert expected_local_fraction_random((2, 1, 2), among="same_channel") == 1.0


def test_random_masks_keep_numbers_and_seed():
    mask = np.random.default_rng(4).random((100, 30)) < np.linspace(0, 1, 30)
    first = random_mask_like(mask, np.random.default_rng(5))
    assert np.array_equal(first.sum(axis=0), mask.sum(axis=0))
    assert not np.array_equal(first, mask)
    assert np.array_equal(first, random_mask_like(mask, np.random.default_rng(5)))


def test_groups_by_connections_partition_units_and_pairs():
    mask = np.random.default_rng(6).random((75, 40)) < np.linspace(0, 0.6, 40)
    groups = locality_by_connections(mask, (3, 5, 5), groups=4)
    counts = mask.sum(axis=0)
    assert len(groups) == 4
    assert sorted(np.concatenate([g.units for g in groups])) == np.flatnonzero(counts >= 2).tolist()
    assert all(low.most < high.fewest for low, high in pairwise(groups))
    total = sum(g.maps.same_channel for g in groups)
    assert np.array_equal(total, locality_maps(mask, (3, 5, 5)).same_channel)


def test_equal_numbers_stay_in_one_group():
    groups = locality_by_connections(np.ones((12, 9)), (3, 2, 2), groups=4)
    assert [(g.fewest, g.most, len(g.units)) for g in groups] == [(12, 12, 9)]
