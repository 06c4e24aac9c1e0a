"""Channels that are several numbers each, such as the heads of attention and the units of recurrent layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tfprune.surgery.channels import Signal
from tfprune.surgery.links import Product, Weights


class Projection(Product):
    """A kernel between channels and blocks of them: 0 is the only constant that a block is known to be.

    Args:
        weights: path -> array; the kernel is changed in it.
        kernel, bias: their paths; a bias may be missing in `weights`.
        in_axis, out_axis: the kernel's axes of input channels and of blocks.
        bias_axis: the bias's axis of blocks.
    """

    def __init__(self, weights: Weights, kernel: str, bias: str, in_axis: int, out_axis: int, bias_axis: int):
        super().__init__(weights, kernel, bias, in_axis, out_axis)
        self._bias_axis = bias_axis

    def cut(self) -> None:
        """Sets to 0 what leads to blocks that nothing needs, their biases, too: these count for blocks across them."""
        super().cut()
        bias = self._weights.get(self._bias)
        if bias is not None:
            needed = np.any([use.output.needed for use in self._uses], axis=0)
            np.moveaxis(bias, self._bias_axis, -1)[..., ~needed] = 0

    @property
    def bias(self) -> np.ndarray:
        """(outputs,): 0 where a block has no bias, NaN where it has."""
        bias = self._weights.get(self._bias)
        if bias is None:
            return np.zeros(self.kernel.shape[-1])
        other = tuple(axis for axis in range(bias.ndim) if axis != self._bias_axis)
        return np.where(bias.any(axis=other), np.nan, 0.0)


class Attending:
    """Attention, block by block: averages of values, by weights that queries and keys say.

    Args:
        values: whose blocks are averaged: an average of zeros is 0.
        others: queries, keys and gates; (signal, index) as for `values`.
        index: output block k averages the values' block index[k].
        output: what comes out.
        scores: the weights themselves, where they are an output.
    """

    def __init__(
        self,
        values: Signal,
        index: np.ndarray,
        others: Sequence[tuple[Signal, np.ndarray]],
        output: Signal,
        scores: Signal | None = None,
    ):
        self._values, self._index, self._others, self._output = values, index, others, output
        self._scores = scores

    def forward(self) -> None:
        self._output.constant[:] = np.where(self._is_empty, 0.0, np.nan)

    def backward(self) -> None:
        needed = self._output.needed & ~self._is_empty
        self._values.needed[self._index[needed]] = True
        if self._scores is not None:
            needed = needed | self._scores.needed
        for other, index in self._others:
            other.needed[index[needed]] = True

    @property
    def _is_empty(self) -> np.ndarray:
        return self._values.constant[self._index] == 0


class Scores:
    """Sums over channels of what each makes of two inputs; all outputs depend on all that are not 0 throughout.

    Args:
        inputs: two signals with the same channels.
        outputs: signals that depend on the sums.
        is_empty: constants of the inputs -> bools, whether a channel adds nothing.
    """

    def __init__(self, inputs: Sequence[Signal], outputs: Sequence[Signal], is_empty: Callable):
        self._inputs, self._outputs, self._is_empty = inputs, outputs, is_empty

    def forward(self) -> None:
        """Says nothing of the outputs: what averages make of constants, their own link knows."""

    def backward(self) -> None:
        if any(output.is_needed for output in self._outputs):
            empty = self._is_empty(*(given.constant for given in self._inputs))
            for given in self._inputs:
                given.needed |= ~empty


def product_is_empty(query: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Where a product of two constants is 0; bool array."""
    return (query == 0) | (key == 0)
