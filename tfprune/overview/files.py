"""The overview as a file: CSV, which any program reads, and Parquet, which keeps the types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from tfprune.records.atomic import atomic_write, atomic_write_text
from tfprune.records.extras import extra

DICTS = ("settings", "layers", "more")
"""Columns of dicts, which are JSON text in files."""


def write_csv(path: str | Path, table: pd.DataFrame) -> None:
    """Writes an overview as CSV, atomically: dicts as JSON, numbers with all their digits, nothing where they miss.

    Args:
        path: the file to make or replace.
        table: of `overview_table`.

    Raises:
        InputError: the file cannot be written.
    """
    atomic_write_text(path, flat(table).to_csv(index=False))


def write_parquet(path: str | Path, table: pd.DataFrame) -> None:
    """Writes an overview as Parquet, atomically: dicts as JSON text; else `pandas.read_parquet` gives the same table.

    Args:
        path: the file to make or replace.
        table: of `overview_table`.

    Raises:
        InputError: the package pyarrow is missing (`pip install 'tfprune[report]'`), or the file cannot be written.
    """
    extra("pyarrow", "a Parquet file")
    atomic_write(path, lambda file: flat(table).to_parquet(file, engine="pyarrow", index=False))


def flat(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its dicts as JSON text."""
    texts = {name: [_text(value) for value in table[name]] for name in DICTS if name in table}
    return table.assign(**{name: pd.Series(text, table.index, "str") for name, text in texts.items()})


def _text(value: object) -> str | None:
    return json.dumps(value) if isinstance(value, Mapping) else None
