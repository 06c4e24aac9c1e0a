"""The files of an iterative-magnitude-pruning run, in the structure that Pellegrini & Biroli's code gave them.

A run is a folder with `<prefix>_itdata_<k>.pkl` (one per iteration), `<prefix>_findata.pkl` and `<prefix>_out.dat`.
Files written by the original code and by this package are read by the same functions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from tfprune.errors import InputError
from tfprune.experiments.imp.arch import LayerSpec
from tfprune.experiments.imp.files import lists
from tfprune.experiments.imp.files.records import FinalRecord, IterationRecord
from tfprune.records.pickles import load_pickle, save_pickle

_ITERATION_NAME = re.compile(r"(?P<prefix>.+)_itdata_(?P<k>0|[1-9][0-9]{0,5})\.pkl")


def iteration_path(folder: str | Path, prefix: str, k: int) -> Path:
    """`<folder>/<prefix>_itdata_<k>.pkl`."""
    return Path(folder) / f"{prefix}_itdata_{k}.pkl"


def findata_path(folder: str | Path, prefix: str) -> Path:
    """`<folder>/<prefix>_findata.pkl`."""
    return Path(folder) / f"{prefix}_findata.pkl"


def write_iteration(path: str | Path, record: IterationRecord) -> None:
    """Writes one iteration atomically; the same record gives the same bytes.

    Raises:
        InputError: the file can't be written.
    """
    save_pickle(path, lists.iteration_to_list(record))


def read_iteration(path: str | Path) -> IterationRecord:
    """Reads an iteration written by the original code or by `write_iteration`.

    Returns:
        The record; its weights and running averages are read-only arrays.

    Raises:
        InputError: missing, truncated or foreign file, or one whose content doesn't fit its own architecture.
    """
    content = load_pickle(path)
    try:
        return lists.iteration_from_list(content)
    except (ValueError, TypeError) as error:
        raise InputError(f"cannot read {path}: not the data of an iteration ({error})") from error


def write_findata(
    path: str | Path,
    layers: Sequence[LayerSpec],
    ratios_per_iteration: Sequence[np.ndarray],
    best_validation_errors: Sequence[float],
) -> None:
    """Writes the summary of a finished run atomically.

    Args:
        path: the file to make or replace.
        layers: the architecture.
        ratios_per_iteration: float64, one sparsity per pruned layer, for each iteration.
        best_validation_errors: in [0, 1], one per iteration.

    Raises:
        InputError: the file can't be written.
    """
    record = FinalRecord(tuple(layers), list(ratios_per_iteration), np.asarray(best_validation_errors, np.float32))
    save_pickle(path, lists.final_to_list(record))


def read_findata(path: str | Path) -> FinalRecord:
    """Reads a summary written by the original code or by `write_findata`.

    Raises:
        InputError: missing, truncated or foreign file, or one whose parts don't fit each other.
    """
    content = load_pickle(path)
    try:
        return lists.final_from_list(content)
    except (ValueError, TypeError) as error:
        raise InputError(f"cannot read {path}: not the final data of a run ({error})") from error


def find_iterations(folder: str | Path, prefix: str | None = None) -> tuple[str, dict[int, Path]]:
    """Finds the iterations of a run.

    Args:
        folder: where to look, not below it.
        prefix: the run's prefix; None takes the only one there is.

    Returns:
        The prefix, and the file of each iteration by its number, ascending.

    Raises:
        InputError: no iteration is there, or several runs are and `prefix` is None.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"cannot read the run in {folder}: no such folder")
    found = iterations_among(path.name for path in folder.iterdir())
    found = {name: iterations for name, iterations in found.items() if prefix in (None, name)}
    if not found:
        raise InputError(f"no file {prefix or '<prefix>'}_itdata_<k>.pkl in {folder}")
    if len(found) > 1:
        raise InputError(f"several runs in {folder}, name one: {', '.join(found)}")
    ((prefix, iterations),) = found.items()
    return prefix, {k: folder / name for k, name in iterations.items()}


def iterations_among(names: Iterable[str]) -> dict[str, dict[int, str]]:
    """Prefix -> number of an iteration -> name of its file, sorted, of those among the names of files."""
    found: dict[str, dict[int, str]] = {}
    for name in names:
        if match := _ITERATION_NAME.fullmatch(name):
            found.setdefault(match["prefix"], {})[int(match["k"])] = name
    return {prefix: dict(sorted(found[prefix].items())) for prefix in sorted(found)}


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
