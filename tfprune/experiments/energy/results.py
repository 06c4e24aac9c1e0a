"""What a run of energy-based pruning tells at its end, from its files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tfprune.experiments.energy.files import read_table
from tfprune.records.result import Result, read_result, result_path

_LARGE = 1e6  # losses of random states can be


def summary(folder: Path, name: str) -> str:
    """The final report as it is printed: states, and the compacted network of the best one.

    Args:
        folder: of the run.
        name: of the run.

    Raises:
        InputError: a missing or damaged file.
    """
    table, result = read_table(folder / f"test_{name}.txt"), read_result(result_path(folder))
    shown = table.assign(state=table["state"].str.replace("_%", "%").str.replace("_", " "))
    for column in table.columns[1:]:
        shown[column] = [_number(value, column == "kept") for value in table[column]]
    return f"{_text(shown)}\n\n{_text(_sizes(result))}\n\n{_remarks(result)}"


def _number(value: float, share: bool) -> str:
    return f"{value:.1%}" if share else f"{value:.4f}" if abs(value) < _LARGE else f"{value:.3e}"


def _sizes(result: Result) -> pd.DataFrame:
    """The network with all its filters beside the compacted one of the best state."""
    more = result.more
    ms = f"ms for {more['latency_batch']} images"
    pairs = (
        ("parameters", result.parameters, result.parameters_compacted, "{:,}"),
        ("FLOPs per image", result.flops, result.flops_compacted, "{:,}"),
        ("bytes of the file", more["bytes"], more["bytes_compacted"], "{:,}"),
        (ms, more["ms_per_batch"], more["ms_per_batch_compacted"], "{:.2f}"),
    )
    rows = [
        (what, form.format(whole), form.format(small), f"{whole / small:.2f}")
        for what, whole, small, form in pairs
        if whole and small
    ]
    return pd.DataFrame(rows, columns=["network", "whole", "compacted", "times less"])


def _remarks(result: Result) -> str:
    more = result.more
    said = [f"{more['bits_kept']:,} of {more['bits']:,} bits are on"]
    if more["frozen"] is not None:
        said.append(f"the state was frozen in epoch {more['frozen'] + 1}")
    if result.effective == 0:
        said.append("no path is left from the images to the classes")
    return "; ".join(said)


def _text(table: pd.DataFrame) -> str:
    """Columns as wide as need be, the first one to the left, numbers to the right."""
    first = table.columns[0]
    width = max(map(len, (first, *table[first])))
    padded = table.assign(**{first: table[first].str.ljust(width)})
    return padded.rename(columns={first: first.ljust(width)}).to_string(index=False)
