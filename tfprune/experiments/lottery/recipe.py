"""Training runs and lottery tickets.

train the network from its initial weights, or from where pretraining has brought them; repeat: prune the smallest of
the weights that are left; set the others back to where this training began; train
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np

from tfprune.experiments.lottery.checks import check_rewinding, kept_steps
from tfprune.experiments.lottery.data import LotteryData, load_data
from tfprune.experiments.lottery.fields import canonical
from tfprune.experiments.lottery.files import read_mask, read_weights
from tfprune.experiments.lottery.folder import LotteryFolder, ReplicateLock
from tfprune.experiments.lottery.hparams import DatasetHparams, ModelHparams, TrainingHparams
from tfprune.experiments.lottery.names import PRETRAIN
from tfprune.experiments.lottery.pruning import check_levels_possible, ignored_kernels, prune_magnitudes
from tfprune.experiments.lottery.requests import LotteryRequest, RunOptions, TrainRequest
from tfprune.experiments.lottery.steps import Step
from tfprune.experiments.lottery.training import Report, Trainer
from tfprune.layers.masks import Masks
from tfprune.layers.weights import Weights, set_weights
from tfprune.pruning.iterative import iterative_pruning


class Workshop:
    """Data and compiled training, made once for all levels, branches and replicates that have them in common.

    Args:
        options: where the data are and where to train; the rest does not matter here.
    """

    def __init__(self, options: RunOptions):
        self._options = options
        self._data = cache(self._load)
        self._trainers = cache(self._make)

    def trainer(self, model: ModelHparams, dataset: DatasetHparams, training: TrainingHparams) -> Trainer:
        """What trains this network on these data; how long is no matter of the trainer.

        Raises:
            InputError: the data or the network cannot be used.
        """
        return self._trainers(model, dataset, replace(training, training_steps="0it"))

    def _load(self, dataset: DatasetHparams) -> LotteryData:
        return load_data(dataset, self._options.path_to_data)

    def _make(self, model: ModelHparams, dataset: DatasetHparams, training: TrainingHparams) -> Trainer:
        return Trainer(model, training, self._data(dataset), self._options.distribute)


def run_training(request: TrainRequest, workshop: Workshop, report: Report) -> None:
    """Trains a network, unless its folder is finished.

    Raises:
        InputError: the data or the folder cannot be used, or the training diverges.
    """
    options, description = request.options, request.description
    with ReplicateLock(description.replicate_folder(options.root, options.replicate)) as lock:
        trainer = workshop.trainer(description.model, description.dataset, description.training)
        end = trainer.step(description.training.training_steps)
        how = saving(options, trainer, end)
        if options.overwrite:  # not before the data are there and all else is checked
            lock.clear()
        folder = claimed(request.folder, "main", description, options)
        if folder.finished:
            return
        masks = Masks.dense(trainer.model)
        report.start("training", masks)
        trainer.train(
            trainer.initial_weights(seed_of("weights", options.replicate)),
            masks,
            trainer.step("0it"),
            end,
            seed_of("batches", options.replicate, 0),
            folder,
            report,
            **how,
        )


def run_lottery(request: LotteryRequest, workshop: Workshop, report: Report) -> None:
    """Trains, prunes and rewinds, skipping what the folders already hold.

    Raises:
        InputError: the data or a folder cannot be used, a training diverges, or a level would leave nothing.

    References: Frankle & Carbin 2019, arXiv 1803.03635; rewinding: Frankle et al. 2020, arXiv 1912.05671.
    """
    options, description = request.options, request.description
    with ReplicateLock(description.replicate_folder(options.root, options.replicate)) as lock:
        trainer = workshop.trainer(description.model, description.dataset, description.training)
        start = description.start_step(trainer.data.steps_per_epoch)
        end = description.end_step(trainer.data.steps_per_epoch)
        pruning = description.pruning
        ignore = ignored_kernels(trainer.model, pruning.pruning_layers_to_ignore)
        check_rewinding(start, end)
        how = saving(options, trainer, end)
        published = pruning.pruning_count == "published"
        check_levels_possible(trainer.model, request.levels, pruning.pruning_fraction, ignore, published)
        if options.overwrite:  # not before the data are there and all else is checked
            lock.clear()

        def path(level: int) -> Path:
            return description.folder(options.root, options.replicate, level)

        def train(level: int, masks: Masks) -> Path:
            folder = claimed(path(level), "main", description, options)
            if not folder.finished:
                rewound = (
                    read_weights(path(level - 1), start) if level else _beginning(request, workshop, trainer, report)
                )
                report.start(f"level {level} of {request.levels}", masks)
                stream = seed_of("batches", options.replicate, level)
                trainer.train(rewound, masks, start, end, stream, folder, report, **how)
            folder.release()
            return folder.folder

        def prune(level: int, trained: Path, masks: Masks) -> Masks:
            stored = read_mask(path(level + 1))
            if stored is not None:
                return Masks(stored).check(trainer.model)
            set_weights(trainer.model, read_weights(trained, end))
            return prune_magnitudes(trainer.model, masks, pruning.pruning_fraction, ignore, published)

        for _ in iterative_pruning(range(request.levels + 1), Masks.dense(trainer.model), train, prune):
            pass


def _beginning(request: LotteryRequest, workshop: Workshop, trainer: Trainer, report: Report) -> Weights:
    """The weights that every level starts from."""
    options, description = request.options, request.description
    initial = trainer.initial_weights(seed_of("weights", options.replicate))
    if description.pretrain_training is None:
        return initial
    dataset, training = description.pretrain_dataset, description.pretrain_training
    earlier = workshop.trainer(description.model, dataset, training)
    end = earlier.step(training.training_steps)
    folder = claimed(description.folder(options.root, options.replicate, PRETRAIN), "pretraining", description, options)
    if not folder.finished:
        first = earlier.initial_weights(seed_of("weights", options.replicate))
        masks = Masks.dense(earlier.model)
        report.start("pretraining", masks)
        # The batches of level 0, which goes on where this ends.
        stream = seed_of("batches", options.replicate, 0)
        earlier.train(first, masks, earlier.step("0it"), end, stream, folder, report, **saving(options, earlier))
    folder.release()
    trained = read_weights(folder.folder, end)
    # An output layer for other classes starts anew.
    return {
        path: trained[path] if np.shape(trained.get(path)) == array.shape else array for path, array in initial.items()
    }


def claimed(
    path: Path, label: str, description, options: RunOptions, arguments: object = None, overwrite: bool = False
) -> LotteryFolder:
    """The folder of one training, ready to be written.

    What is compared with the run that is there are the texts that names are made of, so that settings which are new in
    this version, and at their defaults, leave old runs as good as they were.

    Args:
        path: where it is.
        label: the training in words, for tables.
        description: of the run that it belongs to.
        options: the replicate is recorded.
        arguments: of a branch, a dataclass.
        overwrite: deletes what is there of this training.

    Raises:
        InputError: another process writes there, or it holds something else.
    """
    folder = LotteryFolder(path)
    record, groups = {"replicate": options.replicate, "run": description.canonical()}, description.record()
    if arguments is not None:
        record["branch"], groups["branch"] = canonical(arguments), asdict(arguments)
    folder.claim({"label": label, **record}, overwrite)
    if not folder.finished:
        folder.write_hparams(groups)
    return folder


def saving(options: RunOptions, trainer: Trainer, end: Step | None = None) -> dict:
    """What `Trainer.train` keeps and measures on the way.

    Raises:
        InputError: weights are to be kept at a step after `end`.
    """
    return {"keep": kept_steps(options, trainer.data.steps_per_epoch, end), "only_at_end": options.evaluate_only_at_end}


def seed_of(*words: object) -> int:
    """A seed below 2³¹ made of what it is for: `seed_of("weights", replicate)`."""
    text = "/".join(map(str, words))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % 2**31
