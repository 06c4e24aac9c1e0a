"""Filters of VGG-16 on CIFAR-10 pruned by three scores, in two sets of layers, to three fractions.

    python notebooks/filter_pruning.py [--width=0.25] [--epochs=30] [--finetune_epochs=2] [--path_to_data=...]

Trains the network once, narrower and shorter than published, prunes and fine-tunes eighteen times, and measures
every network's files and latencies. What is finished is skipped, so a killed run goes on. Writes a table and a figure
into notebooks/results; `filter_pruning.ipynb` reads the table.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pandas as pd

import tfprune
from tfprune.quiet import quiet_start

with quiet_start():
    from tfprune.experiments.filters.recipe import load_images
    from tfprune.experiments.filters.training import FilterTrainer
from tfprune.experiments.filters.figures import draw_accuracy
from tfprune.experiments.filters.results import MODEL, UNPRUNED, read_results
from tfprune.experiments.filters.settings import PUBLISHED_SCORINGS, FilterSettings
from tfprune.plots.style import save_png

RESULTS = Path(__file__).parent / "results"
VERSIONS = tuple(f"{layers}_{percent}" for layers in ("v3", "v6") for percent in (25, 50, 75))
LATENCY = "litert_float32_ms_batch_32", "milliseconds for 32 images (LiteRT, float32)"
_EXAMPLES = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", default="runs/filter_pruning")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--finetune_epochs", type=int, default=2)
    parser.add_argument("--path_to_data", default=None, help="TFDS's data_dir")
    arguments = parser.parse_args()
    run = tfprune.run(
        "filters",
        model="vgg16",
        data="cifar10",
        scoring=PUBLISHED_SCORINGS,
        version=VERSIONS,
        width=arguments.width,
        epochs=arguments.epochs,
        finetune_epochs=arguments.finetune_epochs,
        learning_rate=0.05,
        finetune_learning_rate=0.01,
        schedule="cosine",
        weight_decay=5e-4,
        augment=True,
        out_path=arguments.root,
        path_to_data=arguments.path_to_data,
    )
    print(run)
    title = f"VGG-16, {arguments.width:g} of its width, on CIFAR-10"
    table = read_results(run.folder).merge(_measured(run.settings), on=["scoring", "version"])
    table = table.assign(width=arguments.width).round({"test_loss": 5, "train_loss": 5, "train_accuracy": 5})
    table.to_csv(RESULTS / "filter_pruning.csv", index=False)
    save_png(draw_accuracy(table, title), RESULTS / "filter_pruning.png")
    save_png(draw_accuracy(table, title, *LATENCY), RESULTS / "filter_latency.png")


def _measured(settings: FilterSettings) -> pd.DataFrame:
    """Bytes and latencies of every network's files, all timed in turns."""
    folders = {(UNPRUNED, UNPRUNED): settings.unpruned_folder}
    folders |= {network: settings.version_folder(*network) for network in settings.networks}
    names = {"-".join(key): key for key in folders}
    models = {name: keras.saving.load_model(folders[key] / MODEL, compile=False) for name, key in names.items()}
    examples, _ = FilterTrainer(load_images(settings), settings).batches.examples(np.arange(_EXAMPLES))
    found = tfprune.export_report(models, examples, precisions=("float32", "int8"))
    found["file"] = found["format"] + "_" + found["precision"]
    found = found.drop(columns=["format", "precision", "difference"]).set_index(["model", "file"]).unstack()
    found.columns = [f"{file}_{column}" for column, file in found.columns]
    found.insert(0, "scoring", [names[name][0] for name in found.index])
    found.insert(1, "version", [names[name][1] for name in found.index])
    return found.reset_index(drop=True)


if __name__ == "__main__":
    main()
