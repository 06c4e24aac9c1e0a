"""The search for a target effective sparsity, on invented counts and on networks where the answer is known."""

import keras
import numpy as np
import pytest
from keras import layers

from tfprune.errors import InputError
from tfprune.layers.masks import Masks
from tfprune.pruning.effective import at_effective_sparsity
from tfprune.pruning.pruner import prune
from tfprune.pruning.schedules import Schedule
from tfprune.pruning.shares import OutOfReach
from tfprune.sparsity.reachability import Reachability

SIZE = 20_000


def first(count):
    return Masks({"kernel": np.arange(SIZE) < count})


@pytest.fixture
def searched():
    """(effective counts by number kept, sparsity, landmarks) -> (kept, number of questions asked)."""

    def searched(counts, sparsity, landmarks):
        asked = []

        def effective(masks):
            asked.append(masks.kept)
            return first(int(counts[masks.kept]))

        found = at_effective_sparsity(first, effective, sparsity, first(SIZE), landmarks)
        return found.kept, len(asked)

    return searched


@pytest.mark.parametrize("kind", ["identity", "steps", "late", "concave", "noisy"])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.9, 0.99, 0.9999])
@pytest.mark.parametrize("landmarks", [[SIZE], [100, 1000, 5000, SIZE]])
def test_the_fewest_that_reach(searched, kind, sparsity, landmarks):
    kept = np.arange(SIZE + 1)
    counts = {
        "identity": kept,
        "steps": kept // 777 * 777,
        "late": np.where(kept < 15_000, 0, kept),
        "concave": kept * kept // SIZE,
        "noisy": np.cumsum(np.random.default_rng(0).random(SIZE + 1) < kept / SIZE),
    }[kind]
    counts = np.where(kept == SIZE, SIZE, counts)
    needed = SIZE - int(sparsity * SIZE + 1e-6)
    found, questions = searched(counts, sparsity, landmarks)
    assert found == np.flatnonzero(counts >= needed)[0]
    assert questions <= 30  # 15 for bisection alone; interpolation may mislead where counts jump


def test_smooth_counts_take_few_questions(searched):
    counts = np.arange(SIZE + 1) - np.arange(SIZE + 1) // 50
    assert searched(np.where(counts >= counts[-1], SIZE, counts), 0.9, [2000, 2500, 3125, SIZE])[1] <= 10


def test_what_no_masks_reach(searched):
    counts = np.minimum(np.arange(SIZE + 1), 15_000)
    with pytest.raises(InputError, match=r"sparsity 0.1 is out of reach: nothing pruned.* already 0.25; ask"):
        searched(counts, 0.1, [18_000, SIZE])
    assert searched(counts, 0.25, [SIZE])[0] == 15_000


def test_what_a_quota_refuses():
    def masks_of(kept):
        if kept < 5000:
            raise OutOfReach("the first layer stays whole", too_sparse=True)
        return first(kept)

    found = at_effective_sparsity(masks_of, lambda masks: masks, 0.75, first(SIZE), [5000, SIZE])
    assert found.kept == 5000  # exactly at the quota's limit
    with pytest.raises(InputError, match=r"the most is 0\.75: the first layer stays whole"):
        at_effective_sparsity(masks_of, lambda masks: masks, 0.8, first(SIZE), [4000, SIZE])


def chain(*widths):
    return keras.Sequential([keras.Input((widths[0],)), *[layers.Dense(width, "relu") for width in widths[1:]]])


PRUNERS = ("random", "random/uniform", "random/erk", "random/igq", "magnitude", "magnitude/igq", "lamp", "synflow")


@pytest.mark.parametrize("pruner", [*PRUNERS, "random/synflow"])
@pytest.mark.parametrize("sparsity", [0.5, 0.9, 0.97])
def test_one_step_less_would_be_too_sparse(pruner, sparsity):
    keras.utils.set_random_seed(3)
    model = chain(20, 30, 30, 10)
    reach = Reachability(model)
    masks = prune(model, pruner, sparsity, "effective", seed=1)
    needed = masks.size - int(sparsity * masks.size + 1e-6)
    assert reach(masks).kept >= needed
    assert masks.kept >= needed
    if "synflow" not in pruner:  # of a one-shot pruner, the direct masks are the same nested ones
        fewer = prune(model, pruner, 1 - (masks.kept - 4) / masks.size, seed=1)
        assert all(not (fewer[path] & ~masks[path]).any() for path in masks)
        assert reach(fewer).kept < needed


def test_by_hand():
    """The 8 largest weights lie in the first layer and lead nowhere; the 9th opens the way out for 4 of them."""
    model = chain(4, 2, 1)
    model.layers[0].kernel.assign([[5.0, 4.0]] * 4)
    model.layers[1].kernel.assign([[1.0], [0.1]])
    masks = prune(model, "magnitude", 0.5, "effective")
    assert (masks.kept, Reachability(model)(masks).kept) == (9, 5)
    assert list(masks.values())[1].tolist() == [[True], [False]]


def test_iterative_rounds_end_where_the_effective_weights_run_out():
    keras.utils.set_random_seed(0)
    model = chain(30, 40, 40, 5)
    iterative = prune(model, "magnitude/uniform", 0.95, "effective", schedule=Schedule(10))
    once = prune(model, "magnitude/uniform", 0.95, "effective")
    assert iterative == once  # magnitudes do not change from round to round


def test_dense_target_needs_every_weight():
    masks = prune(chain(5, 4, 3), "magnitude", 0.0, "effective")
    assert masks.kept == masks.size
