"""Every registered score with every pattern and every registered schedule of a training: what all of them keep to.

One network, masked once, is driven step by step without being trained; its weights are others at each step.
"""

from itertools import pairwise, product
from math import exp

import keras
import numpy as np
import pytest
from keras import layers
from pattern_groups import groups, values

import tfprune
from tfprune.errors import InputError
from tfprune.layers.convert import set_masks
from tfprune.layers.in_place import mask_in_place
from tfprune.layers.weights import weights_of
from tfprune.pruning.schedules import ONE_SHOT
from tfprune.pruning.scores import SCORES
from tfprune.pruning.specs import get_pruner
from tfprune.training.regrowth import Regrowth
from tfprune.training.schedules import SCHEDULES

PATTERNS = (None, "4x1", "2:4", "row", "1x4", "column", "1:4", "2x2", "kernel", "16x1")
FINAL, STEPS = 0.6, 4
# Sparsity at the steps 2 and 4, worked out from each schedule's formula; `function` is one of one's own.
COURSES = {
    "polynomial": (0.6 * (1 - 0.5**3), 0.6),
    "constant": (0.6, 0.6),
    "one_cycle": (0.6 * (1 + exp(6 - 14)) / (1 + exp(6 - 7)), 0.6),
    "exponential": (1 - 0.4**0.5, 0.6),
    "function": (0.3, 0.6),
}
DYNAMIC = ("rigl", "set")
BY_NUMBERS = {"2:4": 0.5, "1:4": 0.75}  # patterns that say a sparsity themselves
AT_ONCE = ("constant", "function")  # schedules that can stay at it


