"""What a run of energy-based pruning tells at its end, from its files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tfprune.experiments.energy.files import read_table
from tfprune.records.result import Result, read_result, result_path

_UNPRUNED = "simple"


def summary(folder: Path, name: str) -> str:
    """The final report as it is printed: states, and the compacted network of the best one.

    Args:
        folder: of the run.
        name: of the run.

    Raises:
        InputError: a missing or damaged file.
    """
    table, result = read_table(folder / f"test_{name}.txt"), read_result(result_path(folder))
    shown = pd.DataFrame({"state": table["state"].str.replace("_%", "%").str.replace("_", " ")})
    for column, form in dict.fromkeys(("top1", "top3", "top5"), "{:.2%}").items() | {"kept": "{:.1%}"}.items():
        shown[column] = table[column].map(form.format)
    for column in ("loss", "energy"):
        shown[column] = table[column].map("{:.4f}".format)
    shown = shown[table.columns]
    return "\n\n".join([_text(shown), _text(_sizes(result)), *_remarks(result)])


def _sizes(result: Result) -> pd.DataFrame:
    """The network with all its filters beside the compacted one of the best state."""
    more = result.more
    ms = f"ms for {more.get('latency_batch')} images"
    pairs = (
        ("parameters", result.parameters, result.parameters_compacted, "{:,}"),
        ("FLOPs per image", result.flops, result.flops_compacted, "{:,}"),
        ("bytes of the file", more.get("bytes"), more.get("bytes_compacted"), "{:,}"),
        (ms, more.get("ms_per_batch"), more.get("ms_per_batch_compacted"), "{:.2f}"),
    )
    rows = [
        (what, form.format(whole), form.format(small), f"{whole / small:.2f}")
        for what, whole, small, form in pairs
        if whole and small
    ]
    return pd.DataFrame(rows, columns=["network", "whole", "compacted", "times less"])
