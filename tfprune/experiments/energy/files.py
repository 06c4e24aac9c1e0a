"""The files of a run of energy-based pruning: those of the original, and the states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tfprune.errors import InputError
from tfprune.records.arrays import read_npz, write_npz
from tfprune.records.atomic import atomic_write_text
from tfprune.records.metric_log import MetricLog
from tfprune.records.run_folder import Layout

LOG, MODEL, MASKS, COMPACTED, TRAINED = "log", "model.keras", "masks.npz", "compacted.keras", "trained"
LAYOUT = Layout(
    results=(
        *(LOG, "loss_*.txt", "evolutionaryCost_*.txt", "test_*.txt", "args_*.json", "states_*.npz"),
        *(MODEL, MASKS, COMPACTED, "result.json"),
    ),
    extras=("*.png",),
    stages=(TRAINED,),
)
LOSSES = {
    "train_loss": "train_loss",
    "train_accuracy": "train_accuracy",
    "valid_loss": "valid_loss",
    "valid_top1": "valid_accuracy",
    "valid_top3": "valid_top3",
    "valid_top5": "valid_top5",
    "average_cost": "average_cost",
    "best_cost": "best_cost",
    "kept": "best_kept",
    "lr": "lr",
    "valid_energy": "valid_energy",
}
"""Columns of `loss_*.txt` -> metrics of the log."""


def write_losses(folder: Path, name: str, log: MetricLog) -> None:
    """`loss_*.txt`, a row after each epoch, and `evolutionaryCost_*.txt`, a row for each batch: mean and least cost.

    What there is not, costs where no states are searched, is `nan`.
    """
    steps = [step for step, _ in log.get("train_loss")]
    costs = {key: dict(log.get(key)) for key in ("average_cost", "best_cost")}
    rows, before = [], 0
    for step in steps:
        row = {column: log.at(metric, step) for column, metric in LOSSES.items()}
        for key, values in costs.items():
            within = [values[each] for each in range(before, step) if each in values]
            row[key] = float(np.mean(within)) if within else None
        rows.append(row)
        before = step
    _write_table(folder / f"loss_{name}.txt", pd.DataFrame(rows, columns=list(LOSSES), dtype=float))
    if costs["best_cost"]:
        _write_table(folder / f"evolutionaryCost_{name}.txt", pd.DataFrame(costs).sort_index())


def read_table(path: Path) -> pd.DataFrame:
    """A table that this module wrote: numbers with spaces between, a first line of names from `#`.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with open(path, encoding="utf-8") as file:
            names = file.readline().lstrip("# ").split()
            return pd.read_csv(file, sep=r"\s+", names=names)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from None


def write_test(folder: Path, name: str, table: pd.DataFrame) -> None:
    """`test_*.txt`: a row for each state of the final report."""
    _write_table(folder / f"test_{name}.txt", table)


def write_states(path: Path, states: np.ndarray, stretches: list[tuple[str, int]]) -> None:
    """The best state after each epoch.

    Args:
        path: of the file.
        states: bool (epochs, D).
        stretches: name and number of bits of each layer.
    """
    names, sizes = zip(*stretches, strict=True)
    write_npz(
        path,
        {
            "states": np.packbits(states, axis=1),
            "names": np.frombuffer("\n".join(names).encode(), np.uint8),
            "sizes": np.array(sizes, np.int64),
        },
    )


def read_states(path: str | Path) -> tuple[np.ndarray, list[tuple[str, int]]]:
    """What `write_states` wrote.

    Raises:
        InputError: a missing, damaged or foreign file.
    """
    arrays = read_npz(Path(path), what="the states of a network")
    try:
        names = bytes(arrays["names"]).decode().split("\n")
        packed, sizes = arrays["states"], arrays["sizes"]
        if sizes.dtype.kind not in "iu" or sizes.ndim != 1 or (sizes < 0).any():
            raise ValueError(f"sizes {str(sizes)[:60]}")
        sizes = sizes.tolist()
        count = sum(sizes)
        if packed.dtype != np.uint8 or packed.ndim != 2 or not len(packed) or packed.shape[1] != -(-count // 8):
            raise ValueError(f"states of shape {packed.shape}")
        states = np.unpackbits(packed, axis=1, count=count).astype(bool)
        return states, list(zip(names, sizes, strict=True))
    except (KeyError, ValueError) as error:
        raise InputError(f"cannot read {path}: not the states of a network ({error})") from None


def _write_table(path: Path, table: pd.DataFrame) -> None:
    body = table.to_csv(index=False, header=False, sep=" ", na_rep="nan")
    atomic_write_text(path, f"# {' '.join(table.columns)}\n{body}")
