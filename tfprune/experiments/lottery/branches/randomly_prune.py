"""Random masks as dense as each level's: is it the mask that matters, or the number of weights?"""

from __future__ import annotations

import numpy as np

from tfprune.experiments.lottery.branches import RandomlyPruneSettings
from tfprune.experiments.lottery.levels import Level, Plan
from tfprune.experiments.lottery.recipe import seed_of
from tfprune.layers.masks import Masks
from tfprune.pruning.pruner import prune
from tfprune.pruning.shuffle import shuffled_layerwise

_PRUNERS = {"global": "random", "even": "random/uniform"}


def plan(level: Level, settings: RandomlyPruneSettings) -> Plan:
    """The run's first weights under a random mask.

    Reference: Frankle & Carbin 2019, arXiv 1803.03635, section 2 (layerwise, without reinitialisation).
    """
    seed = seed_of("randomly_prune", settings.seed, level.replicate, level.number)
    return Plan(level.first, _masks(level, settings.strategy, seed))


def _masks(level: Level, strategy: str, seed: int) -> Masks:
    if strategy == "layerwise":
        return shuffled_layerwise(level.masks, np.random.default_rng(seed), level.ignore)
    return prune(level.trainer.model, _PRUNERS[strategy], level.sparsity, seed=seed, ignore=level.ignore)
