"""Tables whose rows are looked up: each column makes a channel."""

from __future__ import annotations

import numpy as np

from tfprune.surgery.channels import Signal
from tfprune.surgery.links import Weights


class Table:
    """A table (rows, columns) of which an operation takes rows: one object per variable, one link per use of it.

    Args:
        weights: path -> array; columns that nothing needs become 0.
        path: of the table.
    """

    def __init__(self, weights: Weights, path: str):
        self._weights, self._path = weights, path
        self._outputs: list[Signal] = []
        self._read: list[Signal] = []

    def use(self, given: Signal | None, output: Signal) -> _TableUse:
        """A link; `given` says which rows, None where nothing does."""
        self._outputs.append(output)
        return _TableUse(self, given, output)

    def use_reversed(self, given: Signal, output: Signal) -> _ReversedUse:
        """A link for the product of features with the transposed table: every row makes an output channel."""
        self._read.append(given)
        return _ReversedUse(self, given, output)

    def cut(self) -> None:
        """Sets columns to 0 that nothing needs."""
        needed = np.any([signal.needed for signal in (*self._outputs, *self._read)], axis=0)
        self.table[:, ~needed] = 0

    @property
    def table(self) -> np.ndarray:
        """(rows, columns)"""
        return self._weights[self._path]

    @property
    def filters(self) -> np.ndarray:
        """(1, rows, columns)"""
        return self.table[None]

    @property
    def made(self) -> np.ndarray:
        """Channels that the columns make, one each; (columns,)."""
        return (self._outputs or self._read)[0].channels


class _TableUse:
    def __init__(self, table: Table, given: Signal | None, output: Signal):
        self._table, self._given, self._output = table, given, output

    def forward(self) -> None:
        table = self._table.table
        self._output.constant[:] = np.where((table == table[0]).all(0), table[0], np.nan)

    def backward(self) -> None:
        if self._given is not None and self._output.needed.any():
            self._given.needed[:] = True


class _ReversedUse:
    def __init__(self, table: Table, given: Signal, output: Signal):
        self._table, self._given, self._output = table, given, output

    def forward(self) -> None:
        self._output.constant[:] = np.nan

    def backward(self) -> None:
        self._given.needed |= self._table.table[self._output.needed].any(0)
