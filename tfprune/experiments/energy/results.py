"""What a run of energy-based pruning tells at its end, from its files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tfprune.experiments.energy.files import read_table
from tfprune.records.result import read_result, result_path


def summary(folder: Path, name: str) -> str:
    """The final report as it is printed: states, and the compacted network of the best one.

    Args:
        folder: of the run.
        name: of the run.
    """
    table, result = read_table(folder / f"test_{name}.txt"), read_result(result_path(folder))
    shown = pd.DataFrame({"state": table["state"].str.replace("_", " ").str.replace("percent", "%")})
    for column in ("top1", "top3", "top5", "loss", "energy"):
        shown[column] = table[column].map("{:.4f}".format)
    shown["kept"] = table["kept"].map("{:.1%}".format)
    more = result.more
    pairs = (
        ("parameters", result.parameters, result.parameters_compacted, "{:,}"),
        ("FLOPs", result.flops, result.flops_compacted, "{:,}"),
        ("bytes", more.get("bytes"), more.get("bytes_compacted"), "{:,}"),
        (
            f"ms for {more.get('latency_batch')} images",
            *(more.get(f"ms_per_batch{end}") for end in ("", "_compacted")),
            "{:.2f}",
        ),
    )
    sizes = pd.DataFrame(
        [
            {
                "of the network": what,
                "whole": form.format(whole),
                "compacted": form.format(small),
                "times less": f"{whole / small:.2f}",
            }
            for what, whole, small, form in pairs
            if whole and small
        ]
    )
    return f"{shown.to_string(index=False)}\n\n{sizes.to_string(index=False)}"
