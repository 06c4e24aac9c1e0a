"""The k best of a set of weights: exact counts, stated ties, and cheap neighbours.

Order: higher score first. Equal scores are ordered by a bijective 32-bit hash of the weight's position and the seed, so
that ties fall evenly over layers and positions, the same seed gives the same masks, and the sets for two values of k
are always nested.
"""

from __future__ import annotations

import numpy as np

from tfprune.errors import InputError

# Windows no larger than this part of all weights are sorted once instead of being partitioned at every step: below it
# the sort costs less than the passes over all weights that it saves.
SORTED_PART = 8
LEAST_SORTED = 1 << 16


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


def kept_count(size: int, density: float) -> int:
    """Number of weights that `density` keeps of `size`: exactly `size − floor((1 − density) · size)`.

    The small addend undoes rounding: the density `k / size` keeps k.
    """
    return size - int((1 - density) * size + 1e-6)


class TopSets:
    """Sets of the k best weights, for any k, cheapest where successive k close in on one another as in a bisection.

    Every answer leaves a window: what the nearest smaller set has is in, what the nearest larger one lacks is out, and
    only what lies between is looked at again. Time is O(N) for the first sets; memory beside the scores is one copy
    of the scores in the window and four bits per byte of score.

    Args:
        scores: float32 array (N,), finite.
        alive: bool array (N,): only these can be chosen.
        seed: breaks ties.
    """

    def __init__(self, scores: np.ndarray, alive: np.ndarray, seed: int):
        if scores.shape != alive.shape or scores.ndim != 1:
            raise InputError(f"scores and mask must be flat and of one size; received {scores.shape}, {alive.shape}")
        self._scores = scores
        self._alive = alive
        self._seed = seed
        self.size = int(np.count_nonzero(alive))
        self._reset()

    def _reset(self) -> None:
        self._low, self._high = 0, self.size
        self._inside = np.zeros(self._alive.shape, bool)
        self._open = self._alive
        self._sorted: np.ndarray | None = None
        self._middle: tuple[int, np.ndarray] | None = None

    def top(self, k: int) -> np.ndarray:
        """bool array (N,) with exactly k entries.

        Raises:
            InputError: k is negative or more than are alive.
        """
        if not 0 <= k <= self.size:
            raise InputError(f"{k} weights were to be kept of the {self.size} that are not yet pruned")
        self._close_in(k)
        if k in (self._low, self._high):
            return self._inside.copy() if k == self._low else self._inside | self._open
        if self._high - self._low <= max(LEAST_SORTED, len(self._scores) // SORTED_PART):
            if self._sorted is None:
                self._sorted = self._in_order(np.flatnonzero(self._open))
            chosen = self._inside.copy()
            chosen[self._sorted[: k - self._low]] = True
            return chosen
        chosen = self._inside | self._best_open(k - self._low)
        self._middle = (k, chosen)
        return chosen.copy()

    def _close_in(self, k: int) -> None:
        """Moves the window's nearer end to the last answer, or opens it again if k lies outside."""
        if not self._low <= k <= self._high:
            self._reset()
        if self._middle is None:
            return
        middle, chosen = self._middle
        if k >= middle:
            self._open = self._open & ~chosen
            self._low, self._inside = middle, chosen
        else:
            self._open = self._open & chosen & ~self._inside
            self._high = middle
        self._middle = None

    def _best_open(self, count: int) -> np.ndarray:
        values = self._scores[self._open]
        place = len(values) - count
        values.partition(place)
        threshold = values[place]
        del values
        chosen = self._open & (self._scores > threshold)
        equal = np.flatnonzero(self._open & (self._scores == threshold))
        missing = count - int(np.count_nonzero(chosen))
        if missing < len(equal):
            equal = equal[np.argpartition(tie_keys(equal, self._seed), missing - 1)[:missing]]
        chosen[equal] = True
        return chosen

    def _in_order(self, positions: np.ndarray) -> np.ndarray:
        """Best first. One integer holds the score, in the order of its bits, above the tie's key."""
        bits = (self._scores[positions] + np.float32(0)).view(np.int32)  # + 0 makes −0 equal to 0
        ascending = np.where(bits < 0, np.int32(-(2**31)) - bits, bits).astype(np.int64)
        keys = (-ascending << 32) + tie_keys(positions, self._seed)
        return positions[np.argsort(keys)]
