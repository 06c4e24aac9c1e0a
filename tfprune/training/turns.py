"""Batches of a user's data in turns: another one for each number, the same for the same number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

from tfprune.errors import InputError
from tfprune.pruning.batches import as_batches


class Turns:
    """Of arrays rows at random, by number and seed; of anything else its batches, in their order, round and round.

    Args:
        data: as for `tfprune.prune`.
        batch_size: of arrays.
        inputs: how many the model has.
        seed: of rows.

    Raises:
        InputError: data that are no batches.
    """

    def __init__(self, data, batch_size: int, inputs: int, seed: int):
        self._arrays = data if _is_arrays(data) else None
        endless = isinstance(data, tf.data.Dataset) and int(data.cardinality()) == tf.data.INFINITE_CARDINALITY
        self._batches = data if endless else as_batches(data, batch_size, None, inputs)
        self._size, self._seed = batch_size, seed
        self._reading: Iterator | None = None
        self._next = 0

    def take(self, first: int, count: int) -> list[tuple]:
        """The batches number `first` to `first + count - 1`."""
        if self._arrays is not None:
            return [self._drawn(number) for number in range(first, first + count)]
        if self._reading is None or first < self._next:
            self._reading, self._next = self._round_and_round(), 0
        found = []
        while self._next < first + count:
            batch = next(self._reading, None)
            if batch is None:
                raise InputError("data holds no batches, and this schedule needs some")
            if self._next >= first:
                found.append(batch)
            self._next += 1
        return found

    def _round_and_round(self) -> Iterator[tuple]:
        found = True
        while found:
            found = False
            for batch in self._batches:
                found = True
                yield batch

    def _drawn(self, number: int) -> tuple:
        rows = len(tf.nest.flatten(self._arrays)[0])
        chosen = np.random.default_rng((self._seed, number)).choice(rows, min(self._size, rows), replace=False)
        return tf.nest.map_structure(lambda array: np.asarray(array)[chosen], tuple(self._arrays))


def _is_arrays(data) -> bool:
    """Whether these are all inputs and all labels (and weights), as arrays in memory."""
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        return False
    parts = tf.nest.flatten(list(data))
    whole = hasattr(data[0], "shape") or isinstance(data[0], Mapping)
    return whole and all(isinstance(part, np.ndarray) for part in parts)
