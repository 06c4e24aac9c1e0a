"""The tables of a run, CSV files beside those of the original, with a row for each iteration."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from tfprune.errors import InputError
from tfprune.records.atomic import atomic_write_text
from tfprune.records.reading import read_text, readable

_MOST_COLUMNS = 1000
_TEXT = "order"


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
