"""Ablations of a lottery run's levels: their settings and where their code is.

A new branch is one file here, its settings below and one line in `BRANCHES`. The files import TensorFlow and are loaded
when they are run.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from tfprune.experiments.lottery.settings import DataSettings, TrainingSettings
from tfprune.records.limits import SEED_LIMIT
from tfprune.records.settings import Settings, setting


@dataclass(frozen=True)
class RandomlyPruneSettings(Settings):
    """Train a random mask as dense as the level's."""

    title = "Random pruning"

    seed: int = setting(int, "Seed of the mask.", at_least=0, below=SEED_LIMIT)
    strategy: str = setting(
        str,
        "What is as dense as in the level's mask: global all, layerwise each layer; even: all layers alike.",
        "layerwise",
        choices=("global", "layerwise", "even"),
    )


@dataclass(frozen=True)
class RandomlyReinitializeSettings(Settings):
    """Train the level's mask with newly drawn weights."""

    title = "Random reinitialization"

    seed: int | None = setting(
        int, "Seed of the weights (default: from the replicate).", None, at_least=0, below=SEED_LIMIT
    )


@dataclass(frozen=True)
class RetrainSettings(Settings):
    """Train the level's mask and weights with other data or another training.

    The fields have the names by which the original's digests know them.
    """

    title = "Retraining"

    retrain_d: DataSettings
    retrain_t: TrainingSettings


@dataclass(frozen=True)
class Branch:
    """An ablation.

    Attributes:
        summary: one line for `--help`.
        settings: class of its own settings.
    """

    summary: str
    settings: type[Settings]


BRANCHES: dict[str, Branch] = {
    "randomly_prune": Branch("train random masks as dense as each level's", RandomlyPruneSettings),
    "randomly_reinitialize": Branch("train each level's mask with newly drawn weights", RandomlyReinitializeSettings),
    "retrain": Branch("train each level with other data or another training", RetrainSettings),
}


def load_plan(branch: str) -> Callable:
    """The function `plan` of the file named after a branch: (level, settings) -> what to train; imports TensorFlow."""
    return importlib.import_module(f"{__name__}.{branch}").plan
