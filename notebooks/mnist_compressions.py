"""Accuracy of LeNet-300-100 on MNIST at equal effective compression, pruner by pruner, with shortened training.

    python notebooks/mnist_compressions.py [--out_path=runs/mnist_compressions] [--iterations=2500]

Runs every pruner at effective compressions 10, 100 and 1000 for three samples, and each sample's dense network first,
all in one process. What is finished is skipped, so a killed run goes on. Writes the table and the figure into
notebooks/results; `effective_sparsity.ipynb` reads the table.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pandas as pd

import tfprune
from tfprune.experiments.one_shot.compressions import draw_accuracies
from tfprune.experiments.one_shot.results import run_of
from tfprune.experiments.one_shot.settings import OneShotSettings
from tfprune.plots.style import save_png

RESULTS = Path(__file__).parent / "results"
PRUNERS = ("snip", "synflow", "random/uniform", "random/erk", "random/igq", "magnitude/global", "lamp")
EXPONENTS = (1, 2, 3)
SAMPLES = (0, 1, 2)


def planned(**common) -> list[dict]:
    """The flags of every run, dense ones before those that need them."""
    found = []
    for sample in map(str, SAMPLES):
        found.append({"pruner": "dense", "sample": sample, **common})
        found += [
            {"pruner": pruner, "sample": sample, "com_exp": float(exponent), **common}
            for pruner in PRUNERS
            for exponent in EXPONENTS
        ]
    return found


def row(settings: OneShotSettings) -> dict:
    """A finished run as a row of the table."""
    run = run_of(settings)
    target = float(f"{run.target:.6g}")
    return {
        "pruner": settings.pruner,
        "target effective compression": int(target) if target.is_integer() else target,
        "sample": int(run.sample),
        "direct compression": float(f"{run.direct_compression:.6g}"),
        "effective compression": float(f"{run.effective_compression:.6g}"),
        "accuracy": round(float(run.accuracies[-1]), 4),
        "iterations": settings.steps,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out_path", default="runs/mnist_compressions")
    parser.add_argument("--path_to_data", default=None, help="TFDS's data_dir")
    parser.add_argument("--iterations", type=int, default=2500)
    arguments = parser.parse_args()
    runs = planned(
        out_path=arguments.out_path,
        iterations=arguments.iterations,
        path_to_data=arguments.path_to_data,
        pruning_type="effective",
        checkpoint_step=10**6,  # a run takes seconds
    )
    rows, began = [], time.monotonic()
    for number, flags in enumerate(runs, 1):
        rows.append(row(tfprune.run("main", quiet=True, **flags).settings))
        print(f"{number} of {len(runs)} runs, {time.monotonic() - began:.0f} s: {rows[-1]}", flush=True)
    table = pd.DataFrame(rows)
    table = table.sort_values(["pruner", "target effective compression", "sample"], kind="stable")
    table.to_csv(RESULTS / "mnist_compressions.csv", index=False)
    dense = table[table["pruner"] == "dense"]["accuracy"]
    pruned = {
        pruner: table[table["pruner"] == pruner].rename(
            columns={
                "effective compression": "effective",
                "direct compression": "direct",
                "target effective compression": "target",
            }
        )
        for pruner in PRUNERS
    }
    title = f"LeNet-300-100 on MNIST, {arguments.iterations:,} steps"
    save_png(draw_accuracies(pruned, np.asarray(dense), title), RESULTS / "mnist_compressions.png")


if __name__ == "__main__":
    main()