def _cases():
    """All that go together; the first ones have every score, pattern and schedule among them."""
    scores, courses = list(SCORES), list(COURSES)
    every = [one for one in product(scores, PATTERNS, courses) if one[1] not in BY_NUMBERS or one[2] in AT_ONCE]
    turns = ((scores[turn % len(scores)], pattern) for turn, pattern in enumerate(PATTERNS))
    first = [
        (score, pattern, AT_ONCE[turn // 2 % 2] if pattern in BY_NUMBERS else courses[turn % len(courses)])
        for turn, (score, pattern) in enumerate(turns)
    ]
    return first + [one for one in every if one not in first]


@pytest.fixture(scope="module")
def sparse():
    """(masked network, data): a convolution and two dense layers, each a matrix of 16 x 16."""
    keras.utils.set_random_seed(0)
    stack = [
        layers.Conv2D(16, 2, activation="relu", name="conv"),
        layers.Flatten(),
        layers.Dense(16, "relu", name="dense"),
        layers.Dense(16, "softmax", name="head"),
    ]
    model = keras.Sequential([keras.Input((2, 2, 4)), *stack])
    model.compile("adam", "sparse_categorical_crossentropy")
    mask_in_place(model)
    rng = np.random.default_rng(0)
    return model, (rng.normal(size=(12, 2, 2, 4)).astype("f4"), rng.integers(0, 16, 12))


def _schedule(name, pattern):
    final = BY_NUMBERS.get(pattern, FINAL)
    if name == "function":
        return tfprune.OwnSchedule(lambda step: final if pattern in BY_NUMBERS else 0.15 * step, frequency=2)
    if name in DYNAMIC:
        return SCHEDULES[name](final, frequency=2, end_step=STEPS)
    return SCHEDULES[name](final, 0, STEPS, 2)


def _prune(score, name, pattern, data, **options):
    if pattern is not None:
        options |= {"pattern": pattern}
    if pattern == "kernel":
        options |= {"only": "conv"}
    pruner = get_pruner(score).changed(None, None, ONE_SHOT)
    return tfprune.Prune(pruner, _schedule(name, pattern), data=data, **{"seed": 3, **options})


def _driven(model, callback):
    """Masks after each step of the way, beside the dense ones to begin with; of weights, grown ones alone change."""
    set_masks(model, tfprune.Masks.dense(model))
    course, rng = [tfprune.masks_of(model)], np.random.default_rng(1)
    for step in range(STEPS):
        for variable in model.trainable_variables:
            variable.assign(rng.normal(size=variable.shape))
        before = weights_of(model)
        if step:
            callback.step()
        else:
            callback.begin(model, STEPS)
        course.append(tfprune.masks_of(model))
        for path, array in weights_of(model).items():
            if isinstance(callback.schedule, Regrowth) and path in course[-1]:
                before[path][course[-1][path] & ~course[-2][path]] = 0  # as what grows begins
            np.testing.assert_array_equal(array, before[path])
    return course


def _kept(masks, pattern, sparsity):
    """Number of weights that are kept at a sparsity: the fewest groups, all of one size, that hold as many."""
    competing = [mask for path, mask in masks.items() if pattern != "kernel" or path.startswith("conv")]
    ignored = masks.size - sum(mask.size for mask in competing)
    if pattern in BY_NUMBERS:
        return round(masks.size * (1 - sparsity))
    size = 1 if pattern is None else len(groups(pattern, competing[0].shape)[0][0])
    number = sum(mask.size for mask in competing) // size
    return ignored + (number - int(sparsity * number + 1e-6)) * size


def _check_pattern(masks, pattern):
    for path, mask in masks.items():
        if pattern is None or (pattern == "kernel" and not path.startswith("conv")):
            continue
        found, outside = groups(pattern, mask.shape)
        assert found and not outside
        kept = {sum(values(mask, group)) for group in found}
        assert kept == {int(pattern[0])} if pattern in BY_NUMBERS else kept <= {0, len(found[0])}


def test_every_registered_schedule_is_here():
    assert {*COURSES, *DYNAMIC} == {*SCHEDULES, "function"}


@pytest.mark.slow_beyond(len(PATTERNS))
@pytest.mark.parametrize(("score", "pattern", "name"), _cases())
def test_counts_patterns_and_order_of_masks(sparse, score, pattern, name):
    model, data = sparse
    exact = BY_NUMBERS.get(pattern)
    course = _driven(model, callback := _prune(score, name, pattern, data))
    sparsities = (exact, exact) if exact else COURSES[name]
    first, last = (_kept(course[0], pattern, sparsity) for sparsity in sparsities)
    assert [masks.kept for masks in course] == [768, 768, first, first, last]
    for masks in (course[2], course[4]):
        _check_pattern(masks, pattern)
    for before, after in pairwise(course):
        assert before & after == after
    # What is told is what was done; the second renewal did nothing where the first one was at the end.
    changes = [(2, 768 - first, 0), (4, first - last, 0)][: 1 + (first > last)]
    assert [(one.step, one.dropped, one.grown) for one in callback.history] == changes
    for one, masks in zip(callback.history, (course[2], course[4]), strict=False):
        assert {path: kernel.kept for path, kernel in one.kernels.items()} == masks.counts
    assert _driven(model, _prune(score, name, pattern, data)) == course
    if score == "random":
        assert _driven(model, _prune(score, name, pattern, data, seed=4))[4] != course[4]
    # Where all may come back, numbers and patterns are the same, and the masks those that the weights of then have.
    free = _driven(model, again := _prune(score, name, pattern, data, regrow=True))
    assert [masks.kept for masks in free] == [masks.kept for masks in course] and free[2] == course[2]
    _check_pattern(free[4], pattern)
    assert [one.step for one in again.history] == [2, 4]
    assert again.history[1].grown - again.history[1].dropped == last - first


def _dynamic():
    first = [("snip", "set"), ("magnitude", "rigl"), ("wanda", "set")]
    return first + [one for one in product(SCORES, DYNAMIC) if one not in first]


@pytest.mark.slow_beyond(3)
@pytest.mark.parametrize(("score", "name"), _dynamic())
def test_as_many_grow_as_are_dropped_from_the_masks_of_every_score(sparse, score, name):
    """RigL and SET: of every kernel always the same number; what grows is 0, and all else as it was."""
    model, data = sparse
    course = _driven(model, callback := _prune(score, name, None, data, batch_size=12))
    assert course[1].kept == _kept(course[0], None, FINAL)
    assert [masks.counts for masks in course[1:]] == [course[1].counts] * STEPS
    assert course[1] != course[2] == course[3] == course[4]  # there is one change, before step 2
    start, change = callback.history
    assert (start.step, start.dropped, start.grown) == (0, 768 - course[1].kept, 0)
    moved = course[2].kept - (course[1] & course[2]).kept
    assert (change.step, change.dropped, change.grown) == (2, moved, moved) and moved > 20
    assert _driven(model, _prune(score, name, None, data, batch_size=12)) == course


@pytest.mark.parametrize("score", [score for score in SCORES if SCORES[score].needs_data])
def test_scores_that_need_data_say_so(score):
    with pytest.raises(InputError, match=f"^pruner {score} needs data=: what fit is given, or a part of it$"):
        tfprune.Prune(score, "polynomial", sparsity=0.5)


@pytest.mark.parametrize("pattern", [pattern for pattern in PATTERNS if pattern])
@pytest.mark.parametrize("name", DYNAMIC)
def test_single_weights_grow_in_no_pattern(name, pattern):
    told = (
        f"^{SCHEDULES[name].__name__} grows single weights, and pattern {pattern} would be lost: leave one of them out$"
    )
    for score in SCORES:
        with pytest.raises(InputError, match=told):
            _prune(score, name, pattern, [])


@pytest.mark.parametrize("pattern", BY_NUMBERS)
@pytest.mark.parametrize("name", [name for name in COURSES if name not in AT_ONCE])
def test_n_of_m_comes_at_once(name, pattern):
    exact = f"{BY_NUMBERS[pattern]:g}"
    told = (
        rf"^pattern {pattern} makes kernels {exact} sparse at once: leave .* ConstantSchedule\({exact}\)\. Received: "
    )
    for score in SCORES:
        with pytest.raises(InputError, match=rf"{told}{SCHEDULES[name].__name__}\({exact}\)$"):
            _prune(score, name, pattern, [])
