"""Patterns that hardware likes: N of every M weights, or weights that stay and leave in groups.

A kernel is the matrix that `tfprune.layers.axes` makes of it: rows are positions and, within each, inputs; columns are
outputs. A dense kernel is that as it is, a convolution's (height, width, in, out) reshaped to (height·width·in, out).

* `"N:M"`: of every M inputs in a row (of one position, for one output) N are kept, by their own scores: NVIDIA's 2:4
  (Mishra et al. 2021, arXiv 2104.08378). It says how sparse every kernel gets: 1 − N/M.
* `"AxB"`: blocks of A rows and B columns.
* `"row"`, `"column"`: of the matrix: all that one input at one position gives; all that makes one output (a filter).
* `"kernel"`: all positions of one input and one output of a convolution.

Where M, A or B does not divide, what is left over at the end belongs to no group, and stays.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from tfprune.errors import InputError, did_you_mean
from tfprune.layers.axes import Axes

NAMED = ("row", "column", "kernel")


@dataclass(frozen=True)
class Pattern:
    """A pattern that was understood.

    Attributes:
        text: as it is written.
        kept, of: N and M of N:M; None for groups.
        block: rows and columns of a block; None for all others.
    """

    text: str
    kept: int | None = None
    of: int | None = None
    block: tuple[int, int] | None = None

    @property
    def sparsity(self) -> float | None:
        """The sparsity that N:M gives every kernel; None for groups, which serve any."""
        return None if self.of is None else 1 - self.kept / self.of

    def groups(self, axes: Axes, shape: tuple[int, ...]) -> np.ndarray:
        """int32 (groups, members): positions in the flat kernel; what is left over is in none of them."""
        positions = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
        folded = self.folded(axes.arranged(positions), axes.spatial)
        return folded.reshape(-1, folded.shape[-2] * folded.shape[-1])

    def folded(self, placed: np.ndarray, spatial: bool) -> np.ndarray:
        """The groups of a kernel, as a view: (..., rows, columns), members of each in the last two axes.

        Args:
            placed: from `Axes.arranged`.
            spatial: whether it is a convolution's.
        """
        positions, inputs, outputs = placed.shape
        if self.of is not None:
            number = inputs // self.of
            whole = placed[:, : number * self.of].reshape(positions, number, self.of, outputs)
            return whole.swapaxes(2, 3)[..., None]
        if self.text == "kernel":
            return placed.transpose(1, 2, 0)[..., None] if spatial else placed[:0, :0, :1, None]
        matrix = placed.reshape(-1, outputs)
        rows, columns = {"row": (1, outputs), "column": (len(matrix), 1)}.get(self.text, self.block)
        down, across = len(matrix) // rows, outputs // columns
        blocks = matrix[: down * rows, : across * columns].reshape(down, rows, across, columns)
        return blocks.swapaxes(1, 2)

    def misfit(self, axes: Axes, shape: tuple[int, ...]) -> str:
        """Why something of a kernel is left over, in words."""
        positions, inputs, outputs = axes.arranged(np.empty(shape, bool)).shape
        if self.of is not None:
            return f"its {inputs} {'input is' if inputs == 1 else 'inputs are'} no multiple of {self.of}"
        if self.text == "kernel":
            return "it is no convolution's"
        return f"its matrix of {positions * inputs} rows and {outputs} columns is no multiple of {self.text}"


def as_pattern(text: str) -> Pattern:
    """The pattern that a text means.

    Raises:
        InputError: none, or an N:M that keeps nothing or everything.
    """
    given = text.strip().lower().replace("\N{MULTIPLICATION SIGN}", "x") if isinstance(text, str) else ""
    numbers = re.fullmatch(r"(\d+)([:x])(\d+)", given)
    if given in NAMED:
        return Pattern(given)
    if numbers is None:
        raise InputError(
            "pattern must be N:M (as 2:4), a block of rows x columns (as 4x1), row, column or kernel; received "
            f"{text!r}{did_you_mean(text, NAMED)}"
        )
    first, last = int(numbers[1]), int(numbers[3])
    if numbers[2] == ":":
        if not 0 < first < last:
            swapped = f"; did you mean '{last}:{first}'?" if 0 < last < first else ""
            raise InputError(f"pattern N:M keeps N of M weights, 0 < N < M; received {text!r}{swapped}")
        return Pattern(f"{first}:{last}", kept=first, of=last)
    if not (first and last):
        raise InputError(f"pattern {text!r} is a block without weights: rows and columns are at least 1")
    return Pattern(f"{first}x{last}", block=(first, last))
