"""The runs of the results page as its script reads them: columns, filters, and what each line is drawn for."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tfprune.overview.table import SETTING
from tfprune.plots.style import BASELINE_COLOR, COLORS

INFINITE = "∞"
"""An infinite number, which JSON does not have."""
_DIGITS = 5
_MARKERS = ("circle", "square", "diamond", "triangle", "inverted_triangle", "plus")
_DASHES = ("solid", "dashed", "dotted", "dotdash")
_DENSE = "dense"
_WHOLE, _FRACTION, _RATIO, _NUMBER = "0,0", "0.0000", "0,0.00", "0,0.[0000]"
# Columns in the order in which they are shown: what they are called, and how numbers are written (None: text).
_SHOWN: dict[str, tuple[str, str | None]] = {
    "label": ("Run", None),
    "family": ("System", None),
    "network": ("Network", None),
    "data": ("Data", None),
    "method": ("Method", None),
    "version": ("Version", None),
    "seed": ("Seed", None),
    "level": ("Level", _WHOLE),
    "accuracy": ("Accuracy", _FRACTION),
    "compression": ("Compression", _RATIO),
    "effective_compression": ("Effective compression", _RATIO),
    "loss": ("Loss (nats)", _FRACTION),
    "target": ("Target is", None),
    "target_compression": ("Target compression", _RATIO),
    "parameters": ("Parameters, dense", _WHOLE),
    "parameters_masked": ("Parameters, kept", _WHOLE),
    "parameters_compacted": ("Parameters, compacted", _WHOLE),
    "flops": ("FLOPs, dense", _WHOLE),
    "flops_masked": ("FLOPs, kept", _WHOLE),
    "flops_compacted": ("FLOPs, compacted", _WHOLE),
    "latency_ms": ("Latency (ms)", "0,0.000"),
    "latency_dense_ms": ("Latency, dense (ms)", "0,0.000"),
    "latency_machine": ("Latency measured on", None),
    "steps": ("Steps", _WHOLE),
    "seconds": ("Training (s)", "0,0.0"),
    "engine": ("Engine", None),
    "kept_layers": ("Layers by kept weights", _WHOLE),
    "sweep": ("Sweep", None),
    "source": ("Code", None),
    "folder": ("Folder", None),
    "file": ("File", None),
}
_COSTS = (
    *("parameters_masked", "parameters_compacted", "flops_masked", "flops_compacted", "latency_ms"),
    *("parameters", "flops"),
)
# Of these a choice is offered; texts of the others are found by searching, numbers by their range.
_CHOICES = (
    "family",
    "network",
    "data",
    "method",
    "version",
    "seed",
    "level",
    "target",
    "target_compression",
    "engine",
    "sweep",
)
_STUDY = ("family", "network", "data")


@dataclass(frozen=True)
class Column:
    """A column of the page's table, or a setting that runs can be filtered by.

    Attributes:
        name: in the data.
        title: for people.
        number_format: how its numbers are written, in Bokeh's terms; None for text.
        width: of the longest text, in characters.
        choice: whether runs can be chosen by its values.
        shown: in the table; else it is a filter alone, or the same in all runs.
    """

    name: str
    title: str
    number_format: str | None = None
    width: int = 0
    choice: bool = True
    shown: bool = True


def columns_of(table: pd.DataFrame) -> list[Column]:
    """The columns of an overview of which something is known, then the settings that say more than these."""
    found = []
    for name, (title, number_format) in _SHOWN.items():
        if name in table and table[name].notna().any():
            width = 0 if number_format else max(map(len, _texts(table, name)))
            varied = len(table) == 1 or table[name].nunique(dropna=False) > 1
            found.append(Column(name, title, number_format, width, name in _CHOICES, varied))
    told = [column.name for column in found]
    for name in table:
        if str(name).startswith(SETTING) and table[name].nunique() > 1 and not _is_told(table, name, told):
            told.append(name)
            number_format = _NUMBER if _is_numeric(table[name]) else None
            found.append(Column(name, name.removeprefix(SETTING), number_format, shown=False))
    return found


def packed_runs(table: pd.DataFrame, columns: Sequence[Column]) -> dict:
    """All runs, as JSON values.

    Args:
        table: of `tfprune.overview.table.overview_table`.
        columns: of it.

    Returns:
        - `count`: of the runs.
        - `columns`: name, title and format, with `values` (None where missing) or `texts` and `codes`, places in it.
        - `lines`: what a line is drawn for, runs that differ in seed and in how much is pruned alone: name, study,
          colour, marker and dash; `line`: its place of each run.
        - `group`: runs with the same number differ in their seed alone.
        - `costs`: columns that accuracy is compared with.
    """
    methods = _texts(table, "method")
    studies = list(zip(*(_texts(table, name) for name in _STUDY), strict=True))
    series = _texts(table, "series")
    keys = list(zip(studies, methods, series, strict=True))
    lines = sorted(set(keys))
    names = _line_names(table, keys)
    looks = _looks(sorted(set(names.values()), key=_natural))
    told = [{"name": names[key], "study": " · ".join(filter(None, key[0])), **looks[names[key]]} for key in lines]
    place = {key: number for number, key in enumerate(lines)}
    known = {column.name for column in columns}
    return {
        "count": len(table),
        "columns": [_column(table, column) for column in columns],
        "lines": told,
        "line": [place[key] for key in keys],
        "group": pd.factorize(table["group"])[0].tolist(),
        "costs": [name for name in _COSTS if name in known],
    }


def rounded(value: object) -> float | int | str | None:
    """A number with five significant digits, a whole one as it is; `∞`; None where there is none."""
    if value is None or value is pd.NA:
        return None
    value = float(value)
    if not math.isfinite(value):
        return INFINITE if value > 0 else None
    if value.is_integer() and abs(value) < 2**53:
        return int(value)
    return float(f"{value:.{_DIGITS}g}")


def _column(table: pd.DataFrame, column: Column) -> dict:
    said = {"name": column.name, "title": column.title, "shown": column.shown, "choice": column.choice}
    if column.number_format is not None:
        return {**said, "format": column.number_format, "values": [rounded(value) for value in table[column.name]]}
    texts = _texts(table, column.name)
    distinct = sorted(set(texts), key=_natural)
    place = {text: number for number, text in enumerate(distinct)}
    return {**said, "texts": distinct, "codes": [place[text] for text in texts]}


def _texts(table: pd.DataFrame, name: str) -> list[str]:
    return ["" if pd.isna(value) else str(value) for value in table[name]]


def _is_told(table: pd.DataFrame, name: str, others: Sequence[str]) -> bool:
    """Whether another column tells the same runs apart, among those of which this one says something."""
    rows = table[table[name].notna()]
    places = pd.factorize(rows[name])[0]
    return any(np.array_equal(places, pd.factorize(rows[other])[0]) for other in others)


def _is_numeric(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _natural(text: str) -> list[tuple[int, str]]:
    """`level 10` after `level 2`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", text)]


