"""Each level again, with other data or another training."""

from __future__ import annotations

from tfprune.experiments.lottery.branches import RetrainArguments
from tfprune.experiments.lottery.levels import Level, Plan


def plan(level: Level, arguments: RetrainArguments) -> Plan:
    """The level's weights and mask, with hyperparameters of their own."""
    dataset, training = arguments.retrain_d, arguments.retrain_t
    trainer = level.workshop.trainer(level.description.model, dataset, training)
    return Plan(level.start, level.masks, trainer, training.training_steps)
