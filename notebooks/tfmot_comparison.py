"""Gradual pruning by tensorflow-model-optimization against one-shot pruning and IMP: equal sparsity, equal training.

    python notebooks/tfmot_comparison.py [--root=runs/tfmot_comparison] [--steps=4200] [--path_to_data=...]

LeNet-300-100 on MNIST, all by the training of `python -m tfprune.main`. Equal training is read in two ways:

- last: the training that gives the final weights has `steps` steps, whatever was trained before to find the masks
  (magnitude: one dense training; IMP: one training for each level above);
- total: all trainings together have `steps` steps, shared out evenly among them.

What is finished is skipped, so a killed run goes on. Writes the table and the figure into notebooks/results;
`tfmot_comparison.ipynb` reads the table.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pandas as pd

from tfprune.quiet import quiet_start

with quiet_start():
    from tfprune.experiments.one_shot.recipe import OneShot, one_shot_of
    from tfprune.experiments.one_shot.training import SubnetworkTrainer
    from tfprune.layers.masks import Masks
    from tfprune.layers.prunable import prunable
    from tfprune.pruning.iterative import iterative_pruning
    from tfprune.pruning.one_shot import one_shot_masks
from tfprune.cli.progress import ProgressBar
from tfprune.cli.run import RunSettings, carry_out
from tfprune.experiments.lottery.figures import draw_equal_training
from tfprune.experiments.one_shot.files import LAYOUT
from tfprune.experiments.one_shot.results import run_of
from tfprune.experiments.one_shot.settings import DENSE, OneShotSettings
from tfprune.experiments.one_shot.study import OneShotStudy
from tfprune.plots.style import save_png
from tfprune.records.atomic import atomic_write_text
from tfprune.records.run_folder import RunFolder

RESULTS = Path(__file__).parent / "results"
SPARSITIES = (0.9, 0.95, 0.98, 0.99)
IN_TRAINING = ("tfmot/polynomial", "snip", "synflow")  # one training; the scores of the last two cost none
AFTER_TRAINING = ("magnitude/uniform", "magnitude/global")  # a dense training first, then back to initial weights
IMP = "IMP (global)"
_FIRST_ROUNDS = 3  # in which IMP reaches the first sparsity


def densities(sparsities: list[float]) -> list[float]:
    """IMP's levels below the dense one: to the first sparsity in equal factors, then straight to each of the others."""
    first, *others = (round(1 - sparsity, 12) for sparsity in sparsities)
    return [first ** (index / _FIRST_ROUNDS) for index in range(1, _FIRST_ROUNDS)] + [first, *others]


def imp(one_shot: OneShot, settings: OneShotSettings, levels: list[float], watch: ProgressBar) -> pd.DataFrame:
    """Iterative magnitude pruning over all layers, rewound to the initial weights; a row for each level.

    Args:
        one_shot: holds the images.
        settings: of a dense run; say the steps of each training, and the sample.
        levels: densities after each pruning, falling.
        watch: is told.

    Reference: Frankle & Carbin 2019, arXiv 1803.03635, section 2.
    """
    prefix = "-".join([settings.sample, *(f"{1 / level:.4g}" for level in levels)])
    folder = RunFolder(Path(settings.out_path, "imp"), LAYOUT, prefix)
    path = folder.path("levels.csv")
    if not path.exists():
        folder.drop_checkpoint()  # of the level at which an earlier start was killed; this one begins with the first
        model = one_shot.build(settings)
        inits = {path: np.array(kernel.numpy()) for path, kernel in prunable(model).items()}
        trainer = SubnetworkTrainer(model, settings, one_shot.images)

        def train(level, masks):
            log = trainer.train(inits, masks, settings.seed, folder, watch).log
            folder.drop_checkpoint()  # the next level's training is another one
            return trainer.kernels, masks, log.last("test_accuracy")

        def prune(level, result, masks):
            kernels, *_ = result  # pruned weights are 0, so they stay pruned
            return one_shot_masks(model, kernels, "magnitude/global", 1 - levels[level], seed=settings.seed)

        found = iterative_pruning(range(len(levels) + 1), Masks.dense(model), train, prune)
        rows = [
            {"density": masks.density, "accuracy": accuracy, "level": level} for level, (_, masks, accuracy) in found
        ]
        atomic_write_text(path, pd.DataFrame(rows).to_csv(index=False))
    folder.release()
    return pd.read_csv(path)


