"""Training runs and lottery tickets.

train the network from its initial weights, or from where pretraining has brought them; repeat: prune the smallest of
the weights that are left; set the others back to where this training began; train
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from tfprune.connectivity.measured import measured
from tfprune.experiments.lottery import files
from tfprune.experiments.lottery.data import LotteryData, load_data
from tfprune.experiments.lottery.names import PRETRAIN, PlainSettings
from tfprune.experiments.lottery.pruning import check_levels_possible, ignored_kernels, prune_magnitudes
from tfprune.experiments.lottery.replicate import Replicate
from tfprune.experiments.lottery.results import ACCURACY, LOSS
from tfprune.experiments.lottery.settings import DataSettings, ModelSettings, PlaceSettings, TrainingSettings
from tfprune.experiments.lottery.steps import Step
from tfprune.experiments.lottery.studies import TicketStudy, TrainStudy
from tfprune.experiments.lottery.study import LotteryStudy
from tfprune.experiments.lottery.training import Trainer
from tfprune.layers.masks import Masks
from tfprune.layers.weights import Weights, set_weights
from tfprune.pruning.iterative import iterative_pruning
from tfprune.records.result import result_path, write_result
from tfprune.records.run_folder import RunFolder
from tfprune.training.mirrored import MirroredLoop, Several, mirrored_strategy
from tfprune.training.multiworker import Workers
from tfprune.training.session import Watch
from tfprune.training.workers import joined


class Workshop:
    """Data and compiled training, made once for all levels, branches and replicates that have them in common.

    Args:
        place: where the data are and where to train; the rest does not matter here.
    """

    def __init__(self, place: PlaceSettings):
        self._place = place
        self._data = cache(self._load)
        self._trainers = cache(self._make)
        self._workers = Workers(joined(place.wait_for_workers)) if place.distribute == "multiworker" else None

    def trainer(self, settings: PlainSettings) -> Trainer:
        """What trains this network on these data; how long is no matter of the trainer.

        Raises:
            InputError: the data or the network cannot be used.
        """
        # A length that any trainer may be asked for.
        return self._trainers(replace(settings, training=replace(settings.training, training_steps="1it")))

    def _load(self, dataset: DataSettings) -> LotteryData:
        return load_data(dataset, self._place.path_to_data)

    def _make(self, settings: PlainSettings) -> Trainer:
        if self._workers:
            several = self._workers.several(settings.record(), lambda: self._data(settings.dataset))
        else:
            mirrored = self._place.distribute == "mirrored"
            several = Several(mirrored_strategy(), MirroredLoop) if mirrored else None
        return Trainer(settings, self._data(settings.dataset), several, self._place.engine)

    def follow(self, watch: Watch) -> None:
        """Takes the chief's steps, in another process than its, until it has done what it was asked for.

        Raises:
            InputError: the data cannot be used here, or the chief is gone or has ended with an error.
        """
        self._workers.follow(lambda record: self._trainers(_plain(record)).loop, watch.say)


def follow_study(study: LotteryStudy, watch: Watch) -> None:
    """The part of a process that is not the chief's in a study; as for `Workshop.follow`."""
    (study.workshop or Workshop(study.place)).follow(watch)


def run_training(study: TrainStudy, replicate: Replicate, workshop: Workshop, watch: Watch) -> None:
    """Trains a network, unless it is trained.

    Raises:
        InputError: the data or the folder cannot be used, or the training diverges.
    """
    trainer = workshop.trainer(study.trained_with)
    study.check_steps(trainer.data.steps_per_epoch)
    if replicate.overwrite:  # not before the data are there and all else is checked
        replicate.clear()
    with claimed(study, study.folder, study.label) as folder:
        if not folder.reached(files.TRAINED):
            initial = trainer.initial_weights(seed_of("weights", study.place.replicate))
            start = Step(0, trainer.data.steps_per_epoch)
            train_network(study, 0, trainer, initial, Masks.dense(trainer.model), start, folder, watch)


def run_lottery(study: TicketStudy, replicate: Replicate, workshop: Workshop, watch: Watch) -> None:
    """Trains, prunes and rewinds, skipping what the folders already hold.

    Raises:
        InputError: the data or a folder cannot be used, a training diverges, or a level would leave nothing.

    References: Frankle & Carbin 2019, arXiv 1803.03635; rewinding: Frankle et al. 2020, arXiv 1912.05671.
    """
    trainer, pruning = workshop.trainer(study.trained_with), study.settings.pruning
    ignore = ignored_kernels(trainer.model, pruning.pruning_layers_to_ignore)
    study.check_steps(trainer.data.steps_per_epoch)
    start, end = (step(trainer.data.steps_per_epoch) for step in (study.settings.start_step, study.end_step))
    published = pruning.pruning_count == "published"
    check_levels_possible(trainer.model, study.levels, pruning.pruning_fraction, ignore, published)
    if replicate.overwrite:  # not before the data are there and all else is checked
        replicate.clear()

    def train(level: int, masks: Masks) -> Path:
        path = study.folder_of(level)
        with claimed(study, path, study.label) as folder:
            if not folder.reached(files.TRAINED):
                if level:
                    rewound = files.read_weights(study.folder_of(level - 1), start)
                else:
                    rewound = _beginning(study, workshop, trainer, watch)
                train_network(study, level, trainer, rewound, masks, start, folder, watch)
        return path

    def prune(level: int, trained: Path, masks: Masks) -> Masks:
        stored = files.read_mask(study.folder_of(level + 1))
        if stored is not None:
            return Masks(stored).check(trainer.model)
        set_weights(trainer.model, files.read_weights(trained, end))
        return prune_magnitudes(trainer.model, masks, pruning.pruning_fraction, ignore, published)

    for _ in iterative_pruning(study.levels_trained, Masks.dense(trainer.model), train, prune):
        pass


