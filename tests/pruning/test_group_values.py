"""Masks of groups are, to the bit, those that a table of positions, a whole sort and masked reductions give."""

import keras
import numpy as np
import pytest
from keras import layers

from tfprune.layers.axes import kernel_axes
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.pruning.grid import Grid
from tfprune.pruning.patterns import as_pattern
from tfprune.pruning.selection import order_keys
from tfprune.pruning.shares import GlobalShare, QuotaShare
from tfprune.pruning.weighted_order import WeightedOrder


@pytest.fixture(scope="module")
def model():
    """Kernels (3, 3, 6, 10), (3, 3, 10, 1), transposed (2, 2, 9, 10), (24, 9) by an equation, and (9, 40)."""
    x = inputs = keras.Input((8, 8, 6))
    x = layers.DepthwiseConv2D(3)(layers.Conv2D(10, 3)(x))
    x = layers.GlobalAveragePooling2D()(layers.Conv2DTranspose(9, 2)(x))
    x = layers.EinsumDense("ab,cb->ac", output_shape=(24,))(x)
    return keras.Model(inputs, layers.Dense(40)(x))


def living_scores(values, alive, how):
    values, sizes = values.astype(np.float64), alive.sum(1)
    if how in ("max", "min"):
        sign = 1 if how == "max" else -1
        found = sign * (sign * values).max(1, where=alive, initial=-np.inf)
    else:
        found = values.sum(1, where=alive)
    found = found / np.maximum(sizes, 1) if how == "mean" else found
    return np.where(sizes > 0, found, 0).astype(np.float32)


def masks_of_groups(tables, scores, start, paths, count, nearest, how, seed):
    """Groups in the order of their scores, and how many weights the first k of them hold."""
    values, sizes, where, left = [], [], [], 0
    for path in paths:
        table, alive = tables[path], start[path].ravel()
        outside = alive.copy()
        outside[table] = False
        left += outside.sum()
        size = alive[table].sum(1)
        number = np.flatnonzero(size)
        values.append(living_scores(scores[path].ravel()[table], alive[table], how)[number])
        sizes.append(size[number])
        where += [(path, one) for one in number]
    keys = order_keys(np.concatenate(values), np.arange(len(where)), seed)
    order = np.argsort(keys)
    held = left + np.concatenate([[0], np.cumsum(np.concatenate(sizes)[order])])
    number = min(int(np.searchsorted(held, count)), len(order))
    if nearest and number and count - held[number - 1] < held[number] - count:
        number -= 1
    found = {}
    for path in paths:
        inside = np.zeros(start[path].size, bool)
        inside[tables[path]] = True
        found[path] = start[path].ravel() & ~inside
    for place in order[:number]:
        path, one = where[place]
        found[path][tables[path][one]] = start[path].ravel()[tables[path][one]]
    return {path: mask.reshape(start[path].shape) for path, mask in found.items()}


def best_of_each(tables, scores, start, number, seed):
    found, first = {}, 0
    for path, table in tables.items():
        alive = start[path].ravel()
        keys = order_keys(scores[path].ravel()[table], table.astype(np.int64) + first, seed)
        keys[~alive[table]] = np.iinfo(np.int64).max
        kept = alive.copy()
        kept[table] = alive[table] & (np.argsort(np.argsort(keys, axis=1), axis=1) < number)
        found[path], first = kept.reshape(start[path].shape), first + alive.size
    return found


def drawn(model, draw, part, seed=0):
    rng = np.random.default_rng(seed)
    scores = {path: draw(rng, tuple(kernel.shape)).astype("f4") for path, kernel in prunable(model).items()}
    return scores, Masks({path: rng.random(score.shape) < part for path, score in scores.items()})


DRAWS = {
    "all different": lambda rng, shape: rng.normal(size=shape) * 10.0 ** rng.integers(-3, 4, shape),
    "ties": lambda rng, shape: rng.integers(-1, 2, shape),
}


@pytest.mark.parametrize("part", [1, 0.7])
@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("pattern", ["4x1", "1x4", "2x2", "16x1", "2x5", "row", "column", "kernel"])
def test_groups(model, pattern, draw, part):
    scores, start = drawn(model, DRAWS[draw], part)
    axes = kernel_axes(model)
    tables = {path: as_pattern(pattern).groups(axes[path], mask.shape) for path, mask in start.items()}
    shapes = {path: mask.shape for path, mask in start.items()}
    for how, highest in (("mean", False), ("sum", False), ("max", False), ("max", True)):
        grid = Grid(as_pattern(pattern), model, start, how, "dense", highest)
        for share in (GlobalShare(shapes), QuotaShare(shapes, "uniform")):
            ranking = grid.ranking(dict(scores), start, share, 3)
            reduce = "min" if highest else how
            for density in (0.9, 0.4, 0.1, 0.0):
                counts, expected = share.counts(density), {}
                for group, count in zip(share.groups, counts, strict=True):
                    given = (group, count, share.nearest, reduce, 3)
                    expected |= masks_of_groups(tables, scores, start, *given)
                found = ranking.masks(counts)
                assert list(found) == list(start)
                for path, mask in found.items():
                    np.testing.assert_array_equal(mask, expected[path])
                    assert mask.flags.c_contiguous


@pytest.mark.parametrize("part", [1, 0.7])
@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("pattern", ["2:4", "1:4", "1:2", "3:5", "1:9", "4:9"])
def test_best_of_each(model, pattern, draw, part):
    scores, start = drawn(model, DRAWS[draw], part)
    kind, axes = as_pattern(pattern), kernel_axes(model)
    tables = {path: kind.groups(axes[path], mask.shape) for path, mask in start.items()}
    shapes = {path: mask.shape for path, mask in start.items()}
    grid = Grid(kind, model, start, remainder="dense")
    expected = best_of_each(tables, scores, start, kind.kept, 3)
    assert grid.kept == {path: np.count_nonzero(mask) for path, mask in expected.items()}
    found = grid.ranking(dict(scores), start, GlobalShare(shapes), 3).masks([sum(grid.kept.values())])
    for path, mask in found.items():
        np.testing.assert_array_equal(mask, expected[path])


def test_what_the_fewest_items_hold():
    """Items 2, 0, 3, 1 hold 4, 1, 2, 3, beside 5 that need none."""
    order = WeightedOrder(np.array([-7, 9, -(2**62), 0]), np.array([1, 3, 4, 2]), 5)

    def held(count, nearest=False):
        return np.flatnonzero(order.holding(count, nearest)).tolist()

    assert [held(count) for count in (0, 5, 6, 9, 10, 11, 12, 15, 99)] == (
        [[], [], [2], [2], [0, 2], [0, 2, 3], [0, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]]
    )
    assert [held(count, True) for count in (6, 7, 8, 13, 14)] == [[], [2], [2], [0, 2, 3], [0, 1, 2, 3]]
