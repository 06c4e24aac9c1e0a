"""Kernels of grouped convolutions: every group of outputs reads a group of inputs of its own."""

from __future__ import annotations

import numpy as np

from tfprune.surgery.channels import Signal
from tfprune.surgery.links import Weights


class Grouped:
    """A kernel (..., inputs of a group, outputs): one object per layer, one link per use of it.

    Args:
        weights: path -> array; the kernel is changed in it.
        kernel, bias: their paths; the bias may be missing in `weights`.
        groups: the kernel's outputs are as many parts of equal size, one after the other, and so are its inputs.
    """

    def __init__(self, weights: Weights, kernel: str, bias: str, groups: int):
        self._weights, self._path, self._bias, self._groups = weights, kernel, bias, groups
        self._uses: list[_GroupedUse] = []

    def use(self, given: Signal, output: Signal) -> _GroupedUse:
        """A link."""
        self._uses.append(_GroupedUse(self, given, output))
        return self._uses[-1]

    def fold(self) -> None:
        """Sets to 0 what reads inputs that are always 0."""
        zero = np.all([use.given.constant == 0 for use in self._uses], axis=0)
        self._by_group[..., zero.reshape(self._groups, -1).T, :] = 0

    def cut(self) -> None:
        """Sets to 0 what leads to channels that nothing needs."""
        self.kernel[..., ~np.any([use.output.needed for use in self._uses], axis=0)] = 0

    @property
    def kernel(self) -> np.ndarray:
        """(..., inputs of a group, outputs)"""
        return self._weights[self._path]

    @property
    def filters(self) -> np.ndarray:
        """(positions, inputs of a group, outputs)"""
        kernel = self.kernel
        return kernel.reshape(-1, *kernel.shape[-2:])

    @property
    def made(self) -> np.ndarray:
        """Channels that the filters make, one each; (outputs,)."""
        return self._uses[0].output.channels

    @property
    def connected(self) -> np.ndarray:
        """(groups, inputs of a group, outputs of a group): whether any weight connects them."""
        kernel = self._by_group
        return (kernel != 0).any(axis=tuple(range(kernel.ndim - 3))).swapaxes(0, 1)

    @property
    def bias(self) -> np.ndarray:
        """(outputs,)"""
        return self._weights.get(self._bias, np.zeros(self.kernel.shape[-1]))

    @property
    def _by_group(self) -> np.ndarray:
        """View (..., inputs of a group, groups, outputs of a group)."""
        view = self.kernel.view()
        view.shape = (*view.shape[:-1], self._groups, -1)  # fails where it were a copy
        return view


class _GroupedUse:
    def __init__(self, grouped: Grouped, given: Signal, output: Signal):
        self._grouped, self.given, self.output = grouped, given, output

    def forward(self) -> None:
        connected = self._grouped.connected
        zero = (self.given.constant == 0).reshape(connected.shape[:2])
        varies = (connected & ~zero[..., None]).any(1).reshape(-1)
        self.output.constant[:] = np.where(varies, np.nan, self._grouped.bias)

    def backward(self) -> None:
        connected = self._grouped.connected
        needed = self.output.needed.reshape(len(connected), 1, -1)
        self.given.needed |= (connected & needed).any(-1).reshape(-1)
