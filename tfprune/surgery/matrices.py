"""Matrices without biases, which operations multiply with in both directions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfprune.surgery.links import Product, Weights


class Matrix(Product):
    """A kernel between two axes of channels, in one direction: weights go only where no direction needs them.

    Args:
        weights: path -> array; the kernel is changed in it.
        path: of the kernel.
        in_axis, out_axis: its axes of input and output channels.
        directions: all objects of this variable; this one is added.
    """

    def __init__(self, weights: Weights, path: str, in_axis: int, out_axis: int, directions: list[Matrix]):
        super().__init__(weights, path, f"{path} has no bias", in_axis, out_axis)
        self.axes, self.directions = (in_axis, out_axis), directions
        directions.append(self)

    def fold(self) -> None:
        """Sets to 0 what reads inputs that are always 0."""
        self._clear(lambda use: (use.given.constant == 0)[:, None])

    def cut(self) -> None:
        """Sets to 0 what leads to channels that nothing needs."""
        self._clear(lambda use: ~use.output.needed)

    def _clear(self, idle: Callable) -> None:
        """Sets weights to 0 that are idle in all uses; `idle` says which, as what fits (inputs, outputs)."""
        value = self._weights[self._path]
        clear = np.ones(value.shape, bool)
        for one in self.directions:
            view = np.moveaxis(clear, one.axes, (-2, -1))
            for use in one._uses:
                view &= idle(use)
        value[clear] = 0
