"""The first items of an order that together hold so many weights, without sorting all of them."""

from __future__ import annotations

import numpy as np

BITS = 20  # items are sorted only within one of 2²⁰ ranges of keys


class WeightedOrder:
    """Items in the order of their keys.

    Args:
        keys: int64, all different; the smallest is first.
        sizes: integers above 0: what each item holds.
        held: what no item is needed for.
    """

    def __init__(self, keys: np.ndarray, sizes: np.ndarray, held: int):
        self._keys, self._sizes = keys, sizes
        self._ranges = (keys >> (64 - BITS)).astype(np.int32) + np.int32(1 << (BITS - 1))
        in_ranges = np.bincount(self._ranges, sizes, minlength=1 << BITS)
        self._held = held + np.concatenate([[0], np.cumsum(in_ranges.astype(np.int64))])  # before each range, and all

    def holding(self, count: int, nearest: bool) -> np.ndarray:
        """bool (items,): the fewest first items that hold at least `count`; all where all hold less.

        Args:
            nearest: one item less where that comes nearer to it.
        """
        place = int(np.searchsorted(self._held, count))  # ranges up to here hold enough
        if place == 0:
            return np.zeros(len(self._keys), bool)
        if place == len(self._held):
            return np.ones(len(self._keys), bool)
        chosen = self._ranges < place - 1
        within = np.flatnonzero(self._ranges == place - 1)
        within = within[np.argsort(self._keys[within])]
        held = self._held[place - 1] + np.concatenate([[0], np.cumsum(self._sizes[within])])
        number = int(np.searchsorted(held, count))
        if nearest and count - held[number - 1] < held[number] - count:
            number -= 1
        chosen[within[:number]] = True
        return chosen
