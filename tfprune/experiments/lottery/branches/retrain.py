"""Each level again, with other data or another training."""

from __future__ import annotations

from tfprune.experiments.lottery.branches import RetrainSettings
from tfprune.experiments.lottery.levels import Level, Plan


def plan(level: Level, settings: RetrainSettings) -> Plan:
    """The level's weights and mask, trained by settings of their own."""
    return Plan(level.start, level.masks)
