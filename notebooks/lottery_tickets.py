"""Lottery tickets and one-shot pruning of LeNet-300-100 on MNIST, with shortened training.

    python notebooks/lottery_tickets.py [--root=runs/lottery_tickets] [--epochs=10] [--path_to_data=...]

Iterative magnitude pruning with rewinding to step 0 against random masks of the same layers' densities and against
newly drawn weights; then pruning at initialisation by five scores, as they are and shuffled within each layer. Three
replicates of everything, in one process. What is finished is skipped, so a killed run goes on. Writes tables and
figures into notebooks/results; `lottery_tickets.ipynb` reads the tables.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pandas as pd

from tfprune.quiet import quiet_start

with quiet_start():
    from tfprune.experiments.lottery.levels import run_branch
    from tfprune.experiments.lottery.oneshot import run_oneshot
    from tfprune.experiments.lottery.recipe import Workshop, run_lottery, run_training
from tfprune.experiments.lottery.branches import RandomlyPruneArguments, RandomlyReinitializeArguments
from tfprune.experiments.lottery.defaults import default_hparams
from tfprune.experiments.lottery.figures import draw_accuracy, draw_shuffled
from tfprune.experiments.lottery.oneshot_arguments import OneshotArguments
from tfprune.experiments.lottery.progress import LotteryProgress
from tfprune.experiments.lottery.requests import (
    BranchRequest,
    LotteryRequest,
    OneshotRequest,
    Request,
    RunOptions,
    TrainRequest,
)
from tfprune.experiments.lottery.results import read_results, summary
from tfprune.plots.style import save_png

RESULTS = Path(__file__).parent / "results"
REPLICATES = (1, 2, 3)
LEVELS = 20
BRANCHES = {"randomly_prune": RandomlyPruneArguments(seed=0), "randomly_reinitialize": RandomlyReinitializeArguments()}
SPARSITIES = (0.8, 0.95, 0.98, 0.99)
# As in Frankle et al. 2021: SynFlow in 100 rounds, the others in one.
SCORES = {
    "random": {},
    "magnitude": {},
    "snip100": {},
    "grasp100": {"prune_highest": True},
    "synflow": {"prune_iterations": 100},
}
RECIPES = {
    TrainRequest: run_training,
    LotteryRequest: run_lottery,
    BranchRequest: run_branch,
    OneshotRequest: run_oneshot,
}


def requests(root: str, epochs: int, path_to_data: str | None) -> Iterator[Request]:
    """Every run, those first that others need."""
    base = default_hparams("mnist_lenet_300_100")
    lottery = replace(base, training=replace(base.training, training_steps=f"{epochs}ep"))
    training = lottery.training_description()
    for replicate in REPLICATES:
        options = RunOptions(root=root, replicate=replicate, path_to_data=path_to_data)
        yield LotteryRequest(options, lottery, LEVELS)
        for branch, arguments in BRANCHES.items():
            yield BranchRequest(options, lottery, branch, arguments, tuple(range(2, LEVELS + 1, 2)))
        yield TrainRequest(options, training)
        for strategy, how in SCORES.items():
            for shuffled in (False, True):
                for sparsity in SPARSITIES:
                    arguments = OneshotArguments(strategy, sparsity, randomize_layerwise=shuffled, **how)
                    yield OneshotRequest(options, training, arguments)


def tables(root: str, planned: list[Request], epochs: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All finished runs, those of lottery tickets and those pruned at initialisation."""
    found = []
    for kind in (LotteryRequest, TrainRequest):
        first = next(request for request in planned if isinstance(request, kind))
        table = read_results(Path(root, first.description.name())).drop(columns=["run"])
        found.append(table.assign(epochs=epochs).round({"density": 6, "test_loss": 5}))
    tickets, oneshot = found
    oneshot = oneshot[oneshot["branch"] != "main"]
    oneshot = oneshot.assign(
        score=oneshot["branch"].str.extract(r"strategy=(\w+)", expand=False),
        shuffled=oneshot["branch"].str.contains("randomize_layerwise=True"),
    )
    return tickets, oneshot


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", default="runs/lottery_tickets")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--path_to_data", default=None, help="TFDS's data_dir")
    arguments = parser.parse_args()
    planned = list(requests(arguments.root, arguments.epochs, arguments.path_to_data))
    workshop, progress, began = Workshop(planned[0].options), LotteryProgress(), time.monotonic()
    for number, request in enumerate(planned, 1):
        RECIPES[type(request)](request, workshop, progress)
        progress.say(f"{number} of {len(planned)} runs, {time.monotonic() - began:.0f} s")
    tickets, oneshot = tables(arguments.root, planned, arguments.epochs)
    tickets.to_csv(RESULTS / "lottery_tickets.csv", index=False)
    oneshot.to_csv(RESULTS / "oneshot_shuffled.csv", index=False)
    title = f"LeNet-300-100 on MNIST, {arguments.epochs} epochs"
    save_png(draw_accuracy(summary(tickets.assign(run=tickets["branch"])), title), RESULTS / "lottery_tickets.png")
    dense = tickets[tickets["level"] == 0]["test_accuracy"].mean()
    title = f"LeNet-300-100 on MNIST, pruned at initialisation, {arguments.epochs} epochs"
    save_png(draw_shuffled(oneshot, dense, title), RESULTS / "oneshot_shuffled.png")


if __name__ == "__main__":
    main()
