"""Rounds of scoring and pruning, and all the nested masks that they pass through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np

from tfprune.errors import InputError
from tfprune.layers.masks import Masks
from tfprune.pruning.selection import TopSets, kept_count
from tfprune.pruning.shares import Share

# Where one round leads from all weights to few, a search has no round ends to orient itself by and uses these steps.
LADDER = 1.25


class Ranking:
    """One round: the weights that were alive before it, in the order of their scores.

    Args:
        scores: path -> float32 array, higher is kept.
        alive: path -> bool array; nothing else can be kept.
        groups: lists of paths that compete.
        seed: breaks ties.

    Raises:
        InputError: a score is not finite; names the kernel.
    """

    def __init__(self, scores: Mapping[str, np.ndarray], alive: Masks, groups: list[list[str]], seed: int):
        for path, values in scores.items():
            if not np.isfinite(values).all():
                raise InputError(f"scores of kernel {path!r} are not finite (NaN or infinite)")
        self._shapes = {path: mask.shape for path, mask in alive.items()}
        self._groups = groups
        self._sets = [TopSets(_flat(scores, group), _flat(alive, group), seed) for group in groups]

    def masks(self, counts: Sequence[int]) -> Masks:
        """The best `counts` of every group; a group that has fewer alive keeps those."""
        found = {}
        for group, sets, count in zip(self._groups, self._sets, counts, strict=True):
            flat, start = sets.top(min(count, sets.size)), 0
            for path in group:
                shape = self._shapes[path]
                size = int(np.prod(shape))
                found[path] = flat[start : start + size].reshape(shape)
                start += size
        return Masks({path: found[path] for path in self._shapes})


class Rounds:
    """Nested masks for every number of kept weights, from the start down to a schedule's last round.

    Between two rounds' ends the order is that of the later round's scores. What was pruned never comes back. Of the
    past only the round in which each weight was pruned is stored, two bytes a weight; a round that is looked at again
    is scored again, with the same random numbers.

    Args:
        score: (masks before the round, number of the round from 1) -> scores; the same for the same arguments.
        share: how the kept weights are divided over layers.
        densities: after each round, falling.
        start: masks to begin with.
        seed: breaks ties.
        landmarks: see the method; None for those of the rounds' ends.
    """

    def __init__(
        self,
        score: Callable[[Masks, int], dict[str, np.ndarray]],
        share: Share,
        densities: Sequence[float],
        start: Masks,
        seed: int,
        landmarks: list[int] | None = None,
    ):
        self._score, self._share, self._seed = score, share, seed
        self._start, self._landmarks = start, landmarks
        self._densities = list(densities)
        self._size = start.size
        self._ranked: tuple[int, Ranking] | None = None
        self._pruned_in: dict[str, np.ndarray] = {}

    @property
    def ends(self) -> list[int]:
        """Number of weights kept after each round."""
        return [kept_count(self._size, density) for density in self._densities]

    @cached_property
    def final(self) -> Masks:
        """Masks after the last round; this runs them all."""
        masks = self._start
        never = len(self._densities) + 1
        if never > 2:
            self._pruned_in = {path: np.where(mask, never, 0).astype(np.uint16) for path, mask in masks.items()}
        for number, density in enumerate(self._densities, 1):
            ranking = self._ranking(number, masks)
            masks, before = ranking.masks(self._share.counts(density)), masks
            for path, pruned_in in self._pruned_in.items():
                pruned_in[before[path] & ~masks[path]] = number
        return masks

    def masks(self, kept: int) -> Masks:
        """The masks on the way that keep `kept` weights in all, as nearly as the share's rounding allows.

        Raises:
            OutOfReach: the share cannot serve that density.
        """
        if len(self._densities) == 1:
            number, before = 1, self._start
        else:
            assert self.final is not None
            ends = self.ends
            number = next((number for number, end in enumerate(ends, 1) if end <= kept), len(ends))
            if kept == ends[number - 1]:
                return self._after(number)
            before = self._after(number - 1)
        return self._ranking(number, before).masks(self._share.counts(kept / self._size))

    def landmarks(self) -> list[int]:
        """Rising numbers of kept weights, up to all that the start keeps, for a search to narrow down on first."""
        if self._landmarks is not None:
            return self._landmarks
        ends = self.ends
        if len(ends) == 1:
            while ends[-1] < self._start.kept:
                ends.append(int(ends[-1] * LADDER) + 1)
        return sorted({min(end, self._start.kept) for end in (*ends, self._start.kept)})

    def _after(self, number: int) -> Masks:
        return Masks({path: pruned_in > number for path, pruned_in in self._pruned_in.items()})

    def _ranking(self, number: int, before: Masks) -> Ranking:
        if self._ranked is None or self._ranked[0] != number:
            self._ranked = None  # frees the old scores before the new ones are made
            self._ranked = number, Ranking(self._score(before, number), before, self._share.groups, self._seed)
        return self._ranked[1]


def _flat(arrays: Mapping[str, np.ndarray], group: list[str]) -> np.ndarray:
    if len(group) == 1:
        return arrays[group[0]].ravel()
    return np.concatenate([arrays[path].ravel() for path in group])
