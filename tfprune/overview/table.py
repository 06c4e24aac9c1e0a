"""One flat table of any mix of runs: what `read_results` gives, and what settings and files say, a column each."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tfprune.experiments.results import read_results
from tfprune.experiments.told import Told, encodable, told_of
from tfprune.overview.latency import read_latencies
from tfprune.records.settings import digest

COLUMNS = (
    *("family", "label", "network", "data", "method", "series", "group", "seed", "level", "version"),
    *("target_compression", "target", "weights", "kept", "effective", "density", "effective_density"),
    *("compression", "effective_compression", "accuracy", "loss"),
    *("parameters", "parameters_masked", "parameters_compacted", "flops", "flops_masked", "flops_compacted"),
    *(
        "latency_ms",
        "latency_dense_ms",
        "latency_machine",
        "steps",
        "seconds",
        "engine",
        "kept_layers",
        "sweep",
        "digest",
    ),
    *("settings", "layers", "more", "versions", "folder", "file", "source"),
)
"""Of every overview, in this order; after them come `settings.<name>`, by name."""
_TOLD = ("network", "data", "series", "group", "target", "latency_machine", "sweep")
_TEXTS = (
    "family",
    "label",
    "method",
    "seed",
    "version",
    "digest",
    "engine",
    "versions",
    "folder",
    "file",
    "source",
    *_TOLD,
)
_TEXT = pd.StringDtype(na_value=np.nan)
_FLOATS = ("target_compression", "compression", "effective_compression", "latency_ms", "latency_dense_ms")
_RUNS, _SWEEP = "runs", "sweep.json"
SETTING = "settings."


def overview_table(*roots: str | Path, latency_machine: str | None = None) -> pd.DataFrame:
    """One row for every trained network below one folder or several, in flat columns.

    Args:
        *roots: folders, searched to any depth, as for `tfprune.read_results`.
        latency_machine: whose latencies to show, as the column of that name tells it, `node-1, litert`; None for those
            of most networks. Latencies of several machines cannot be compared, so there is one in a table.

    Returns:
        The rows and columns of `tfprune.read_results`, `seed` as text, and these (what is not known is missing, never
        0; columns of text have missing values, `NaN`, too):

        - `network`, `data`: names of the architecture and of the images.
        - `series`: what networks share that differ in seed and in how much is pruned alone, 8 digits; `group`: what
          networks share that differ in seed alone.
        - `target_compression`: number of weights over the number that was to be left, and `target`, which of these:
          `direct` or `effective`.
        - `compression`, `effective_compression`: 1 / `density`, 1 / `effective_density`, in [1, ∞].
        - `latency_ms`, `latency_dense_ms`: milliseconds for one example, of the compacted network and of the one
          without pruning, on `latency_machine`, where they were measured.
        - `sweep`: name of the sweep that the run belongs to.
        - `settings.<name>`: each setting, by `group.name` where settings have groups, in which rows of one family
          differ; numbers, booleans, or text (JSON for lists and for columns of several kinds).

    Raises:
        InputError: as `tfprune.read_results`.
    """
    table = read_results(*roots)
    rows = table.to_dict("records")
    sweep = cache(_sweep)
    told = [
        _flat(row) | latency | {"sweep": sweep(os.path.abspath(row["folder"]))}
        for row, latency in zip(rows, read_latencies(rows, latency_machine), strict=True)
    ]
    table = table.join(pd.DataFrame(told, columns=[*_TOLD, *_FLOATS]))
    table["seed"] = [None if pd.isna(seed) else str(seed) for seed in table["seed"]]
    table = table.astype(dict.fromkeys(_TEXTS, _TEXT) | dict.fromkeys(_FLOATS, "float64"))
    with np.errstate(divide="ignore"):
        table["compression"] = 1 / table["density"]
        table["effective_compression"] = 1 / table["effective_density"]
    return pd.concat([table[list(COLUMNS)], _differing(rows, table.index)], axis=1)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    told, settings = told_of(row["family"]), row["settings"]
    known = {name: None if pd.isna(row[name]) else row[name] for name in ("method", "digest", "level", "version")}
    # Of originals that keep no settings nothing else says which networks are alike.
    place = None if settings else known["digest"] or row["folder"]
    series = [row["family"], known["method"], _without(settings, (*told.repetitions, *told.amounts)), place]
    group = [*series, row["label"], known["level"], known["version"], _only(settings, told)]
    return told.facts(settings)._asdict() | {"series": digest(series, 8), "group": digest(group, 8)}


def _sweep(folder: str) -> str | None:
    """Name of the folder of a sweep, `<sweep>/runs/...` with `<sweep>/sweep.json`, that a folder belongs to."""
    above, name = os.path.split(folder)
    if above == folder:
        return None
    if name == _RUNS and os.path.exists(os.path.join(above, _SWEEP)):
        return os.path.basename(above)
    return _sweep(above)


def _without(settings: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in _leaves(settings) if name.rpartition(".")[2] not in names}


def _only(settings: Mapping[str, Any], told: Told) -> dict[str, Any]:
    return {name: value for name, value in _leaves(settings) if name.rpartition(".")[2] in told.amounts}


def _leaves(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Names, `group.name` within groups, and values."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def setting_names(table: pd.DataFrame) -> list[str]:
    """Names of all settings of the rows, `group.name` within groups, sorted."""
    return sorted({name for settings in table["settings"] for name, _ in _leaves(settings)})


def setting_column(table: pd.DataFrame, name: str) -> pd.Series:
    """A setting of each row, as a column of the overview is made; missing where a row has no such setting."""
    cells = enumerate(dict(_leaves(settings)).get(name) for settings in table["settings"])
    return _column({number: value for number, value in cells if value is not None}, table.index)


def _differing(rows: Sequence[Mapping[str, Any]], index: pd.Index) -> pd.DataFrame:
    """The settings in which rows of one family differ, a column each."""
    values: dict[str, dict[int, Any]] = {}
    kinds: dict[tuple[str, str], set[str]] = {}
    for number, row in enumerate(rows):
        for name, value in _leaves(row["settings"]):
            values.setdefault(name, {})[number] = value
            kinds.setdefault((row["family"], name), set()).add(json.dumps(value))
    wanted = sorted({name for (_, name), found in kinds.items() if len(found) > 1})
    return pd.DataFrame({f"{SETTING}{name}": _column(values[name], index) for name in wanted}, index=index)


def _column(values: Mapping[int, Any], index: pd.Index) -> pd.Series:
    """Values by their places, in a column of the type that all of them have."""
    known = [value for value in values.values() if value is not None]
    found, cells = set(map(type, known)), [values.get(number) for number in range(len(index))]
    if found == {bool}:
        return pd.Series(cells, index, "boolean")
    if found in ({int}, {float}, {int, float}):
        largest = max((abs(value) for value in known if type(value) is int), default=0)
        if largest < (2**53 if float in found else 2**63):  # else digits would be lost
            return pd.Series(cells, index, "float64" if float in found else "Int64")
    if found == {str}:
        cells = [None if value is None else encodable(value) for value in cells]
    else:
        cells = [None if value is None else json.dumps(value) for value in cells]
    return pd.Series(cells, index, _TEXT)
