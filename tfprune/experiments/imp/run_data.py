"""A whole iterative-magnitude-pruning run, read from its folder as it is asked for."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

from tfprune.errors import InputError
from tfprune.experiments.imp.files import IterationRecord, LayerSpec, find_iterations, read_iteration


class ImpRun:
    """The iterations of a run; few are in memory at a time, since one can hold hundreds of megabytes.

    Attributes:
        folder: where the files lie.
        prefix: the run's prefix.
        iterations: the numbers of the iterations there are, ascending.
    """

    def __init__(self, folder: str | Path, prefix: str | None = None):
        """Finds the files and reads none.

        Args:
            folder: where the files lie.
            prefix: the run's prefix; None takes the only one there is.

        Raises:
            InputError: no iteration is there, or several runs are and `prefix` is None.
        """
        self.folder = Path(folder)
        self.prefix, self._paths = find_iterations(folder, prefix)
        self.iterations = list(self._paths)
        self._read = lru_cache(maxsize=2)(read_iteration)

    def iteration(self, k: int) -> IterationRecord:
        """Iteration `k`, read from its file unless it is one of the last two asked for.

        Raises:
            InputError: there is no such iteration, or its file is damaged.
        """
        if k not in self._paths:
            raise InputError(f"no iteration {k} of {self.prefix} in {self.folder}: there are {self.iterations}")
        return self._read(self._paths[k])

    @property
    def missing(self) -> list[int]:
        """Iterations before the last one that have no file; a run that was restarted may never have had them."""
        return sorted(set(range(self.iterations[-1])) - set(self.iterations))

    @property
    def layers(self) -> tuple[LayerSpec, ...]:
        """The architecture, from the first iteration."""
        return self.iteration(self.iterations[0]).layers

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """(channels, height, width) of the input, or None where it can't be told.

        The files don't hold it. A dense first layer with 3·s² or s² inputs is taken to see square images.
        """
        first = self.layers[0]
        if first.kind not in "fx":
            return None
        for channels in (3, 1):
            side = math.isqrt(first.params[0] // channels)
            if channels * side * side == first.params[0]:
                return channels, side, side
        return None
