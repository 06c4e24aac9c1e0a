"""The tables of a run, CSV files beside those of the original: made, read, and as figures and people take them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from tfprune.errors import InputError
from tfprune.experiments.imp.files.iterations import ImpRun
from tfprune.records.atomic import atomic_write_text
from tfprune.records.reading import read_text, readable

_MOST_COLUMNS = 1000
_TEXT = "order"
Curve = tuple[np.ndarray, np.ndarray]


def read_table(path: str | Path) -> pd.DataFrame:
    """A CSV table of a run.

    Raises:
        InputError: the file cannot be read as a table of numbers (`order`, of units that are silenced, is text).
    """
    text = read_text(path)
    with readable(path, "a table of a run"):
        if text.partition("\n")[0].count(",") >= _MOST_COLUMNS:
            raise ValueError(f"more than {_MOST_COLUMNS} columns")
        table = pd.read_csv(io.StringIO(text))
        wrong = [name for name in table.columns if name != _TEXT and table[name].dtype.kind not in "iuf"]
        if wrong or not isinstance(table.index, pd.RangeIndex):
            raise ValueError(f"column {wrong[0][:40]!r} must be numbers" if wrong else "a row has too many entries")
        if "iteration" in table and table["iteration"].isna().any():
            raise ValueError("a row has no iteration")
    return table


def read_rows(path: Path) -> pd.DataFrame:
    """A table with a row for each iteration; empty if there is none.

    Raises:
        InputError: the file is no such table.
    """
    if not path.exists():
        return pd.DataFrame()
    table = read_table(path)
    if "iteration" not in table:
        raise InputError(f"{path}: has no column 'iteration'; --overwrite starts anew")
    return table


def add_row(path: Path, row: Mapping[str, object]) -> None:
    """Adds a row to a table, or replaces the row of the same iteration."""
    table = read_rows(path)
    if len(table):
        table = table[table["iteration"] != row["iteration"]]
    write_table(path, pd.concat([table, pd.DataFrame([row])]).sort_values("iteration"))


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Writes a table, atomically."""
    atomic_write_text(path, table.to_csv(index=False))


def summary_text(table: pd.DataFrame) -> str:
    """The table printed at the end of a run: density, live units and inputs per layer, cost per step."""
    shown = pd.DataFrame(
        {
            "iteration": table["iteration"],
            "unpruned": table["unpruned_fraction"].map("{:.4f}".format),
            "best val. error": table["best_validation_error"].map("{:.4f}".format),
        }
    )
    layers = [name.removeprefix("density_") for name in table if name.startswith("density_")]
    joined = {"density": "density_{}", "live units": "live_units_{}", "live inputs": "live_inputs_{}"}
    for title, name in joined.items():
        text = "{:.3f}" if title == "density" else "{}"
        columns = [table[name.format(layer)].map(text.format) for layer in layers]
        shown[title] = ["/".join(cells) for cells in zip(*columns, strict=True)]
    shown["ms/step"] = table["ms_per_step"].map("{:.2f}".format)
    return shown.to_string(index=False)


class RunTables(NamedTuple):
    """Measurements that need a model or further training, so that files of masks and weights don't hold them.

    Attributes:
        reevaluation: columns `iteration`, `top1`, `top5`; None if not there.
        silencing: columns `order`, `units`, `accuracy`, `std`; None if not there.
        baselines: label -> accuracy, or (unpruned fraction, accuracy); see `accuracy_figure`.
        validation_images: how many images the accuracies are on; None if no record of the run says so.
    """

    reevaluation: pd.DataFrame | None
    silencing: pd.DataFrame | None
    baselines: dict[str, float | Curve]
    validation_images: int | None


def read_tables(run: ImpRun) -> RunTables:
    """Read `<prefix>_reevaluation.csv`, `_silencing.csv`, `_random_baseline.csv`, `_run.json`; the original had none.

    The dense network's accuracy is taken from the first iteration where nothing is pruned in it.

    Raises:
        InputError: a table cannot be read, or lacks a column.
    """
    tables = {}
    for name in ("reevaluation", "silencing", "random_baseline"):
        path = run.folder / f"{run.prefix}_{name}.csv"
        tables[name] = read_table(path) if path.exists() else None
    baselines: dict[str, float | Curve] = {}
    first = run.iteration(run.iterations[0])
    if len(first.validation_errors) and first.masks.kept == first.masks.size:
        baselines["dense network"] = 1.0 - float(np.min(first.validation_errors))
    random = tables["random_baseline"]
    if random is not None and len(random):
        try:
            accuracy = 1.0 - random["best_validation_error"].to_numpy()
            baselines["random masks, same layer densities"] = (random["unpruned_fraction"].to_numpy(), accuracy)
        except KeyError as missing:
            raise InputError(f"{run.folder}/{run.prefix}_random_baseline.csv: no column {missing}") from None
    return RunTables(tables["reevaluation"], tables["silencing"], baselines, _validation_images(run))


def _validation_images(run: ImpRun) -> int | None:
    try:
        text = (run.folder / f"{run.prefix}_run.json").read_text(encoding="utf-8")
        return int(json.loads(text)["input"]["val_size"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None  # the figures do without
