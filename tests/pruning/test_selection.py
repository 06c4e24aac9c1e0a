"""Exactly k, nested, ties by the stated rule, whatever the order of the questions."""

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.pruning import selection
from tfprune.pruning.selection import TopSets, kept_count, largest, lowest, tie_keys


def by_full_sort(scores, k, seed):
    mask = np.zeros(len(scores), bool)
    mask[np.lexsort((tie_keys(np.arange(len(scores)), seed), -scores))[:k]] = True
    return mask


@pytest.fixture(params=["distinct", "many ties", "all equal"])
def scores(request):
    rng = np.random.default_rng(0)
    return {
        "distinct": rng.normal(size=4000),
        "many ties": rng.integers(-3, 4, 4000) * np.where(rng.random(4000) < 0.5, 1.0, -1.0),  # with −0 and 0
        "all equal": np.zeros(4000),
    }[request.param].astype(np.float32)


@pytest.mark.parametrize("sorted_windows", [True, False])
def test_every_answer_is_that_of_a_full_sort(scores, sorted_windows, monkeypatch):
    monkeypatch.setattr(selection, "LEAST_SORTED", 10**6 if sorted_windows else 0)
    monkeypatch.setattr(selection, "SORTED_PART", 1 if sorted_windows else 10**6)
    rng = np.random.default_rng(1)
    sets = TopSets(np.split(scores, [1000, 1000, 3000]), seed=5)
    low, high = 0, sets.size
    while high - low > 1:  # a bisection, then questions without order
        middle = (low + high) // 2
        np.testing.assert_array_equal(sets.top(middle), by_full_sort(scores, middle, 5))
        low, high = (middle, high) if rng.random() < 0.5 else (low, middle)
    for k in [0, sets.size, *rng.integers(0, sets.size, 20)]:
        np.testing.assert_array_equal(sets.top(k), by_full_sort(scores, k, 5))


def test_answers_belong_to_the_caller():
    sets = TopSets([np.arange(10, dtype=np.float32)], 0)
    for k in (4, 6, 5):
        sets.top(k)[:] = False
    assert np.flatnonzero(sets.top(5)).tolist() == [5, 6, 7, 8, 9]


def test_ties_depend_on_the_seed_and_on_nothing_else():
    equal = np.zeros(1000, np.float32)
    first, again, other = (TopSets([equal], seed).top(500) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert 350 < np.count_nonzero(first & other) * 2 < 650  # 500 ± 32 by chance
    assert 200 < np.count_nonzero(first[:500]) < 300  # no place is preferred


def test_tie_keys_never_collide():
    assert len(np.unique(tie_keys(np.arange(2**20), 3))) == 2**20


def test_kept_count():
    assert kept_count(266200, 1 - 0.9) == 26620
    assert kept_count(10, 0.75) == 8  # of 2.5 pruned, 2
    assert all(kept_count(14715584, k / 14715584) == k for k in range(0, 14715584, 99991))


@pytest.mark.parametrize("k", [-1, 6])
def test_more_than_there_are(k):
    with pytest.raises(InputError, match="of the 5 that are not yet pruned"):
        TopSets([np.zeros(5, np.float32)], 0).top(k)


@pytest.mark.parametrize("kind", ["distinct", "few values", "a sample that misleads"])
def test_kth_largest(kind, monkeypatch):
    monkeypatch.setattr(selection, "SAMPLE", 100)
    rng = np.random.default_rng(2)
    values = rng.integers(0, 5, 5000) if kind == "few values" else rng.normal(size=5000)
    values = values.astype(np.float32)
    if kind == "a sample that misleads":
        values[::50] = 100
    masks = rng.random(5000) < 0.9
    ordered = np.sort(values[masks])[::-1]
    for k in [1, 2, 50, 51, 99, 101, 2500, len(ordered) - 1, len(ordered)]:
        assert largest(np.split(values, [2000]), np.split(masks, [2000]), k) == ordered[k - 1]


@pytest.mark.parametrize("sampled", [True, False])
def test_lowest_is_what_the_best_leave_out(scores, sampled, monkeypatch):
    monkeypatch.setattr(selection, "SAMPLE", 200 if sampled else 10**6)
    masks = np.random.default_rng(1).random(4000) < 0.7
    living = np.flatnonzero(masks)
    for kept in [0, 1, 700, len(living) - 100, len(living) - 1, len(living), 4000]:
        best = TopSets([scores[living]], seed=5).top(min(kept, len(living)))
        parts = lowest(np.split(scores, [1000, 1000, 3000]), np.split(masks, [1000, 1000, 3000]), kept, seed=5)
        found = np.concatenate([start + part for start, part in zip([0, 1000, 1000, 3000], parts, strict=True)])
        np.testing.assert_array_equal(np.sort(found), living[~best])


def test_lowest_survives_a_misleading_sample(monkeypatch):
    monkeypatch.setattr(selection, "SAMPLE", 100)
    scores = np.arange(1, 10_001, dtype=np.float32)
    scores[::101] = 0  # all that the sample meets
    (found,) = lowest([scores], [scores > -1], 5000, seed=0)
    np.testing.assert_array_equal(found, np.flatnonzero(~TopSets([scores], seed=0).top(5000)))
