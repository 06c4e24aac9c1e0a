"""The masks whose effective sparsity is the largest that is not above a target.

Masks of more kept weights contain those of fewer, so effective weights can only be gained on the way up, and a
bisection on the number of directly kept weights finds the fewest that leave enough of them effective.

Reference: Vysogorets & Kempe 2021, arXiv 2107.02306, section 4 (pruning to a target effective sparsity).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isqrt

from tfprune.errors import InputError
from tfprune.layers.masks import Masks
from tfprune.pruning.selection import kept_count
from tfprune.pruning.shares import OutOfReach

# Where the bracket is wider, effective counts on its two sides say where the target should lie.
INTERPOLATED = 64


def at_effective_sparsity(
    masks_of: Callable[[int], Masks],
    effective: Callable[[Masks], Masks],
    sparsity: float,
    start: Masks,
    landmarks: Sequence[int],
) -> Masks:
    """Bisects on the number of kept weights: first over the landmarks, then between the two that enclose the target.

    Args:
        masks_of: number of directly kept weights -> nested masks.
        effective: masks -> those of their weights that are effective; this is where the time goes.
        sparsity: the target, in [0, 1), of all prunable weights.
        start: the masks that all others are part of.
        landmarks: rising numbers of kept weights, ending with `start.kept`.

    Returns:
        The direct masks, of which at least `kept_count(size, 1 − sparsity)` weights are effective, while one step less
        would leave fewer.

    Raises:
        InputError: no masks on the way have so many effective weights, or the sparsest that the quota allows have more;
            says what is reachable.
    """
    search = _Search(masks_of, effective, sparsity, start)
    # Rounding a quota layer by layer may keep up to half a weight more per layer than was asked for.
    below = max(search.needed - 1 - len(start), -1)
    low, high = search.enclosed([below, *(point for point in landmarks if point > below)])
    return search.result(search.fewest(low, high))


class _Search:
    """What has been asked so far: counts, the sparsest masks found good enough, the last refusal on the sparse side."""

    def __init__(self, masks_of, effective, sparsity: float, start: Masks):
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

    def result(self, kept: int) -> Masks:
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
        return masks
