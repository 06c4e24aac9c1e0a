"""The k best of a set of weights: exact counts, stated ties, and cheap neighbours.

Order: higher score first. Equal scores are ordered by a bijective 32-bit hash of the weight's position and the seed, so
that ties fall evenly over layers and positions, the same seed gives the same masks, and the sets for two values of k
are always nested.
"""

from __future__ import annotations

from itertools import accumulate, pairwise

import numpy as np

from tfprune.errors import InputError

# Windows no larger than this part of all weights are sorted once instead of being partitioned at every step: below it
# the sort costs less than the passes over all weights that it saves.
SORTED_PART = 8
LEAST_SORTED = 1 << 16
SAMPLE = 1 << 14  # scores that are sorted to bound a threshold
# What is known of a weight: it is in none of the sets in question; in some; in some and in the last answer; in all.
OUT, OPEN, LAST, IN = range(4)


def tie_keys(positions: np.ndarray, seed: int) -> np.ndarray:
    """A different uint32 for every position, in an order that depends on the seed; smaller is kept first.

    Args:
        positions: integers in [0, 2³²).
        seed: any non-negative integer.
    """
    keys = positions.astype(np.uint32) ^ np.uint32(np.random.SeedSequence(seed).generate_state(1)[0])
    # Each step, a xor with its own high bits or a product with an odd number, can be undone: no two positions collide.
    for factor in (0x9E3779B1, 0x85EBCA77):
        keys ^= keys >> np.uint32(16)
        keys *= np.uint32(factor)
    keys ^= keys >> np.uint32(15)
    return keys


def order_keys(scores: np.ndarray, positions: np.ndarray, seed: int) -> np.ndarray:
    """int64, one for each score and position, all different; smaller is kept first.

    Args:
        scores: float32, no NaN; infinity comes first.
        positions: integers in [0, 2³²), all different.
        seed: breaks ties.
    """
    bits = (scores + np.float32(0)).view(np.int32)  # + 0 makes −0 equal to 0
    keys = np.where(bits < 0, np.int32(-(2**31)) - bits, bits).astype(np.int64)
    np.negative(keys, out=keys)  # in place: there may be millions
    keys <<= 32
    keys += tie_keys(positions, seed)
    return keys


def kept_count(size: int, density: float) -> int:
    """Number of weights that `density` keeps of `size`: exactly `size − floor((1 − density) · size)`.

    The small addend undoes rounding: the density `k / size` keeps k.
    """
    return size - int((1 - density) * size + 1e-6)


