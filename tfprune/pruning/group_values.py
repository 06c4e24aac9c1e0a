"""What groups of a pattern hold and score: counts and reductions of folded kernels, without a table of positions.

A folded array is the view (..., rows, columns) of `Pattern.folded`; groups are numbered in C order of the axes before
the last two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np

FEW = 7  # members that are added one after the other; numpy's own sum of a row does so up to here, and no further


def counted(folded: np.ndarray) -> np.ndarray:
    """int64 (groups,): how many members of each group a mask keeps."""
    if _members(folded) > FEW:
        return np.count_nonzero(_rows(folded), axis=1)
    total = np.zeros(folded.shape[:-2], np.uint8)
    for member in _each(folded):
        total += member.view(np.uint8)
    return total.ravel().astype(np.int64)


def reduced(scores: np.ndarray, alive: np.ndarray, how: str) -> tuple[np.ndarray, np.ndarray]:
    """A score of each group from its living members, and how many they are.

    Args:
        scores: float32, folded.
        alive: bool, folded.
        how: `"mean"`, `"sum"`, `"max"` or `"min"`; in float64, the sum as numpy adds up the living of each group.

    Returns:
        float32 (groups,), 0 for groups without living members; int64 (groups,).
    """
    sizes = counted(alive)
    found = _whole(scores, how)
    cut = np.flatnonzero((sizes > 0) & (sizes < _members(scores)))
    if len(cut):
        found[cut] = _living(_some(scores, cut).astype(np.float64), _some(alive, cut), how)
    if how == "mean":
        found /= np.maximum(sizes, 1)
    return np.where(sizes > 0, found, 0).astype(np.float32), sizes


def best(scores: np.ndarray, alive: np.ndarray, number: int, keys: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """bool, folded: the best so many living members of each group, of one column.

    Args:
        scores: float32, folded, (..., members, 1); infinity comes first.
        alive: bool, the same.
        number: how many of each.
        keys: numbers of groups -> (numbers, members), integers, smaller is kept first: the whole order. It is asked of
            groups with equal scores, or of all that have many members.
    """
    kept = np.empty_like(scores, dtype=bool)  # with the scores' order in memory
    outer, members = scores.shape[:-2], list(_each(scores))
    if len(members) > FEW:
        groups = np.arange(np.prod(outer, dtype=int))
    else:
        living = list(_each(alive))
        values = [np.where(lives, member, np.float32(-np.inf)) for member, lives in zip(members, living, strict=True)]
        ranks = [np.zeros(outer, np.uint8) for _ in members]
        tied = np.zeros(outer, bool)
        for one, other in combinations(range(len(members)), 2):
            above, below = values[one] > values[other], values[one] < values[other]
            ranks[other] += above.view(np.uint8)
            ranks[one] += below.view(np.uint8)
            tied |= living[one] & ~(above | below)
        for mask, rank, lives in zip(_each(kept), ranks, living, strict=True):
            np.logical_and(rank < number, lives, out=mask)
        groups = np.flatnonzero(tied)
    if len(groups):
        kept[np.unravel_index(groups, outer)] = _by_keys(keys(groups), _some(alive, groups), number)[..., None]
    return kept


def _by_keys(keys: np.ndarray, alive: np.ndarray, number: int) -> np.ndarray:
    keys = np.where(alive, keys, np.iinfo(np.int64).max)
    worst = np.partition(keys, number - 1, axis=1)[:, number - 1]
    return alive & (keys <= worst[:, None])


def _whole(scores: np.ndarray, how: str) -> np.ndarray:
    """float64 (groups,): of all members."""
    extreme = {"max": np.maximum, "min": np.minimum}.get(how)
    if _members(scores) > FEW:
        rows = _rows(scores)
        return (rows.astype(np.float64).sum(1) if extreme is None else extreme.reduce(rows, axis=1)).astype(np.float64)
    found = None
    for member in _each(scores):
        if found is None:
            found = member.astype(np.float64, order="C")
        elif extreme is None:
            found += member
        else:
            extreme(found, member, out=found)
    return np.zeros(scores.shape[:-2]).ravel() if found is None else found.ravel()


def _living(values: np.ndarray, alive: np.ndarray, how: str) -> np.ndarray:
    if how in ("max", "min"):
        sign = 1 if how == "max" else -1
        return sign * (sign * values).max(1, where=alive, initial=-np.inf)
    return values.sum(1, where=alive)


def _members(folded: np.ndarray) -> int:
    return folded.shape[-2] * folded.shape[-1]


def _rows(folded: np.ndarray) -> np.ndarray:
    """(groups, members); a copy where it is no view."""
    return folded.reshape(-1, _members(folded))


def _some(folded: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(some groups, members)."""
    return folded[np.unravel_index(groups, folded.shape[:-2])].reshape(len(groups), -1)


def _each(folded: np.ndarray) -> Iterator[np.ndarray]:
    """(...) of each member in turn."""
    for row in range(folded.shape[-2]):
        for column in range(folded.shape[-1]):
            yield folded[..., row, column]
