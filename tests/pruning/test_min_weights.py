"""Weights that every kernel keeps: exact counts, nested masks, always a path, and targets that are reached."""

from itertools import pairwise

import keras
import numpy as np
import pytest
from keras import layers

from tfprune.connectivity.reachability import Reachability
from tfprune.errors import InputError
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.models.registry import build
from tfprune.pruning.pruner import prune
from tfprune.pruning.ranking import Alive, Ranking, pruned
from tfprune.pruning.schedules import Schedule
from tfprune.pruning.shares import Floors, GlobalShare, OutOfReach, QuotaShare
from tfprune.pruning.specs import PRUNERS
from tfprune.pruning.spine import spine

SHORT = {"synflow": Schedule(6), "snip/iterative": Schedule(6)}


@pytest.fixture(scope="module")
def chain():
    """Four dense kernels of very different scales: what is small runs empty first."""
    keras.utils.set_random_seed(1)
    widths = (15, 40, 30, 20, 5)
    model = keras.Sequential(
        [keras.Input(widths[:1]), *(layers.Dense(n, use_bias=False, name=f"d{n}") for n in widths[1:])]
    )
    for layer, scale in zip(model.layers, (1, 1e-3, 1, 1e-2), strict=True):
        layer.kernel.assign(scale * layer.kernel)
    rng = np.random.default_rng(0)
    return model, (rng.normal(size=(40, 15)).astype("f4"), rng.integers(0, 5, 40))


def paths_in(masks):
    """Number of paths through a chain of dense kernels, by matrix products."""
    product = np.ones((1, next(iter(masks.values())).shape[0]))
    for mask in masks.values():
        product = product @ mask
    return product.sum()


@pytest.mark.slow_beyond(12)
@pytest.mark.parametrize("name", [name for name in PRUNERS if not name.endswith("uniform_plus")])
@pytest.mark.parametrize("count", [1, 3])
def test_every_pruner_keeps_them_and_its_counts(chain, name, count):
    model, data = chain
    size = Masks.dense(model).size
    targets = (count * 4, count * 4 + 1, 40, 41, 200, size - 1)
    nested = []
    for kept in targets:
        schedule = SHORT.get(name)
        masks = prune(
            model, name, 1 - kept / size, data=data, batch_size=40, min_weights=count, schedule=schedule, verbose=0
        )
        if PRUNERS[name].quota is None:
            assert masks.kept == kept
        else:
            assert abs(masks.kept - kept) <= len(masks) / 2
        assert min(masks.counts.values()) >= count
        assert paths_in(masks) > 0
        nested.append(masks)
    if name not in SHORT and name != "random/synflow":  # of other targets these have other rounds
        assert all(fewer & more == fewer for fewer, more in pairwise(nested))


@pytest.mark.parametrize("name", ["magnitude", "magnitude/uniform", "random/snip", "snip/iterative"])
def test_effective_targets_are_met(chain, name):
    model, data = chain
    options = {"data": data, "batch_size": 40, "schedule": SHORT.get(name), "verbose": 0}
    for needed in (30, 100, 400):
        sparsity = 1 - needed / Masks.dense(model).size
        masks = prune(model, name, sparsity, "effective", min_weights=1, **options)
        effective = Reachability(model)(masks).kept
        assert needed <= effective <= 1.1 * needed + len(masks)
        assert min(masks.counts.values()) >= 1


def test_every_round_keeps_them(chain):
    model = chain[0]
    few = {}
    for rounds in (1, 2, 7):
        masks = prune(model, "magnitude", 1 - 8 / 2700, schedule=Schedule(rounds), min_weights=2)
        few[rounds] = masks.counts
        assert masks.kept == 8
    assert all(counts == {"d40/kernel": 2, "d30/kernel": 2, "d20/kernel": 2, "d5/kernel": 2} for counts in few.values())


@pytest.mark.parametrize("count", [1, 2, 5])
def test_what_is_chosen_leads_through(count):
    """Random scores and random gaps, checked by products of matrices."""
    model = keras.Sequential([keras.Input((6,)), *(layers.Dense(n, name=f"d{n}") for n in (9, 7, 8, 4))])
    reach = Reachability(model)
    plain_fails = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        shapes = {path: tuple(variable.shape) for path, variable in prunable(model).items()}
        scores = {path: rng.normal(size=shape).astype("f4") for path, shape in shapes.items()}
        start = Masks({path: rng.random(shape) < 0.4 for path, shape in shapes.items()})
        ranking = Ranking(dict(scores), Alive(start), [list(start)], seed)
        family = {kept: ranking.masks([kept]) for kept in range(start.kept)}
        chosen = spine(scores, start, family.__getitem__, count=count, effective=reach, seed=seed)
        assert all((chosen[path] <= start[path]).all() for path in start)
        assert [mask.sum() for mask in chosen.values()] == [min(count, kept) for kept in start.counts.values()]
        assert (paths_in(chosen) > 0) == (paths_in(start) > 0)
        alone = spine(scores, start, None, count=count, effective=None, seed=seed)
        for path, mask in alone.items():
            worst = scores[path][mask].min()
            assert worst >= scores[path][start[path] & ~mask].max(initial=-np.inf)
        plain_fails += paths_in(alone) == 0 < paths_in(start)
    assert plain_fails or count == 5  # the best of each kernel alone need not meet


def test_the_way_whose_worst_weight_is_best():
    """Two ways: 9 and 1, or 5 and 2. The best weights of both kernels belong to different ones."""
    model = keras.Sequential([keras.Input((1,)), layers.Dense(2, name="a"), layers.Dense(1, name="b")])
    model.get_layer("a").kernel.assign([[9, 5]])
    model.get_layer("b").kernel.assign([[1], [2]])
    masks = prune(model, "magnitude", 0.5, min_weights=1)
    assert masks["a/kernel"].tolist() == [[False, True]] and masks["b/kernel"].tolist() == [[False], [True]]


