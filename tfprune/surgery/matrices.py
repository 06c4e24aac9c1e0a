"""Matrices without biases, which operations multiply with in both directions."""

from __future__ import annotations

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
        """Nothing: no bias takes in what is constant, and what is 0 may be needed in the other direction."""

    def cut(self) -> None:
        """Sets weights to 0 that read what is always 0 or lead to what nothing needs, in every use."""
        value = self._weights[self._path]
        idle = np.ones(value.shape, bool)
        for one in self.directions:
            view = np.moveaxis(idle, one.axes, (-2, -1))
            for use in one._uses:
                view &= (use.given.constant == 0)[:, None] | ~use.output.needed
        value[idle] = 0