def _line_names(table: pd.DataFrame, keys: Sequence[tuple]) -> dict[tuple, str]:
    """Line -> its method, and where a study has several of one method, the settings in which these differ."""
    systems = {study[0] for study, *_ in keys}
    names = {key: f"{key[0][0]}: {key[1]}" if len(systems) > 1 else key[1] or "(no method)" for key in keys}
    alike: dict[tuple, set] = {}
    for key in keys:
        alike.setdefault(key[:2], set()).add(key)
    several = {key for found in alike.values() if len(found) > 1 for key in found}
    if not several:
        return names
    settings = [name for name in table if str(name).startswith(SETTING)]
    by_line = {key: rows for key, rows in table[settings].groupby(pd.Series(keys, table.index)) if key in several}
    for found in alike.values():
        if len(found) > 1:
            for key, said in _differences({key: by_line[key] for key in found}):
                names[key] += f" ({said or key[2]})"
    return names


def _differences(lines: Mapping[tuple, pd.DataFrame]) -> Iterator[tuple[tuple, str]]:
    """Line -> `name=value` of the settings that are one in each line and not the same in all."""
    single = {key: {name: set(map(str, rows[name].dropna())) for name in rows} for key, rows in lines.items()}
    names = list(next(iter(single.values())))
    telling = [
        name
        for name in names
        if all(len(values[name]) <= 1 for values in single.values())
        and len({tuple(values[name]) for values in single.values()}) > 1
    ]
    for key, values in single.items():
        yield key, ", ".join(f"{name.removeprefix(SETTING)}={next(iter(values[name]), '-')}" for name in telling)


def _looks(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Line -> colour, marker and dash, all different for 24 lines; networks that are not pruned are grey."""
    looks, number = {}, 0
    for name in names:
        around, color = divmod(number, len(COLORS))
        if name.rpartition(": ")[2] == _DENSE:
            looks[name] = {"color": BASELINE_COLOR, "marker": "circle", "dash": "solid"}
            continue
        marker, dash = _MARKERS[(color + around) % len(_MARKERS)], _DASHES[around % len(_DASHES)]
        looks[name] = {"color": COLORS[color], "marker": marker, "dash": dash}
        number += 1
    return looks
