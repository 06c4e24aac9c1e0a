"""One-shot pruning of a trained run.

score the weights of one saved step; prune; [shuffle the mask in each layer]; take the weights of the same or another
saved step, [or draw new ones]; train
"""

from __future__ import annotations

import warnings

from tfprune.experiments.lottery.checks import check_saved, check_trained
from tfprune.experiments.lottery.files import read_mask, read_weights
from tfprune.experiments.lottery.folder import ReplicateLock
from tfprune.experiments.lottery.pruning import ignored_kernels
from tfprune.experiments.lottery.recipe import Workshop, claimed, saving, seed_of
from tfprune.experiments.lottery.requests import OneshotRequest
from tfprune.experiments.lottery.training import Report, Trainer
from tfprune.layers.masks import Masks
from tfprune.layers.weights import Weights
from tfprune.pruning.one_shot import one_shot_masks
from tfprune.pruning.schedules import Schedule


def run_oneshot(request: OneshotRequest, workshop: Workshop, report: Report) -> None:
    """Prunes and trains, unless the folder is finished.

    Raises:
        InputError: the trained run or a step of it is missing (says which steps are there), or as for training runs.

    Reference: Frankle et al. 2021, arXiv 2009.08576.
    """
    options, description, arguments = request.options, request.description, request.arguments
    check_trained(request)
    with ReplicateLock(description.replicate_folder(options.root, options.replicate), shared=True):
        trainer = workshop.trainer(description.model, description.dataset, description.training)
        scored, state = (_saved(request, trainer, name) for name in ("prune_step", "state_step"))
        start, end = trainer.step(arguments.state_step), trainer.step(description.training.training_steps)
        how = saving(options, trainer, end)
        folder = claimed(request.folder, request.label, description, options, arguments, options.overwrite)
        if folder.finished:
            return
        stored = read_mask(folder.folder)
        masks = _masks(request, trainer, scored) if stored is None else Masks(stored).check(trainer.model)
        if arguments.reinitialize:
            state = trainer.initial_weights(seed_of("reinitialize", "replicate", options.replicate))
        report.start(request.label, masks)
        stream = seed_of("batches", options.replicate, request.name)
        trainer.train(state, masks, start, end, stream, folder, report, **how)


def _saved(request: OneshotRequest, trainer: Trainer, name: str) -> Weights:
    step = trainer.step(getattr(request.arguments, name))
    check_saved(request, name, step)
    return read_weights(request.description.folder(request.options.root, request.options.replicate), step)


def _masks(request: OneshotRequest, trainer: Trainer, scored: Weights) -> Masks:
    arguments, seed = request.arguments, seed_of("oneshot", request.options.replicate)
    scoring, data = arguments.scoring, None
    if scoring.score == "grasp" and not arguments.prune_highest:
        warnings.warn("the paper's GraSP is --strategy=grasp with --prune_highest; this is its opposite", stacklevel=2)
    if scoring.examples_per_class is not None:
        data = [trainer.data.examples(scoring.examples_per_class, seed)]
    return one_shot_masks(
        trainer.model,
        scored,
        scoring.score,
        arguments.prune_fraction,
        seed=seed,
        shuffle=arguments.randomize_layerwise,
        ignore=ignored_kernels(trainer.model, arguments.layers_to_ignore, "--layers_to_ignore"),
        data=data,
        loss="cross_entropy",
        schedule=Schedule(arguments.prune_iterations),
        verbose=not request.options.quiet,
        # The published GraSP is the negative of ours, whose highest scores are kept: its highest are to be pruned.
        highest=arguments.prune_highest != (scoring.score == "grasp"),
    )
