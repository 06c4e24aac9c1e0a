"""Newly drawn weights under each level's mask: does the mask win without its weights?"""

from __future__ import annotations

from tfprune.experiments.lottery.branches import RandomlyReinitializeSettings
from tfprune.experiments.lottery.levels import Level, Plan
from tfprune.experiments.lottery.recipe import seed_of


def plan(level: Level, settings: RandomlyReinitializeSettings) -> Plan:
    """Weights of another draw under the level's mask.

    Reference: Frankle & Carbin 2019, arXiv 1803.03635, section 2.
    """
    drawn = "replicate" if settings.seed is None else settings.seed
    return Plan(level.trainer.initial_weights(seed_of("reinitialize", drawn, level.replicate)), level.masks)
