"""One-shot pruning of a trained run.

score the weights of one saved step; prune; [shuffle the mask in each layer]; take the weights of the same or another
saved step, [or draw new ones]; train
"""

from __future__ import annotations

from tfprune.experiments.lottery import files
from tfprune.experiments.lottery.pruning import ignored_kernels
from tfprune.experiments.lottery.recipe import Workshop, claimed, seed_of, train_network
from tfprune.experiments.lottery.replicate import Replicate
from tfprune.experiments.lottery.study import OneshotStudy
from tfprune.experiments.lottery.training import Trainer
from tfprune.layers.masks import Masks
from tfprune.layers.weights import Weights
from tfprune.pruning.schedules import Schedule
from tfprune.pruning.scored_masks import one_shot_masks
from tfprune.training.session import Watch


def run_oneshot(study: OneshotStudy, replicate: Replicate, workshop: Workshop, watch: Watch) -> None:
    """Prunes and trains, unless it is trained.

    Raises:
        InputError: the trained run or a step of it is missing (says which steps are there), or as for training runs.

    Reference: Frankle et al. 2021, arXiv 2009.08576.
    """
    study.check_runs()
    trainer = workshop.trainer(study.trained_with)
    steps = trainer.data.steps_per_epoch
    study.check_steps(steps)
    start = study.saved_step("state_step", steps)
    scored, state = (files.read_weights(study.main, step) for step in (study.saved_step("prune_step", steps), start))
    with claimed(study, study.folder, study.label, replicate.overwrite) as folder:
        if folder.reached(files.TRAINED):
            return
        stored = files.read_mask(study.folder)
        masks = _masks(study, trainer, scored, watch) if stored is None else Masks(stored).check(trainer.model)
        if study.own_settings.reinitialize:
            state = trainer.initial_weights(seed_of("reinitialize", "replicate", study.place.replicate))
        train_network(study, 0, trainer, state, masks, start, folder, watch)


def _masks(study: OneshotStudy, trainer: Trainer, scored: Weights, watch: Watch) -> Masks:
    own, seed = study.own_settings, seed_of("oneshot", study.place.replicate)
    (score, examples), data = own.scoring, None
    if examples is not None:
        data = [trainer.data.examples(examples, seed)]
    return one_shot_masks(
        trainer.model,
        scored,
        score,
        own.prune_fraction,
        seed=seed,
        shuffle=own.randomize_layerwise,
        ignore=ignored_kernels(trainer.model, own.layers_to_ignore, "--layers_to_ignore"),
        data=data,
        loss="cross_entropy",
        schedule=Schedule(own.prune_iterations),
        verbose=not watch.quiet,
        # The published GraSP is the negative of ours, whose highest scores are kept: its highest are to be pruned.
        highest=own.prune_highest != (score == "grasp"),
    )
