"""Ablations of a lottery run's levels: their arguments and where their code is.

A new branch is one file here, its arguments below and one line in `BRANCHES`. The files import TensorFlow and are
loaded when they are run.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from tfprune.experiments.lottery.fields import check_kinds, setting
from tfprune.experiments.lottery.hparams import DatasetHparams, TrainingHparams, check_seed, one_of

RANDOM_STRATEGIES = ("global", "layerwise", "even")


@dataclass(frozen=True)
class RandomlyPruneArguments:
    """Train a random mask as dense as the level's.

    Raises:
        InputError: a value that is not allowed; names the flag.
    """

    title = "Random pruning"

    seed: int = setting(int, "Seed of the mask.")
    strategy: str = setting(
        str,
        "What is as dense as in the level's mask: global all, layerwise each layer; even: all layers alike.",
        "layerwise",
    )

    def __post_init__(self):
        check_kinds(self)
        check_seed("seed", self.seed)
        one_of("strategy", self.strategy, RANDOM_STRATEGIES)


@dataclass(frozen=True)
class RandomlyReinitializeArguments:
    """Train the level's mask with newly drawn weights.

    Raises:
        InputError: a value that is not allowed; names the flag.
    """

    title = "Random reinitialization"

    seed: int | None = setting(int, "Seed of the weights (default: from the replicate).", None)

    def __post_init__(self):
        check_kinds(self)
        check_seed("seed", self.seed)


@dataclass(frozen=True)
class RetrainArguments:
    """Train the level's mask and weights with other data or another training.

    The fields have the names by which the original's digests know them.
    """

    title = "Retraining"

    retrain_d: DatasetHparams
    retrain_t: TrainingHparams


@dataclass(frozen=True)
class Branch:
    """An ablation.

    Attributes:
        summary: one line for `--help`.
        arguments: dataclass of its arguments.
    """

    summary: str
    arguments: type


BRANCHES: dict[str, Branch] = {
    "randomly_prune": Branch("train random masks as dense as each level's", RandomlyPruneArguments),
    "randomly_reinitialize": Branch("train each level's mask with newly drawn weights", RandomlyReinitializeArguments),
    "retrain": Branch("train each level with other data or another training", RetrainArguments),
}


def load_plan(branch: str) -> Callable:
    """The function `plan` of the file named after a branch: (level, arguments) -> what to train; imports TensorFlow."""
    return importlib.import_module(f"{__name__}.{branch}").plan
