"""The overview for people: networks that differ in their seed alone as one line, with means and how far they spread."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd

from tfprune.experiments.told import told_of
from tfprune.overview.table import SETTING

KEYS = ("family", "source", "group")
"""What networks have in common that make one line."""
_SAID = ("family", "network", "data", "method", "level", "version", "target", "target_compression", "sweep", "source")
_NUMBERS = (
    *("compression", "effective_compression", "accuracy", "loss", "parameters_compacted", "flops_compacted"),
    *("latency_ms", "seconds"),
)
_ORDER = ("family", "network", "data", "method", "target", "target_compression", "level", "version")
RUNS = "runs"
_LARGE = 1e18  # is written with a power of ten
_FORMATS = {
    "accuracy": "{:.4f}",
    "loss": "{:.4f}",
    "seconds": "{:.1f}",
    "latency_ms": "{:.4g}",
    "latency_dense_ms": "{:.4g}",
}


def grouped(table: pd.DataFrame, columns: Sequence[str] = ()) -> pd.DataFrame:
    """A row for networks that differ in their seed alone.

    Args:
        table: of `overview_table`.
        columns: of it that are wanted; none for those that tell the groups apart, and what was measured.

    Returns:
        The columns: of numbers means over the runs in which they are known, of others the value where all runs have the
        same; after each column of numbers in which runs of a group differ `<name>_std`, standard deviation of a sample,
        and `<name>_count`, number of runs in which it is known; and `runs`, before what was measured.
    """
    table = table.sort_values([name for name in _ORDER if name in table], kind="stable")
    groups = table.groupby(list(KEYS), sort=False, dropna=False)
    told = list(columns) or _telling(table, groups)
    found = {}
    for name in [*told, *(() if columns else (name for name in _NUMBERS if table[name].notna().any()))]:
        cells = table[name]
        numeric = pd.api.types.is_numeric_dtype(cells.dtype) and not pd.api.types.is_bool_dtype(cells.dtype)
        if not numeric:
            found[name] = groups[name].agg(_shared)
            continue
        cells = cells.astype("float64")
        parts = cells.groupby([table[key] for key in KEYS], sort=False, dropna=False)
        found[name] = parts.mean()
        if (parts.nunique() > 1).any():
            # Where a compression is infinite there is no deviation.
            finite = cells.where(np.isfinite(cells)).groupby([table[key] for key in KEYS], sort=False, dropna=False)
            deviation = finite.std().where(np.isfinite(found[name]))
            found |= {f"{name}_std": deviation, f"{name}_count": parts.count()}
    summary = pd.DataFrame(found)
    summary.insert(0 if columns else len(told), RUNS, groups.size())
    return summary.reset_index(drop=True)


def repeated(table: pd.DataFrame) -> int:
    """How many networks repeat another one, with its settings and seed: in means these count again.

    Args:
        table: of `overview_table`.
    """
    known = table[table["seed"].notna()]
    settings = known["settings"].map(lambda each: json.dumps(each, sort_keys=True))
    same = known[[name for name in (*KEYS, "seed") if name in table]].assign(settings=settings)
    return int(same.duplicated().sum())


def as_text(table: pd.DataFrame) -> str:
    """A table as it is printed: `mean ± deviation`, and how many runs it is of where it is not known in all.

    Args:
        table: of `grouped`, or rows of an overview.
    """
    shown = {}
    for name in table:
        if name.endswith(("_std", "_count")) and name.rpartition("_")[0] in table:
            continue
        cells = [_shown(name, value) for value in table[name]]
        if f"{name}_std" in table:
            columns = (table[f"{name}{end}"] for end in ("_std", "_count"))
            runs = table[RUNS] if RUNS in table else columns[1]
            cells = [_with_spread(name, cell, *more) for cell, *more in zip(cells, *columns, runs, strict=True)]
        shown[name.removeprefix(SETTING)] = cells
    return _aligned(shown, [name for name in table if _is_text(table[name])])


def _telling(table: pd.DataFrame, groups) -> list[str]:
    """The columns that tell groups apart, as few as will do."""
    known = [name for name in _SAID if table[name].notna().any()]
    names = [name for name in known if name in _SAID[:4] or table[name].nunique(dropna=False) > 1]
    repetitions = {name for family in table["family"].unique() for name in told_of(family).repetitions}
    others = [name for name in table if name.startswith(SETTING) and _last(name) not in repetitions]
    others = [*others, "label"]
    first = groups[[*names, *others]].first()
    apart = len(first[names].drop_duplicates())
    for name in others:
        more = len(first[[*names, name]].drop_duplicates())
        if more > apart and (groups[name].nunique(dropna=False) == 1).all():
            names, apart = [*names, name], more
    return names


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _shared(cells: pd.Series) -> object:
    different = cells.map(str) if cells.dtype == object else cells
    count = different.nunique(dropna=False)
    return cells.iloc[0] if count == 1 else f"({count} values)"


def _is_text(cells: pd.Series) -> bool:
    return not pd.api.types.is_numeric_dtype(cells.dtype) or pd.api.types.is_bool_dtype(cells.dtype)


def _shown(name: str, value: object) -> str:
    if not isinstance(value, dict | list) and pd.isna(value):
        return ""
    if isinstance(value, float | np.floating):
        if name in _FORMATS:
            return _FORMATS[name].format(value)
        return f"{value:,.0f}" if 1000 <= abs(value) < _LARGE else f"{value:.5g}"
    if isinstance(value, int | np.integer) and not isinstance(value, bool | np.bool_):
        return f"{value:,}"
    return str(value)


def _with_spread(name: str, mean: str, deviation: float, count: int, runs: int) -> str:
    if not mean:
        return ""
    spread = ""
    if count > 1 and deviation == deviation:
        form = _FORMATS.get(name) or ("{:,.0f}" if deviation >= 10 else "{:.2g}")
        spread = f" ± {form.format(deviation)}"
    return f"{mean}{spread}{f' ({count})' if count != runs else ''}"


def _aligned(columns: dict[str, list[str]], texts: Sequence[str]) -> str:
    """Text to the left, numbers to the right."""
    left = {name.removeprefix(SETTING) for name in texts}
    lines = []
    for name, cells in columns.items():
        width = max(map(len, (name, *cells)))
        lines.append([cell.ljust(width) if name in left else cell.rjust(width) for cell in (name, *cells)])
    return "\n".join("  ".join(line).rstrip() for line in zip(*lines, strict=True))
