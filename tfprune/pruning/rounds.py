"""Rounds of scoring and pruning, and all the nested masks that they pass through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np

from tfprune.layers.masks import Masks
from tfprune.pruning.grid import Grid, GroupRanking
from tfprune.pruning.ranking import Alive, Ranking, pruned
from tfprune.pruning.selection import kept_count
from tfprune.pruning.shares import Share

# Where one round leads from all weights to few, a search has no round ends to orient itself by and uses these steps.
LADDER = 1.25


class Rounds:
    """Nested masks for every number of kept weights, from the start down to a schedule's last round.

    Between two rounds' ends the order is that of the later round's scores. What was pruned never comes back. Of the
    past only the round in which each weight was pruned is stored, a byte a weight (two from 256 rounds on); a round
    that is looked at again is scored again, with the same random numbers.

    Args:
        score: (masks before the round, number of the round from 1) -> scores; the same for the same arguments.
        share: how the kept weights are divided over layers.
        densities: after each round, falling.
        start: masks to begin with.
        seed: breaks ties.
        landmarks: see the method; None for those of the rounds' ends.
        grid: the pattern that masks keep to; None for none. They then hold as many weights more as its groups make it.
        spine: (scores of the first round, start, kept weights -> masks by these scores) -> path -> bool array: the
            weights that all rounds keep, at most as many as the share leaves every kernel.
    """

    def __init__(
        self,
        score: Callable[[Mapping[str, np.ndarray], int], dict[str, np.ndarray]],
        share: Share,
        densities: Sequence[float],
        start: Masks,
        seed: int,
        landmarks: list[int] | None = None,
        spine: Callable[[Mapping, Masks, Callable[[int], Masks]], Mapping[str, np.ndarray]] | None = None,
        grid: Grid | None = None,
    ):
        self._grid = grid
        self._find_spine, self._spine = spine, None if spine else {}
        self._score, self._share, self._seed = score, share, seed
        self._start, self._landmarks = start, landmarks
        self._densities = list(densities)
        self._size = start.size
        self._ranked: tuple[int, Ranking | GroupRanking] | None = None

    @property
    def ends(self) -> list[int]:
        """Number of weights kept after each round."""
        return [kept_count(self._size, density) for density in self._densities]

    @property
    def final(self) -> Masks:
        """Masks after the last round."""
        return self.masks(self.ends[-1])

    def masks(self, kept: int) -> Masks:
        """The masks on the way that keep `kept` weights in all, as nearly as the share's rounding allows.

        Raises:
            OutOfReach: the share cannot serve that density.
        """
        ends = self.ends
        number = next((number for number, end in enumerate(ends, 1) if end <= kept), len(ends))
        exact = kept == ends[number - 1]
        if exact and number < len(ends):
            return self._after(number)
        density = self._densities[-1] if exact else kept / self._size
        return self._ranking(number).masks(self._share.counts(density))

    def landmarks(self) -> list[int]:
        """Rising numbers of kept weights, up to all that the start keeps, for a search to narrow down on first."""
        if self._landmarks is not None:
            return self._landmarks
        ends = self.ends
        if len(ends) == 1:
            while ends[-1] < self._start.kept:
                ends.append(int(ends[-1] * LADDER) + 1)
        return sorted({min(end, self._start.kept) for end in (*ends, self._start.kept)})

    @cached_property
    def _pruned_in(self) -> dict[str, np.ndarray]:
        """Path -> integers: the round that pruned each weight, 0 for the start, that of the last round for the rest.

        This runs all rounds but the last, whose end is as good as any point on the way to it.
        """
        last = len(self._densities)
        # A product of booleans and one small integer is made of small integers.
        narrow = np.min_scalar_type(last).type(last)
        pruned_in = {path: (mask * narrow).ravel() for path, mask in self._start.items()}
        flat = {path: mask.flatten() for path, mask in self._start.items()}
        masks = {path: mask.reshape(self._start[path].shape) for path, mask in flat.items()}
        for number, density in enumerate(self._densities[:-1], 1):
            counts = self._share.counts(density)
            scores = self._scored(masks, number)
            for path, positions in self._gone(scores, masks, counts).items():
                flat[path][positions] = False
                pruned_in[path][positions] = number
            del scores  # before the next ones are made
        return pruned_in

    def _after(self, number: int) -> Masks:
        if number == 0:
            return self._start
        return Masks({path: (self._pruned_in[path] > number).reshape(mask.shape) for path, mask in self._start.items()})

    def _ranking(self, number: int) -> Ranking | GroupRanking:
        """The last one asked for is kept."""
        if self._ranked is None or self._ranked[0] != number:
            self._ranked = None  # frees the old scores before the new ones are made
            before = self._after(number - 1)
            scores = self._scored(before, number)
            self._ranked = number, self._order(scores, before)
        return self._ranked[1]

    def _order(self, scores: dict[str, np.ndarray], before: Mapping[str, np.ndarray]) -> Ranking | GroupRanking:
        if self._grid is not None:
            return self._grid.ranking(scores, before, self._share, self._seed, self._spine)
        return Ranking(scores, Alive(before), self._share.groups, self._seed, self._spine)

    def _gone(self, scores: dict[str, np.ndarray], masks: Mapping[str, np.ndarray], counts: list[int]):
        """Path -> flat positions of what a round prunes."""
        if self._grid is None:
            return pruned(scores, masks, self._share.groups, counts, self._seed, self._spine)
        kept = self._order(scores, masks).masks(counts)
        return {path: np.flatnonzero(mask & ~kept[path]) for path, mask in masks.items()}

    def _scored(self, masks: Mapping[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
        scores = self._score(masks, number)
        if self._spine is None:  # then this is the first round
            plain = Ranking(dict(scores), Alive(self._start), self._share.groups, self._seed)
            self._spine = self._find_spine(
                scores, self._start, lambda kept: plain.masks(self._share.counts(kept / self._size))
            )
        return scores