def _beginning(study: TicketStudy, workshop: Workshop, trainer: Trainer, watch: Watch) -> Weights:
    """The weights that every level starts from."""
    settings, seed = study.settings, seed_of("weights", study.place.replicate)
    initial = trainer.initial_weights(seed)
    if settings.pretrain_training is None:
        return initial
    earlier = workshop.trainer(PlainSettings(settings.model, settings.pretrain_dataset, settings.pretrain_training))
    steps = earlier.data.steps_per_epoch
    end = Step.parse(settings.pretrain_training.training_steps, steps)
    with claimed(study, study.folder_of(PRETRAIN), "pretraining") as folder:
        if not folder.reached(files.TRAINED):
            first, masks = (
                earlier.initial_weights(seed_of("weights", study.place.replicate)),
                Masks.dense(earlier.model),
            )
            # The batches of level 0, which goes on where this ends.
            stream, keep = seed_of("batches", study.place.replicate, 0), study.kept_steps(steps)
            only_at_end = study.place.evaluate_only_at_end
            watch.start("pretraining", told(masks))
            earlier.train(first, masks, Step(0, steps), end, stream, folder, watch, keep, only_at_end)
            watch.end()
            _mark_trained(folder)
    trained = files.read_weights(study.folder_of(PRETRAIN), end)
    # An output layer for other classes starts anew.
    return {
        path: trained[path] if np.shape(trained.get(path)) == array.shape else array for path, array in initial.items()
    }


def claimed(study: LotteryStudy, path: Path, label: str, overwrite: bool = False) -> RunFolder:
    """The folder of one network, ready to be written.

    Args:
        study: that it belongs to.
        path: where it is.
        label: the training in words, for tables.
        overwrite: deletes what is there of this training.

    Raises:
        InputError: another process writes there, or it holds something else.
    """
    folder = RunFolder(path, files.LAYOUT)
    folder.claim(study.record(label), overwrite=overwrite)
    if not folder.reached(files.TRAINED):
        files.write_hparams(path, study.groups())
    return folder


def train_network(
    study: LotteryStudy,
    level: int,
    trainer: Trainer,
    weights: Mapping[str, np.ndarray],
    masks: Masks,
    start: Step,
    folder: RunFolder,
    watch: Watch,
) -> None:
    """Trains the network of a level up to its study's end and leaves its result; arguments as for `Trainer.train`."""
    end = study.end_step(trainer.data.steps_per_epoch)
    stream = seed_of("batches", study.place.replicate, study.stream(level))
    keep = study.kept_steps(trainer.data.steps_per_epoch, end)
    watch.start(study.headline(level), told(masks))
    only_at_end = study.place.evaluate_only_at_end
    trained = trainer.train(weights, masks, start, end, stream, folder, watch, keep, only_at_end)
    write_network_result(study, level, trainer, trained.facts)
    watch.end(f"test accuracy {trained.log.last(ACCURACY):.4f}")
    _mark_trained(folder)


def write_network_result(
    study: LotteryStudy, level: int, trainer: Trainer, trained: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Writes the `result.json` of a trained network, from its files alone.

    Args:
        study: that the network belongs to.
        level: of the network.
        trainer: has a model of its form.
        trained: how it was (`Trained.facts`); no file holds that.

    Raises:
        InputError: a file is damaged.
    """
    folder = study.folder_of(level)
    stored, log = files.read_mask(folder), files.read_log(folder)
    saved = files.saved_steps(folder) or ["ep0_it0"]  # whose absence is told below
    masks = Masks.dense(trainer.model) if stored is None else Masks(stored).check(trainer.model)
    set_weights(trainer.model, files.read_weights(folder, saved[-1]))
    first, last = (Step.of_file(text, trainer.data.steps_per_epoch).iteration for text in (saved[0], saved[-1]))
    facts = {"accuracy": log.last(ACCURACY), "loss": log.last(LOSS), "steps": last - first, **trained}
    result = study.network_result(level, **facts, **measured(trainer.model, masks))
    write_result(result_path(folder), result)


def told(masks: Masks) -> str:
    """What of a network is left, for those who watch."""
    return f"{masks.kept:,} of {masks.size:,} weights, sparsity {masks.sparsity:.4f}"


def seed_of(*words: object) -> int:
    """A seed below 2³¹ made of what it is for: `seed_of("weights", replicate)`."""
    text = "/".join(map(str, words))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % 2**31


def _plain(record: Mapping[str, Mapping[str, Any]]) -> PlainSettings:
    groups = {"model": ModelSettings, "dataset": DataSettings, "training": TrainingSettings}
    return PlainSettings(**{name: group(**record[name]) for name, group in groups.items()})


def _mark_trained(folder: RunFolder) -> None:
    folder.mark(files.TRAINED)
    folder.drop_checkpoint()
