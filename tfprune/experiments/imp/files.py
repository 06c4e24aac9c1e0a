"""The files of an iterative-magnitude-pruning run, in the structure that Pellegrini & Biroli's code gave them.

A run is a folder with `<prefix>_itdata_<k>.pkl` (one per iteration), `<prefix>_findata.pkl` and `<prefix>_out.dat`.
Files written by the original code and by this package are read by the same functions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfprune.errors import InputError
from tfprune.experiments.imp import layout as imp_layout
from tfprune.experiments.imp.types import FinalRecord, IterationRecord, LayerSpec
from tfprune.records.pickles import load_pickle, save_pickle

__all__ = [
    "FinalRecord",
    "IterationRecord",
    "LayerSpec",
    "find_iterations",
    "findata_path",
    "iteration_path",
    "out_path",
    "read_findata",
    "read_iteration",
    "write_findata",
    "write_iteration",
]

_ITERATION_NAME = re.compile(r"(?P<prefix>.+)_itdata_(?P<k>0|[1-9][0-9]{0,5})\.pkl")


def iteration_path(folder: str | Path, prefix: str, k: int) -> Path:
    """`<folder>/<prefix>_itdata_<k>.pkl`."""
    return Path(folder) / f"{prefix}_itdata_{k}.pkl"


def findata_path(folder: str | Path, prefix: str) -> Path:
    """`<folder>/<prefix>_findata.pkl`."""
    return Path(folder) / f"{prefix}_findata.pkl"


def out_path(folder: str | Path, prefix: str) -> Path:
    """`<folder>/<prefix>_out.dat`."""
    return Path(folder) / f"{prefix}_out.dat"


def write_iteration(path: str | Path, record: IterationRecord) -> None:
    """Writes one iteration atomically; the same record gives the same bytes.

    Raises:
        InputError: the file can't be written.
    """
    save_pickle(path, imp_layout.iteration_to_list(record))


def read_iteration(path: str | Path) -> IterationRecord:
    """Reads an iteration written by the original code or by `write_iteration`.

    Returns:
        The record; its weights and running averages are read-only arrays.

    Raises:
        InputError: missing, truncated or foreign file, or one whose content doesn't fit its own architecture.
    """
    content = load_pickle(path)
    try:
        return imp_layout.iteration_from_list(content)
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
    save_pickle(path, imp_layout.final_to_list(record))


def read_findata(path: str | Path) -> FinalRecord:
    """Reads a summary written by the original code or by `write_findata`.

    Raises:
        InputError: missing, truncated or foreign file, or one whose parts don't fit each other.
    """
    content = load_pickle(path)
    try:
        return imp_layout.final_from_list(content)
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
    found: dict[str, dict[int, Path]] = {}
    for path in folder.iterdir():
        match = _ITERATION_NAME.fullmatch(path.name)
        if match and prefix in (None, match["prefix"]):
            found.setdefault(match["prefix"], {})[int(match["k"])] = path
    if not found:
        raise InputError(f"no file {prefix or '<prefix>'}_itdata_<k>.pkl in {folder}")
    if len(found) > 1:
        raise InputError(f"several runs in {folder}, name one: {', '.join(sorted(found))}")
    ((prefix, iterations),) = found.items()
    return prefix, dict(sorted(iterations.items()))
