"""The search for a target effective sparsity, on invented counts and on networks where the answer is known."""

import keras
import numpy as np
import pytest
from keras import layers

from tfprune.connectivity.reachability import Reachability
from tfprune.errors import InputError
from tfprune.layers.masks import Masks
from tfprune.pruning.effective import at_effective_sparsity
from tfprune.pruning.pruner import prune
from tfprune.pruning.schedules import Schedule
from tfprune.pruning.shares import OutOfReach

SIZE = 20_000


def first(count):
    return Masks({"kernel": np.arange(SIZE) < count})


@pytest.fixture
def searched():
    """(effective counts by number kept, sparsity, landmarks) -> (kept, number of questions asked, miss)."""

    def searched(counts, sparsity, landmarks):
        asked = []

        def effective(masks):
            asked.append(masks.kept)
            return first(int(counts[masks.kept]))

        found, missed = at_effective_sparsity(first, effective, sparsity, first(SIZE), landmarks)
        return found.kept, len(asked), missed

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
    found, questions, missed = searched(counts, sparsity, landmarks)
    assert found == np.flatnonzero(counts >= needed)[0]
    # 15 for bisection alone; interpolation may mislead where counts jump. A miss is looked at from both sides.
    assert questions <= 30 + 2 * (missed is not None)
    assert (missed is not None) == (counts[found] > 1.1 * needed + 1)
    if missed is not None:
        assert (missed.asked, missed.kept, missed.next_kept) == (sparsity, found, found - 1)
        assert (missed.reached, missed.left) == (1 - counts[found] / SIZE, counts[found - 1])


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

    found, _ = at_effective_sparsity(masks_of, lambda masks: masks, 0.75, first(SIZE), [5000, SIZE])
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


def assigned(model, **kernels):
    for name, values in kernels.items():
        kernel = model.get_layer(name).kernel
        kernel.assign(np.broadcast_to(values, kernel.shape))
    return model


def dense(units, name):
    return layers.Dense(units, use_bias=False, name=name)


def thin_middle():
    """8·8 large weights, 8·8 small ones of which one is the largest, 8·8 large ones."""
    model = keras.Sequential([keras.Input((8,)), dense(8, "a"), dense(8, "b"), dense(8, "c")])
    return assigned(model, a=5, c=5, b=0.1 + np.eye(8) * np.arange(8)[::-1] / 10)


def two_branches():
    """12 small weights lead to 80 + 160 large ones; 24 lie beside them."""
    inputs = keras.Input((6,))
    x = dense(4, "out")(dense(40, "wide")(dense(2, "thin")(inputs)))
    model = keras.Model(inputs, layers.Add()([x, dense(4, "side")(inputs)]))
    return assigned(model, thin=0.1 * np.arange(1, 13).reshape(6, 2), wide=5, out=5, side=5)


def dead_end():
    """The largest weight of b ends in a unit that c hardly reads, the second leads on to 20 large weights."""
    model = keras.Sequential([keras.Input((4,)), dense(2, "a"), dense(2, "b"), dense(20, "c")])
    return assigned(model, a=5, b=[[4, 0.001], [0.001, 1]], c=[[0.01], [5]])


@pytest.mark.parametrize(
    ("model", "needed", "reached", "told"),
    [
        (
            thin_middle,
            10,
            17,
            "1 weight fewer than the 129 kept, kernel 'b/kernel' loses its last weight and nothing reaches the output "
            "any more; min_weights (of each kernel, on a path) leads over such a cliff",
        ),
        (
            two_branches,
            138,
            225,
            "1 weight fewer than the 265 kept, kernel 'thin/kernel' loses its last weight and only 24 weights are "
            "effective; min_weights (of each kernel, on a path) leads over such a cliff",
        ),
        (
            dead_end,
            10,
            25,
            "1 weight fewer than the 30 kept, kernel 'b/kernel' loses its last effective weight and nothing reaches "
            "the output any more; min_weights (of each kernel, on a path) leads over such a cliff",
        ),
    ],
)
def test_a_miss_names_its_cliff_and_min_weights_leads_over_it(model, needed, reached, told, recwarn):
    model = model()
    reach = Reachability(model)
    size = Masks.dense(model).size
    sparsity = 1 - needed / size
    assert reach(prune(model, "magnitude", sparsity, "effective")).kept == reached
    start = f"effective sparsity {sparsity:.6g} was asked for, {1 - reached / size:.6g} is reached: with "
    assert [str(warning.message) for warning in recwarn] == [start + told]
    seen = []
    prune(model, "magnitude", sparsity, "effective", on_missed=seen.append)
    assert [str(missed) for missed in seen] == [start + told] and len(list(recwarn)) == 1
    recwarn.clear()
    masks = prune(model, "magnitude", sparsity, "effective", min_weights=1)
    assert needed <= reach(masks).kept <= 1.1 * needed + len(masks)
    assert not list(recwarn)


def test_iterative_rounds_end_where_the_effective_weights_run_out():
    keras.utils.set_random_seed(0)
    model = chain(30, 40, 40, 5)
    iterative = prune(model, "magnitude/uniform", 0.95, "effective", schedule=Schedule(10))
    once = prune(model, "magnitude/uniform", 0.95, "effective")
    assert iterative == once  # magnitudes do not change from round to round


def test_dense_target_needs_every_weight():
    masks = prune(chain(5, 4, 3), "magnitude", 0.0, "effective")
    assert masks.kept == masks.size


def test_a_step_of_several_effective_weights_is_told_without_quotas():
    """Masks of three effective weights follow on those of nine: for eight that is near enough, for four it is not."""

    def effective(masks):
        return first(9 if masks.kept >= 9 else min(masks.kept, 3))

    for needed, told in ((9, False), (8, False), (4, True)):
        sparsity = 1 - needed / SIZE
        found, missed = at_effective_sparsity(first, effective, sparsity, first(SIZE), [SIZE])
        assert effective(found).kept == 9
        assert (missed is not None) == told
        _, rounded = at_effective_sparsity(first, effective, sparsity, first(SIZE), [SIZE], rounding=5)
        assert rounded is None
