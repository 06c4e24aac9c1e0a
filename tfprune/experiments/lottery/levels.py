"""Ablations of the levels of a finished lottery run: the frame in which each branch says what is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tfprune.experiments.lottery.branches import load_plan
from tfprune.experiments.lottery.checks import check_levels
from tfprune.experiments.lottery.files import read_mask, read_weights
from tfprune.experiments.lottery.folder import ReplicateLock
from tfprune.experiments.lottery.names import LotteryDescription
from tfprune.experiments.lottery.pruning import ignored_kernels
from tfprune.experiments.lottery.recipe import Workshop, claimed, saving, seed_of
from tfprune.experiments.lottery.requests import BranchRequest
from tfprune.experiments.lottery.steps import Step
from tfprune.experiments.lottery.training import Report, Trainer
from tfprune.layers.masks import Masks
from tfprune.layers.weights import Weights


@dataclass(frozen=True)
class Level:
    """A finished level of a lottery run.

    Attributes:
        number: prunings that led to it.
        replicate: of the run.
        description: of the run.
        trainer: that trained it; its model may be given weights and scored.
        workshop: makes others.
        masks: the level's.
        ignore: paths of the kernels that are never pruned.
        start: weights from which the level was trained, 0 where pruned.
        first: weights from which level 0 was trained.
        start_step: the step of both.
    """

    number: int
    replicate: int
    description: LotteryDescription
    trainer: Trainer
    workshop: Workshop
    masks: Masks
    ignore: Sequence[str]
    start: Weights
    first: Weights
    start_step: Step

    @property
    def sparsity(self) -> float:
        """Fraction pruned of the weights that may be pruned."""
        return Masks({path: mask for path, mask in self.masks.items() if path not in self.ignore}).sparsity


@dataclass(frozen=True)
class Plan:
    """What a branch trains at a level: these weights under these masks.

    Attributes:
        trainer: None for the level's own.
        end: text of the step at which training ends; None for the level's own.
    """

    weights: Weights
    masks: Masks
    trainer: Trainer | None = None
    end: str | None = None


def run_branch(request: BranchRequest, workshop: Workshop, report: Report) -> None:
    """Trains a branch of every level asked for, unless its folder is finished.

    Raises:
        InputError: a level has not been run (says which are there), or as for lottery runs.
    """
    options, description = request.options, request.description
    check_levels(request)
    with ReplicateLock(description.replicate_folder(options.root, options.replicate), shared=True):
        trainer = workshop.trainer(description.model, description.dataset, description.training)
        branch = load_plan(request.branch)
        for number in request.levels:
            place, overwrite = request.folder_of(number), options.overwrite
            folder = claimed(place, request.label, description, options, request.arguments, overwrite)
            if not folder.finished:
                level = _level(request, workshop, trainer, number)
                plan = branch(level, request.arguments)
                chosen = plan.trainer or trainer
                start = Step(level.start_step.iteration, chosen.data.steps_per_epoch)
                end = chosen.step(plan.end or description.training.training_steps)
                report.start(f"{request.label}, level {number}", plan.masks)
                stream = seed_of("batches", options.replicate, number)
                how = saving(options, chosen, end)
                chosen.train(plan.weights, plan.masks, start, end, stream, folder, report, **how)
            folder.release()


def _level(request: BranchRequest, workshop: Workshop, trainer: Trainer, number: int) -> Level:
    options, description = request.options, request.description
    start = description.start_step(trainer.data.steps_per_epoch)
    own, zeroth = (description.folder(options.root, options.replicate, level) for level in (number, 0))
    masks = read_mask(own)
    return Level(
        number,
        options.replicate,
        description,
        trainer,
        workshop,
        Masks.dense(trainer.model) if masks is None else Masks(masks).check(trainer.model),
        ignored_kernels(trainer.model, description.pruning.pruning_layers_to_ignore),
        read_weights(own, start),
        read_weights(zeroth, start),
        start,
    )
