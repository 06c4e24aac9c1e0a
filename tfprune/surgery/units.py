"""Recurrent units: channels whose gates stand side by side in the kernels, and which read each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfprune.surgery.channels import Signal
from tfprune.surgery.links import Weights


class Units:
    """The kernels of a recurrent cell, convolutional or not: one object per cell, one link per use of it.

    Args:
        weights: path -> array; the kernels are changed in it.
        kernel, recurrent, bias: their paths; a bias may be missing in `weights`.
        units: channels of the units.
        gates: how many numbers each unit has of everything.
        candidate: which of the gates makes what is new in a unit: where that is always 0, a unit that starts with 0
            stays 0; None where it does not.
    """

    def __init__(
        self, weights: Weights, kernel: str, recurrent: str, bias: str, units: np.ndarray, gates: int, candidate
    ):
        self._weights, self._kernel, self._recurrent, self._bias = weights, kernel, recurrent, bias
        self._gates, self._candidate = gates, candidate
        self.made = units
        self._uses: list[_UnitsUse] = []

    def use(
        self, given: Signal, states: Sequence[Signal], state: Signal, outputs: Sequence[Signal], rests: bool
    ) -> _UnitsUse:
        """A link.

        Args:
            given: the sequences.
            states: what the units start with; none for 0.
            state: of all units, within the layer.
            outputs: signals of the units that come out.
            rests: whether they start with 0.
        """
        self._uses.append(_UnitsUse(self, given, states, state, outputs, rests))
        return self._uses[-1]

    def fold(self) -> None:
        """Sets to 0 what reads inputs and units that are always 0."""
        self.kernel[..., np.all([use.given.constant == 0 for use in self._uses], axis=0), :] = 0
        self.recurrent[..., np.all([use.state.constant == 0 for use in self._uses], axis=0), :] = 0

    def cut(self) -> None:
        """Sets to 0 what leads to units that nothing needs."""
        needed = np.any([use.state.needed for use in self._uses], axis=0)
        self.kernel[..., ~needed] = 0
        self.recurrent[..., ~needed] = 0

    @property
    def kernel(self) -> np.ndarray:
        """View (gates, positions, inputs, units)."""
        return self._by_gate(self._weights[self._kernel])

    @property
    def recurrent(self) -> np.ndarray:
        """View (gates, positions, units that are read, units)."""
        return self._by_gate(self._weights[self._recurrent])

    @property
    def filters(self) -> np.ndarray:
        """(gates and positions, inputs and units, units)"""
        both = np.concatenate([self.kernel, self.recurrent], axis=-2)
        return both.reshape(-1, *both.shape[-2:])

    def rests(self, given: np.ndarray) -> np.ndarray:
        """Which units stay 0 if they start with it; (units,) bool.

        Args:
            given: (inputs,) bool: those that may be something else than 0.
        """
        if self._candidate is None:
            return np.zeros(len(self.made), bool)
        reads = self.recurrent[self._candidate].any(0)
        rests = ~self.kernel[self._candidate].any(0)[given].any(0) & ~self._biased
        while True:
            left = rests & ~reads[~rests].any(0)
            if np.array_equal(left, rests):
                return rests
            rests = left

    @property
    def _biased(self) -> np.ndarray:
        bias = self._weights.get(self._bias)
        if bias is None:
            return np.zeros(len(self.made), bool)
        return (bias.reshape(-1, self._gates, len(self.made))[:, self._candidate] != 0).any(0)

    def _by_gate(self, array: np.ndarray) -> np.ndarray:
        split = array.view()
        split.shape = (-1, array.shape[-2], self._gates, len(self.made))  # fails where it were a copy
        return np.moveaxis(split, 2, 0)


class _UnitsUse:
    def __init__(self, units: Units, given: Signal, states, state: Signal, outputs, rests: bool):
        self._units, self.given, self._states, self.state = units, given, states, state
        self._outputs, self._rests = outputs, rests

    def forward(self) -> None:
        rests = self._units.rests(self.given.constant != 0) if self._rests else False
        for signal in (self.state, *self._outputs):
            signal.constant[:] = np.where(rests, 0.0, np.nan)

    def backward(self) -> None:
        reads = self._units.recurrent.any((0, 1))
        needed = np.any([self.state.needed, *(output.needed for output in self._outputs)], axis=0)
        while True:
            more = needed | reads[:, needed].any(1)
            if np.array_equal(more, needed):
                break
            needed = more
        self.state.needed[:] = needed
        for state in self._states:
            state.needed |= needed
        self.given.needed |= self._units.kernel.any((0, 1))[:, needed].any(1)