class TopSets:
    """Sets of the k best weights, for any k, cheapest where successive k close in on one another as in a bisection.

    Every answer leaves a window: what the nearest smaller set has is in, what the nearest larger one lacks is out, and
    only what lies between is looked at again. From the second question on, a small window is sorted, once. The first
    question takes a few passes over the scores.

    Args:
        scores: float32 arrays, flat and finite; a weight's position is that in all of them, one after the other.
        seed: breaks ties.
    """

    def __init__(self, scores: list[np.ndarray], seed: int):
        self._scores = scores
        self._seed = seed
        self._bounds = [0, *accumulate(map(len, scores))]
        self.size = self._bounds[-1]
        self._reset()

    def _reset(self) -> None:
        self._low, self._high = 0, self.size
        self._states = np.full(self.size, OPEN, np.uint8)
        self._sorted: np.ndarray | None = None
        self._last: int | None = None

    def top(self, k: int) -> np.ndarray:
        """bool array (N,) with exactly k entries; it belongs to the caller.

        Raises:
            InputError: k is negative or more than there are.
        """
        if not 0 <= k <= self.size:
            raise InputError(f"{k} weights were to be kept of the {self.size} that are not yet pruned")
        if k in (0, self.size):
            return np.full(self.size, k > 0)
        self._close_in(k)
        if k == self._low:
            return self._states == IN
        if k == self._high:
            return self._states != OUT
        window = self._high - self._low
        if window < self.size and window <= max(LEAST_SORTED, self.size // SORTED_PART):
            if self._sorted is None:
                self._sorted = self._in_order(np.flatnonzero(self._states == OPEN))
            chosen = self._states == IN
            chosen[self._sorted[: k - self._low]] = True
            return chosen
        self._states += self._best_open(k - self._low)  # was open, is in the last answer
        self._last = k
        return self._states >= LAST

    def _close_in(self, k: int) -> None:
        """Moves the window's nearer end to the last answer, or opens it again if k lies outside."""
        if not self._low <= k <= self._high:
            self._reset()
        if self._last is None:
            return
        if k >= self._last:
            self._states += self._states == LAST  # is in
            self._low = self._last
        else:
            self._states -= (self._states == OPEN) | (self._states == LAST)  # is out, or open again
            self._high = self._last
        self._last = None

    def _best_open(self, count: int) -> np.ndarray:
        """bool array (N,): the best `count` of what is open."""
        found = self._states == OPEN
        threshold = largest(self._scores, self._parts(found), count)
        for score, part in zip(self._scores, self._parts(found), strict=True):
            part &= score >= threshold
        spare = int(np.count_nonzero(found)) - count
        if spare:
            parts = zip(self._scores, self._parts(found), self._bounds, strict=False)
            ties = np.concatenate([np.flatnonzero(part & (score == threshold)) + start for score, part, start in parts])
            keys = tie_keys(ties, self._seed)
            found[ties[np.argpartition(keys, len(ties) - spare)[len(ties) - spare :]]] = False
        return found

    def _parts(self, array: np.ndarray) -> list[np.ndarray]:
        """Views of an array (N,), one for each array of scores."""
        return [array[start:end] for start, end in pairwise(self._bounds)]

    def _in_order(self, positions: np.ndarray) -> np.ndarray:
        """Rising positions, best first. One integer holds the score, in the order of its bits, above the tie's key."""
        cuts = np.searchsorted(positions, self._bounds)
        scores = [
            score.take(positions[first:last] - start)
            for score, start, (first, last) in zip(self._scores, self._bounds, pairwise(cuts), strict=False)
        ]
        keys = order_keys(np.concatenate(scores), positions, self._seed)
        return positions[np.argsort(keys)]


def largest(scores: list[np.ndarray], masks: list[np.ndarray], k: int) -> np.float32:
    """The k-th largest score of what the masks keep, 1 ≤ k ≤ their number.

    A sorted sample first bounds it from both sides, so that only what lies between the bounds is copied and
    partitioned; should the sample mislead, all is.

    Args:
        scores: float32 arrays, flat and finite.
        masks: bool arrays of the same sizes.
        k: from 1.
    """
    alive = sum(map(np.count_nonzero, masks))
    sample = _sample(scores, masks, alive)
    middle, spread = (alive - k) * len(sample) // alive, int(3 * np.sqrt(len(sample)))
    low = sample[middle - spread] if middle > spread else -np.inf
    high = sample[middle + spread] if middle + spread < len(sample) else np.inf
    for bounds in ((low, high), (-np.inf, np.inf)):
        above, between = _between(scores, masks, *bounds)
        place = len(between) - (k - above)
        if 0 <= place < len(between):  # else the sample misled
            break
    between.partition(place)
    return between[place]


def _between(scores: list[np.ndarray], masks: list[np.ndarray], low, high) -> tuple[int, np.ndarray]:
    """How many scores of what the masks keep lie above `high`, and those from `low` to `high`."""
    above, between = 0, []
    for score, mask in zip(scores, masks, strict=True):
        found = score > high
        found &= mask
        above += np.count_nonzero(found)
        found ^= mask  # those not above
        found &= score >= low
        between.append(score.take(np.flatnonzero(found)))
    return above, np.concatenate(between)


def _sample(scores: list[np.ndarray], masks: list[np.ndarray], alive: int) -> np.ndarray:
    """Scores of about SAMPLE of the living, in order."""
    step = alive // SAMPLE | 1  # odd, or it would meet the same few channels again and again
    return np.sort(np.concatenate([score[::step][mask[::step]] for score, mask in zip(scores, masks, strict=True)]))


def lowest(scores: list[np.ndarray], masks: list[np.ndarray], kept: int, seed: int) -> list[np.ndarray]:
    """Positions of what `TopSets` of the living would leave out, found without a copy of all that live.

    Of the scores only those below a bound from a sample are looked at twice: cheap where few of many go.

    Args:
        scores: float32 arrays, flat and finite.
        masks: bool arrays of the same sizes: what lives.
        kept: how many stay.
        seed: breaks ties.

    Returns:
        Integer positions in each of the arrays, in no order.
    """
    alive = sum(map(np.count_nonzero, masks))
    count = alive - kept
    if count <= 0 or kept == 0:
        return [np.flatnonzero(mask & (count > 0)) for mask in masks]
    for bound in (_bound(scores, masks, count / alive, alive), np.inf):
        found = [np.flatnonzero((score <= bound) & mask) for score, mask in zip(scores, masks, strict=True)]
        values = [score.take(positions) for score, positions in zip(scores, found, strict=True)]
        low = np.concatenate(values)
        if len(low) > count:  # else the sample misled
            break
    low.partition(count)
    gone = [positions[part < low[count]] for positions, part in zip(found, values, strict=True)]
    spare = count - sum(map(len, gone))
    if spare:
        ties = [positions[part == low[count]] for positions, part in zip(found, values, strict=True)]
        gone = map(np.append, gone, _last(ties, masks, spare, seed))
    return list(gone)


def _bound(scores: list[np.ndarray], masks: list[np.ndarray], part: float, alive: int) -> np.float32:
    """A score that, very likely, a little more than that part of the living does not exceed."""
    sample = _sample(scores, masks, alive)
    place = part * len(sample)
    return sample[min(int(place + 4 * np.sqrt(place)) + 1, len(sample) - 1)] if len(sample) else np.inf


def _last(ties: list[np.ndarray], masks: list[np.ndarray], spare: int, seed: int) -> list[np.ndarray]:
    """Which `spare` of the tied come last for `TopSets`, where a weight's position is its rank among the living."""
    before = np.cumsum([0, *map(np.count_nonzero, masks)])[:-1]
    ranks = [
        start + np.cumsum(mask)[tied] - 1 if len(tied) else tied
        for start, mask, tied in zip(before, masks, ties, strict=True)
    ]
    keys = tie_keys(np.concatenate(ranks), seed)
    last = np.zeros(len(keys), bool)
    last[np.argpartition(keys, len(keys) - spare)[len(keys) - spare :]] = True
    parts = np.split(last, np.cumsum([len(tied) for tied in ties])[:-1])
    return [tied[part] for tied, part in zip(ties, parts, strict=True)]
