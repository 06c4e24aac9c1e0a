"""The masks whose effective sparsity is the largest that is not above a target.

Masks of more kept weights contain those of fewer, so effective weights can only be gained on the way up, and a
bisection on the number of directly kept weights finds the fewest that leave enough of them effective.

Reference: Vysogorets & Kempe 2021, arXiv 2107.02306, section 4 (pruning to a target effective sparsity).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np

from tfprune.errors import InputError
from tfprune.layers.masks import Masks
from tfprune.pruning.selection import kept_count
from tfprune.pruning.shares import OutOfReach

# Where the bracket is wider, effective counts on its two sides say where the target should lie.
INTERPOLATED = 64
# More effective weights than were asked for by this part (or by one) are told.
TOLERATED = 0.1


@dataclass(frozen=True)
class Missed:
    """An effective sparsity that the nested masks step over: the next sparser ones have too few effective weights.

    Attributes:
        asked: the target.
        reached: effective sparsity of the masks that were found, in [0, asked).
        kept: number of weights that these keep.
        left: number of effective weights of the next sparser masks; 0: nothing reaches the output any more.
        next_kept: number of weights that the next sparser masks keep.
        cliff: paths of the kernels that make the difference: those that lose their last weight, or else their last
            effective one, or else any weight.
        loss: what they lose, in words.
        emptied: whether these kernels lose all that is effective.
    """

    asked: float
    reached: float
    kept: int
    left: int
    next_kept: int
    cliff: tuple[str, ...]
    loss: str
    emptied: bool

    def __str__(self) -> str:
        names = ", ".join(map(repr, self.cliff[:3])) + (", ..." if len(self.cliff) > 3 else "")
        kernels = "kernel" if len(self.cliff) == 1 else "kernels"
        result = f"only {self.left:,} weights are effective" if self.left else "nothing reaches the output any more"
        fewer = self.kept - self.next_kept
        way = "; min_weights (of each kernel, on a path) leads over such a cliff" if self.emptied else ""
        return (
            f"effective sparsity {self.asked:.6g} was asked for, {self.reached:.6g} is reached: with {fewer:,} "
            f"{'weight' if fewer == 1 else 'weights'} fewer than the {self.kept:,} kept, {kernels} {names} "
            f"{'loses' if len(self.cliff) == 1 else 'lose'} {self.loss} and {result}{way}"
        )


def at_effective_sparsity(
    masks_of: Callable[[int], Masks],
    effective: Callable[[Masks], Masks],
    sparsity: float,
    start: Masks,
    landmarks: Sequence[int],
    rounding: int = 0,
) -> tuple[Masks, Missed | None]:
    """Bisects on the number of kept weights: first over the landmarks, then between the two that enclose the target.

    Args:
        masks_of: number of directly kept weights -> nested masks.
        effective: masks -> those of their weights that are effective; this is where the time goes.
        sparsity: the target, in [0, 1), of all prunable weights.
        start: the masks that all others are part of.
        landmarks: rising numbers of kept weights, ending with `start.kept`.
        rounding: how many weights more than were asked for masks may hold, by rounded quotas or in whole groups.

    Returns:
        The direct masks, of which at least `kept_count(size, 1 − sparsity)` weights are effective, while one step less
        would leave fewer; and how far they miss the target, None where they meet it.

    Raises:
        InputError: no masks on the way have so many effective weights, or the sparsest that the quota allows have more;
            says what is reachable.
    """
    search = _Search(masks_of, effective, sparsity, start, rounding)
    # Rounding a quota layer by layer may keep up to half a weight more per layer than was asked for.
    below = max(search.needed - 1 - max(len(start), rounding), -1)
    low, high = search.enclosed([below, *(point for point in landmarks if point > below)])
    return search.result(search.fewest(low, high))


class _Search:
    """What has been asked so far: counts, the sparsest masks found good enough, the last refusal on the sparse side."""

    def __init__(self, masks_of, effective, sparsity: float, start: Masks, rounding: int):
        self._rounding = rounding
        self._masks_of, self._effective, self._sparsity, self._start = masks_of, effective, sparsity, start
        self.needed = kept_count(start.size, 1 - sparsity)
        self._counts: dict[int, int] = {}
        self._best: tuple[int, Masks, int] | None = None
        self._refused: OutOfReach | None = None
        self._refused_at = -1

    def reaches(self, kept: int) -> bool:
        """Whether the masks that keep so many weights have enough effective ones; a refusal is an answer, too."""
        try:
            masks = self._masks_of(kept)
        except OutOfReach as refusal:
            if refusal.too_sparse and kept > self._refused_at:
                self._refused, self._refused_at = refusal, kept
            return not refusal.too_sparse
        count = self._counts[kept] = self._effective(masks).kept
        if count >= self.needed:
            self._best = kept, masks, count
        return count >= self.needed

    def enclosed(self, points: Sequence[int]) -> tuple[int, int]:
        """The two neighbours of the rising `points` between which the answer lies, as if the last one reached.

        Most answers lie near the low end, so steps double from there until one reaches.
        """
        low, high = 0, len(points) - 1
        step = 1
        while low + step < high:
            if self.reaches(points[low + step]):
                high = low + step
                break
            low, step = low + step, 2 * step
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.reaches(points[middle]) else (middle, high)
        return points[low], points[high]

    def fewest(self, low: int, high: int) -> int:
        """The smallest number above `low`, which does not reach, that reaches; `high` does.

        Bisection, hastened by interpolation: a wide bracket is first cut on either side of where the counts at its ends
        say that the target lies, and halved only where that has not quartered it.
        """
        while high - low > 1:
            width = high - low
            if width > INTERPOLATED:
                for side in (1, -1):
                    low, high = self._cut(low, high, self._expected(low, high) + side * isqrt(high - low))
            if 4 * (high - low) > width:
                low, high = self._cut(low, high, (low + high) // 2)
        return high

    def _expected(self, low: int, high: int) -> int:
        if low not in self._counts or high not in self._counts:
            return (low + high) // 2
        first, last = self._counts[low], self._counts[high]
        return low + (self.needed - first) * (high - low) // (last - first)

    def _cut(self, low: int, high: int, kept: int) -> tuple[int, int]:
        kept = min(max(kept, low + 1), high - 1)
        return (low, kept) if self.reaches(kept) else (kept, high)

    def result(self, kept: int) -> tuple[Masks, Missed | None]:
        if self._best is None or self._best[0] != kept:
            self.reaches(kept)
        if self._best is None or self._best[0] != kept:
            self._masks_of(kept)  # a quota's own refusal, if it was that
            reachable = 1 - self._effective(self._start).kept / self._start.size
            raise InputError(
                f"effective sparsity {self._sparsity:.6g} is out of reach: nothing pruned at all, the effective "
                f"sparsity is already {reachable:.6g}; ask for that or more"
            )
        _, masks, count = self._best
        if self._refused_at == kept - 1 and count > self.needed:
            most = 1 - count / self._start.size
            raise InputError(
                f"effective sparsity {self._sparsity:.6g} is out of reach, the most is {most:.6g}: {self._refused}"
            )
        tolerated = self.needed + max(1, self.needed * TOLERATED) + self._rounding
        return masks, self._missed(kept, masks, count) if count > tolerated else None

    def _missed(self, kept: int, masks: Masks, count: int) -> Missed:
        """What the masks of one step less lack."""
        fewer = self._masks_of(kept - 1)
        effective, left = self._effective(masks), self._effective(fewer)
        return Missed(
            asked=self._sparsity,
            reached=1 - count / self._start.size,
            kept=masks.kept,
            left=left.kept,
            next_kept=fewer.kept,
            **_cliff(masks, fewer, effective, left),
        )


def _cliff(masks: Masks, fewer: Masks, effective: Masks, left: Masks) -> dict:
    """Which kernels that lose weights from the first masks to the second explain what is no longer effective."""
    changed = [path for path in masks if not np.array_equal(masks[path], fewer[path])]
    emptied = [path for path in changed if not fewer[path].any()]
    cut = [path for path in changed if effective[path].any() and not left[path].any()]
    cliff = emptied or cut or changed
    what = "last weight" if emptied else "last effective weight" if cut else "connection"
    own = "a" if cliff is changed else "its"
    loss = f"{own} {what}" if len(cliff) == 1 else f"{'' if cliff is changed else 'their '}{what}s"
    return {"cliff": tuple(cliff), "loss": loss, "emptied": bool(emptied or cut)}