@pytest.mark.filterwarnings("ignore:layer collapse")
def test_above_the_cliff_nothing_changes(chain):
    model = chain[0]
    size = Masks.dense(model).size
    reach = Reachability(model)
    kept = prune(model, "magnitude", 1 - 1 / size, "effective", on_missed=lambda _: None).kept
    for more in (0, 1, 50, 300):
        sparsity = 1 - (kept + more) / size
        assert prune(model, "magnitude", sparsity, min_weights=1) == prune(model, "magnitude", sparsity)
    sparsity = 1 - (kept - 1) / size
    assert (
        reach(prune(model, "magnitude", sparsity)).kept
        == 0
        < reach(prune(model, "magnitude", sparsity, min_weights=1)).kept
    )


def test_first_weights_come_before_all_scores():
    rng = np.random.default_rng(0)
    masks = Masks({"a": rng.random((30, 20)) < 0.7, "b": rng.random((20, 9)) < 0.7})
    scores = {path: rng.integers(0, 4, mask.shape).astype("f4") for path, mask in masks.items()}  # many ties
    first = {path: mask & (rng.random(mask.shape) < 0.05) for path, mask in masks.items()}
    least = sum(mask.sum() for mask in first.values())
    groups = [list(masks)]
    ranking = Ranking(dict(scores), Alive(masks), groups, 3, first)
    for kept in (least, least + 1, 100, masks.kept - 1):
        found = ranking.masks([kept])
        assert found.kept == kept
        assert all(not (first[path] & ~found[path]).any() for path in masks)
        gone = pruned(scores, masks, groups, [kept], 3, first)
        for path in masks:
            left = masks[path].copy()
            left.ravel()[gone[path]] = False
            np.testing.assert_array_equal(left, found[path])


@pytest.mark.parametrize("quota", ["uniform", "erk", "igq"])
def test_quotas_give_up_what_floors_take(quota):
    shapes = {"a": (3, 3, 3, 8), "b": (3, 3, 8, 16), "c": (256, 20), "d": (20, 10)}
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    plain, share = QuotaShare(shapes, quota), QuotaShare(shapes, quota, floors=Floors(dict.fromkeys(shapes, 25)))
    before = None
    for density in np.linspace(100 / sum(sizes), 1, 200):
        counts = share.counts(density)
        assert min(counts) >= 25
        assert abs(sum(counts) - density * sum(sizes)) <= 2
        if min(plain.counts(density)) > 25:
            assert counts == plain.counts(density)
        assert before is None or all(more >= less for more, less in zip(counts, before, strict=True))
        before = counts
    for too_sparse in (share, GlobalShare(shapes, Floors(dict.fromkeys(shapes, 25)))):
        with pytest.raises(OutOfReach, match=r"min_weights keeps 100 of the 6,688 weights, so sparsity is at most"):
            too_sparse.counts(99 / sum(sizes))


def test_refused(chain):
    model = chain[0]
    with pytest.raises(InputError, match=r"min_weights keeps 400 of the 2,500 weights, so sparsity is at most 0\.84"):
        prune(model, "magnitude", 0.9, min_weights=100)
    with pytest.raises(InputError, match=r"out of reach, the most is .*: min_weights keeps 400"):
        prune(model, "magnitude", 0.99, "effective", min_weights=100)
    for wrong in (-1, 1.5, True, "2"):
        with pytest.raises(InputError, match="min_weights must be a non-negative integer"):
            prune(model, "magnitude", 0.5, min_weights=wrong)


def test_graphs_that_are_not_known_keep_the_best_of_each_kernel():
    class Own(layers.Layer):
        def call(self, inputs):
            return inputs * 2

    model = keras.Sequential([keras.Input((10,)), layers.Dense(10, name="a"), Own(), layers.Dense(10, name="b")])
    masks = prune(model, "magnitude", 0.98, min_weights=2)
    assert masks.counts == {"a/kernel": 2, "b/kernel": 2}
    for path, variable in prunable(model).items():
        assert np.abs(variable.numpy())[masks[path]].min() >= np.abs(variable.numpy())[~masks[path]].max()


def test_lenet5_by_snip_reaches_1995(recwarn):
    """Without such weights a kernel runs empty ten times above the target."""
    model = build("lenet5")
    rng = np.random.default_rng(0)
    data = rng.normal(size=(256, 32, 32, 3)).astype("f4"), rng.integers(0, 10, 256)
    assert prune(model, "snip", 1 - 1 / 1995, "effective", data).kept > 300
    (told,) = [str(warning.message) for warning in recwarn]
    assert told.startswith("effective sparsity 0.999499 was asked for, 0.99") and "nothing reaches the output" in told
    recwarn.clear()
    masks = prune(model, "snip", 1 - 1 / 1995, "effective", data, min_weights=1)
    assert Reachability(model)(masks).kept == 31  # of 61,770
    assert not list(recwarn)


@pytest.mark.slow
def test_mobilenet_by_magnitude_reaches_its_target(recwarn):
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=10)
    reach = Reachability(model)
    masks = prune(model, "magnitude", 0.9, "effective")
    assert reach(masks).sparsity < 0.8
    told = [str(warning.message) for warning in recwarn]
    assert any("loses its last" in line and "nothing reaches the output any more" in line for line in told), told
    recwarn.clear()
    masks = prune(model, "magnitude", 0.9, "effective", min_weights=1)
    assert reach(masks).sparsity == pytest.approx(0.9, abs=1e-3)
    assert not list(recwarn)
