"""Ablations of the levels of a finished lottery run: the frame in which each branch says what is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tfprune.experiments.lottery import files
from tfprune.experiments.lottery.branches import load_plan
from tfprune.experiments.lottery.pruning import ignored_kernels
from tfprune.experiments.lottery.recipe import Workshop, claimed, train_network
from tfprune.experiments.lottery.replicate import Replicate
from tfprune.experiments.lottery.steps import Step
from tfprune.experiments.lottery.studies import BranchStudy
from tfprune.experiments.lottery.training import Trainer
from tfprune.layers.masks import Masks
from tfprune.layers.weights import Weights
from tfprune.training.session import Watch


@dataclass(frozen=True)
class Level:
    """A finished level of a lottery run.

    Attributes:
        number: prunings that led to it.
        replicate: of the run.
        trainer: that trained it; its model may be given weights and scored.
        masks: the level's.
        ignore: paths of the kernels that are never pruned.
        start: weights from which the level was trained, 0 where pruned.
        first: weights from which level 0 was trained.
    """

    number: int
    replicate: int
    trainer: Trainer
    masks: Masks
    ignore: Sequence[str]
    start: Weights
    first: Weights

    @property
    def sparsity(self) -> float:
        """Fraction pruned of the weights that may be pruned."""
        return Masks({path: mask for path, mask in self.masks.items() if path not in self.ignore}).sparsity


@dataclass(frozen=True)
class Plan:
    """What a branch trains at a level: these weights under these masks."""

    weights: Weights
    masks: Masks


def run_branch(study: BranchStudy, replicate: Replicate, workshop: Workshop, watch: Watch) -> None:
    """Trains a branch of every level asked for, unless it is trained.

    Raises:
        InputError: a level has not been run (says which are there), or as for lottery runs.
    """
    study.check_runs()
    own, trainer = (workshop.trainer(settings) for settings in (study.settings.plain(), study.trained_with))
    study.check_steps(trainer.data.steps_per_epoch)
    rewound = study.settings.start_step(own.data.steps_per_epoch)  # in epochs of the run's own data
    start, plan = Step(rewound.iteration, trainer.data.steps_per_epoch), load_plan(study.branch)
    for number in study.levels:
        with claimed(study, study.folder_of(number), study.label, replicate.overwrite) as folder:
            if not folder.reached(files.TRAINED):
                planned = plan(_level(study, own, rewound, number), study.own_settings)
                train_network(study, number, trainer, planned.weights, planned.masks, start, folder, watch)


def _level(study: BranchStudy, trainer: Trainer, start: Step, number: int) -> Level:
    settings, place = study.settings, study.place
    own, zeroth = (settings.folder(place, level) for level in (number, 0))
    masks = files.read_mask(own)
    return Level(
        number,
        place.replicate,
        trainer,
        Masks.dense(trainer.model) if masks is None else Masks(masks).check(trainer.model),
        ignored_kernels(trainer.model, settings.pruning.pruning_layers_to_ignore),
        files.read_weights(own, start),
        files.read_weights(zeroth, start),
    )