def comparison(
    root: str, data: str | None, path_to_data: str | None, steps: int, samples: int, sparsities: list[float]
) -> pd.DataFrame:
    """All runs, those that are not finished first made.

    Returns:
        Columns `pruner`, `reading` (`last` or `total`), `sample`, `density`, `accuracy` (test), `last_steps`,
        `total_steps`. The dense network has reading `last`.
    """
    base = OneShotSettings(pruner=DENSE, data=data, path_to_data=path_to_data, checkpoint_step=10**6)
    one_shot, watch = one_shot_of(base.architecture, base.dataset, path_to_data), ProgressBar()
    how, began = RunSettings(quiet=True), time.monotonic()
    levels = densities(sparsities)

    def spec(sample: int, trained: int, **flags) -> OneShotSettings:
        out_path = str(Path(root, str(trained)))
        return replace(base, sample=str(sample), iterations=trained, out_path=out_path, **flags)

    def run(chosen: OneShotSettings) -> dict:
        carry_out(OneShotStudy(chosen), how, watch)
        found = run_of(chosen)
        watch.say(f"{chosen.pruner} {chosen.prefix}: {found.accuracies[-1]:.4f}, {time.monotonic() - began:.0f} s")
        return {"density": 1 / found.direct_compression, "accuracy": found.accuracies[-1], "last_steps": chosen.steps}

    def rows() -> Iterator[dict]:
        for sample in range(samples):
            dense = run(spec(sample, steps))
            yield dense | {"pruner": DENSE, "reading": "last", "sample": sample, "total_steps": steps}
            run(spec(sample, steps // 2))
            for pruner in (*IN_TRAINING, *AFTER_TRAINING):
                for sparsity in sparsities:
                    trainings = 1 + (pruner in AFTER_TRAINING)
                    for reading, trained in (("last", steps), ("total", steps // trainings)):
                        about = {"pruner": pruner, "reading": reading, "sample": sample}
                        chosen = spec(sample, trained, pruner=pruner, target_sparsity=sparsity)
                        yield run(chosen) | about | {"total_steps": trainings * trained}
            about = {"pruner": IMP, "sample": sample}
            for row in imp(one_shot, spec(sample, steps), levels, watch).to_dict("records")[_FIRST_ROUNDS:]:
                level = row.pop("level")
                yield row | about | {"reading": "last", "last_steps": steps, "total_steps": (level + 1) * steps}
            for count in range(_FIRST_ROUNDS, len(levels) + 1):
                trained = steps // (count + 1)
                row = imp(one_shot, spec(sample, trained), levels[:count], watch).to_dict("records")[-1]
                del row["level"]
                trainings = {"last_steps": trained, "total_steps": (count + 1) * trained}
                yield row | about | {"reading": "total"} | trainings
            watch.say(f"IMP of sample {sample}, {time.monotonic() - began:.0f} s")

    table = pd.DataFrame(rows()).round({"density": 6, "accuracy": 4})
    columns = ["pruner", "reading", "sample", "density", "accuracy", "last_steps", "total_steps"]
    return table[columns].sort_values(["pruner", "reading", "density", "sample"], kind="stable")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", default="runs/tfmot_comparison")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the table and the figure")
    parser.add_argument("--data", default=None, help="default: mnist")
    parser.add_argument("--path_to_data", default=None, help="TFDS's data_dir")
    parser.add_argument("--steps", type=int, default=4200)
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--sparsities", type=float, nargs="+", default=SPARSITIES)
    given = parser.parse_args()
    table = comparison(given.root, given.data, given.path_to_data, given.steps, given.samples, list(given.sparsities))
    table.to_csv(given.results / "tfmot_comparison.csv", index=False)
    title = f"LeNet-300-100 on {given.data or 'MNIST'}, {given.steps:,} steps"
    save_png(draw_equal_training(table, title), given.results / "tfmot_comparison.png")


if __name__ == "__main__":
    main()
