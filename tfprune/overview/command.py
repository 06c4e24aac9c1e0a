"""`python -m tfprune.results`: what is asked for, and what is done and told."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from absl import flags

from tfprune.cli import flags as setting_flags
from tfprune.cli.app import Command
from tfprune.cli.early import check_output, loading_tensorflow
from tfprune.cli.progress import counted
from tfprune.errors import InputError
from tfprune.overview.choose import column, in_order, rows_where
from tfprune.overview.latency import measure, name_of, this_machine
from tfprune.overview.summary import as_text, grouped, repeated
from tfprune.overview.table import overview_table
from tfprune.records.extras import extra
from tfprune.records.settings import Settings, setting

_EACH = (
    *("label", "family", "network", "data", "seed", "compression", "effective_compression", "accuracy", "loss"),
    *("parameters_compacted", "flops_compacted", "latency_ms", "seconds", "folder"),
)
_PACKAGES = {"parquet": ("pyarrow", "a Parquet file"), "report": ("bokeh", "the results page")}
_ENDINGS = {"csv": (".csv",), "parquet": (".parquet", ".pq"), "report": (".html", ".htm")}


@dataclass(frozen=True)
class ResultsSettings(Settings):
    """What becomes of the collected results."""

    title = "Results"

    csv: str | None = setting(str, "Write the networks to this CSV file, a line each.", None)
    parquet: str | None = setting(str, "Write the networks to this Parquet file.", None)
    report: str | None = setting(str, "Write a page (HTML, one file, needs no network) to look through them.", None)
    columns: tuple[str, ...] | None = setting(
        str,
        "Columns, or settings, to print and write, with commas between (default: a choice; files: all).",
        None,
        many=True,
    )
    sort: tuple[str, ...] | None = setting(
        str, "Columns to sort by, with commas between; -accuracy: from the largest down.", None, many=True
    )
    each: bool = setting(bool, "Print a line for each network, in place of means over seeds.", False)
    latency: bool = setting(
        bool, "First measure how long the compacted networks take, once, where it was not done on this machine.", False
    )
    engine: str = setting(
        str,
        "With --latency: what runs them, LiteRT with two threads (pip install 'tfprune[export]') or TensorFlow.",
        "litert",
        choices=("litert", "keras"),
    )
    machine: str | None = setting(
        str,
        "With --latency: name of this machine, for those that are alike (default: its host name).",
        None,
        rule=("letters, digits, '-' and '.'", lambda text: re.fullmatch(r"[A-Za-z0-9.-]+", text) is not None),
    )
    quiet: bool = setting(bool, "Show no progress.", False)

    def check(self) -> None:
        for name, endings in _ENDINGS.items():
            path = getattr(self, name)
            if path is not None and Path(path).suffix.lower() not in endings:
                raise InputError(f"--{name} must be a file that ends in {' or '.join(endings)}. Received: {path!r}")
        for name in self.changed().keys() & {"engine", "machine"}:
            if not self.latency:
                raise InputError(f"--{name} goes with --latency. Received: --{name}={getattr(self, name)}")


def command() -> Command:
    """`python -m tfprune.results DIR...`."""

    def define(values: flags.FlagValues) -> list[str]:
        title = setting_flags.define(values, ResultsSettings)
        flags.DEFINE_multi_string(
            "where",
            [],
            "Only networks with name=value, also !=, <, <=, >, >=; a column or setting, wildcards, none for what is "
            "missing. May be given again.",
            flag_values=values,
            module_name=title,
        )
        return [title]

    def main(values: flags.FlagValues, words: Sequence[str]) -> None:
        collect(words, setting_flags.read(values, ResultsSettings), values["where"].value)

    return Command((), "", define, main, takes_words=True)


def collect(roots: Sequence[str], asked: ResultsSettings, where: Sequence[str] = ()) -> None:
    """Collects, writes and prints.

    Args:
        roots: folders.
        asked: what becomes of the results.
        where: conditions, as of `rows_where`.

    Raises:
        InputError: no results, or something that is asked for cannot be done.
    """
    if not roots:
        raise InputError("give the folders in which results lie, for example EffectiveSparsity. Received: none")
    _check_files(asked)
    table = overview_table(*roots)
    if not len(table):
        raise InputError(f"there are no results in {', '.join(roots)}")
    table = _wanted(table, where)
    if asked.latency:
        measured_on = _measure(table, asked)
        table = _wanted(overview_table(*roots, latency_machine=measured_on), where)
    chosen = {cells.name: cells for name in asked.columns or () for cells in [column(table, name, "--columns")]}
    table = table.assign(**chosen)  # settings in which the rows do not differ are columns now
    if written := _written(table, list(chosen), asked):
        print(f"{_number(table)}: {', '.join(written)}")
        return
    if asked.each:
        rows = in_order(table, asked.sort or ())
        print(as_text(rows[list(chosen) or [name for name in _EACH if rows[name].notna().any()]]))
        print(_number(table))
    else:
        lines = in_order(grouped(table, list(chosen)), asked.sort or ())
        print(as_text(lines))
        print(f"{_number(table)}; those that differ in their seed alone are one line, mean ± standard deviation")


def _number(table: pd.DataFrame) -> str:
    again = repeated(table)
    copies = f" ({again:,} with the settings and seed of another)" if again else ""
    return f"{len(table):,} network{'s' * (len(table) != 1)}{copies}"


def _wanted(table: pd.DataFrame, where: Sequence[str]) -> pd.DataFrame:
    found = rows_where(table, where)
    if not len(found):
        raise InputError(f"--where: none of {len(table):,} networks fulfils {' and '.join(where)}")
    return found


def _measure(table: pd.DataFrame, asked: ResultsSettings) -> str:
    """Gives what the overview calls this machine."""
    machine = asked.machine or this_machine()
    if asked.engine == "litert":
        extra("ai_edge_litert", "--engine=litert")
    with loading_tensorflow(asked.quiet):
        import tensorflow  # noqa: F401 - it says what it has to say here, not between the lines of progress
    rows = counted(table.to_dict("records"), "measuring latency", quiet=asked.quiet)
    number = measure(rows, asked.engine, machine)
    if not asked.quiet:
        print(f"measured {number:,} of {len(table):,} networks on {machine}", file=sys.stderr)
    return name_of(machine, asked.engine)


def _check_files(asked: ResultsSettings) -> None:
    """What can be known before thousands of files are read."""
    for name in _ENDINGS:
        if (path := getattr(asked, name)) is not None:
            if name in _PACKAGES:
                extra(*_PACKAGES[name])
            check_output(Path(path).parent, f"--{name}")


def _written(table: pd.DataFrame, columns: list[str], asked: ResultsSettings) -> list[str]:
    """Writes the files that are asked for and gives their names."""
    paths = [path for path in (asked.csv, asked.parquet, asked.report) if path]
    for path in paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    rows = in_order(table, asked.sort or ())
    cells = rows[columns] if columns else rows
    if asked.csv:
        from tfprune.overview.files import write_csv

        write_csv(asked.csv, cells)
    if asked.parquet:
        from tfprune.overview.files import write_parquet

        write_parquet(asked.parquet, cells)
    if asked.report:
        from tfprune.overview.details import details
        from tfprune.overview.page import write_page

        bar = counted(range(len(rows)), "reading curves", quiet=asked.quiet)
        write_page(asked.report, rows, details, watch=lambda number: next(bar, None))
        bar.close()
    return paths
