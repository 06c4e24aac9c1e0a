"""Passive filter pruning, as in Singh, Li & Plumbley 2022.

train the network; for every scoring and version: score its filters by their weights alone; keep the best; fine-tune
"""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np

from tfprune.connectivity.compaction import size_of
from tfprune.connectivity.measured import measured
from tfprune.data.images import ImageSet
from tfprune.data.prepared import load_prepared
from tfprune.errors import InputError
from tfprune.experiments.filters.networks import LEAST_SIDE, NETWORKS
from tfprune.experiments.filters.results import LAYOUT, METRICS, MODEL, TRAINED, UNPRUNED, read_metrics
from tfprune.experiments.filters.settings import FilterSettings, Phase
from tfprune.experiments.filters.training import NAMES, FilterTrainer
from tfprune.layers.convert import load_model
from tfprune.layers.files import save_model
from tfprune.models.torch_weights import load_torch_weights
from tfprune.pruning.filter_scores import get_filter_score
from tfprune.pruning.prune_filters import check_fractions, prune_filters
from tfprune.records.atomic import atomic_write_text
from tfprune.records.result import Result, read_result, result_path, write_result
from tfprune.records.run_folder import RunFolder, is_finished
from tfprune.records.settings import digest
from tfprune.training.session import Watch

_CHANNELS = 3
_TRAINING, _FINETUNING = 0, 1  # keeps the orders of their batches apart


def run_filters(settings: FilterSettings, overwrite: bool, watch: Watch) -> None:
    """Trains, prunes and fine-tunes, skipping what the folders already hold.

    Args:
        settings: what to do.
        overwrite: deletes the pruned networks that are asked for, and trains them anew; the unpruned one stays.
        watch: is told how it goes.

    Raises:
        InputError: the data, the weights or a folder cannot be used, a version would leave a layer without filters, or
            a training diverges.
    """
    trainer = FilterTrainer(load_images(settings), settings)
    fresh = _built(settings, trainer)
    for scoring in settings.scorings:  # before the long training
        get_filter_score(scoring)
    for fractions in settings.vectors.values():
        check_fractions(fresh, _by_layer(settings, fractions))
    unpruned = _unpruned(settings, fresh, trainer, watch)
    for scoring, version in settings.networks:
        with RunFolder(settings.version_folder(scoring, version), LAYOUT) as folder:
            folder.claim(settings.version_record(scoring, version), overwrite=overwrite)
            if not folder.reached(TRAINED):
                fractions = settings.vectors[version]
                pruned = prune_version(unpruned, settings, scoring, fractions)
                head = {"scoring": scoring, "version": version, "p": list(fractions)}
                _train(pruned, settings, trainer, folder, watch, head)


def train_unpruned(settings: FilterSettings, watch: Watch) -> None:
    """Trains the unpruned network alone, unless it is there.

    Raises:
        InputError: as `run_filters`.
    """
    trainer = FilterTrainer(load_images(settings), settings)
    _unpruned(settings, _built(settings, trainer), trainer, watch)


def load_images(settings: FilterSettings) -> ImageSet:
    """The data, at least 32 pixels wide, in three channels.

    Raises:
        InputError: they cannot be used; names the flag or file.
    """
    return load_prepared(settings.data, settings.path_to_data, side=LEAST_SIDE, channels=_CHANNELS)


def prune_version(
    unpruned: keras.Model, settings: FilterSettings, scoring: str, fractions: tuple[float, ...]
) -> keras.Model:
    """The smaller network of a p-vector, not yet fine-tuned.

    Raises:
        InputError: a layer would have no filter left; names it.
    """
    pruned = prune_filters(unpruned, scoring, _by_layer(settings, fractions), seed=settings.seed)
    if settings.pruned_batchnorm == "restart":
        for name in NETWORKS[settings.model].norms:
            norm = pruned.get_layer(name)
            norm.moving_mean.assign(np.zeros(norm.moving_mean.shape))
            norm.moving_variance.assign(np.ones(norm.moving_variance.shape))
    return pruned


def kept_filters(model: keras.Model, name: str) -> list[int]:
    """Number of filters of each convolution that a p-vector speaks of.

    Args:
        model: one of `NETWORKS`, pruned or not.
        name: its name there.
    """
    return [model.get_layer(layer).filters for layer in NETWORKS[name].layers]


def write_network_result(settings: FilterSettings, folder: Path) -> None:
    """Writes the `result.json` of a trained network, from its files and those of the unpruned one.

    Args:
        settings: of a study that the network is of.
        folder: the network's.

    Raises:
        InputError: a file is missing or damaged.
    """
    metrics, model, record = read_metrics(folder), _load(folder / MODEL), settings.unpruned_record
    if folder == settings.unpruned_folder:
        facts = {"label": UNPRUNED} | measured(model)
    else:
        scoring, version = metrics["scoring"], metrics["version"]
        record = settings.version_record(scoring, version) | {UNPRUNED: record}
        facts = {"label": f"{scoring} {version}", "method": scoring, "version": version}
        facts |= measured(model, unpruned=_counts_of_unpruned(settings))
    common = {name: value for name, value in record.items() if name not in ("scoring", "version", "p")}
    try:
        result = Result(
            family="filters",
            settings=record,
            digest=digest(common, 8),
            seed=settings.seed,
            accuracy=metrics["test_accuracy"],
            # The published loss takes probabilities for logits: no cross-entropy of theirs.
            loss=metrics["test_loss"] if settings.loss == "standard" else None,
            steps=metrics.get("steps"),
            seconds=metrics["finetuning_seconds"],
            **facts,
        )
    except InputError as error:
        raise InputError(f"cannot read {folder / METRICS}: {error}") from None
    write_result(result_path(folder), result)


def _counts_of_unpruned(settings: FilterSettings) -> dict[str, int | None]:
    """As `measured` wants them; nothing where the network is not there any more."""
    folder = settings.unpruned_folder
    if not result_path(folder).exists():  # made by a version that left none
        if not is_finished(folder, LAYOUT, stage=TRAINED):
            return {}
        write_network_result(settings, folder)
    return vars(read_result(result_path(folder)))


def _by_layer(settings: FilterSettings, fractions: tuple[float, ...]) -> dict[str, float]:
    return dict(zip(NETWORKS[settings.model].layers, fractions, strict=True))


def _built(settings: FilterSettings, trainer: FilterTrainer) -> keras.Model:
    batches = trainer.batches
    return NETWORKS[settings.model].build(batches.input_shape, batches.classes, settings.seed, settings.width)


def _unpruned(settings: FilterSettings, fresh: keras.Model, trainer: FilterTrainer, watch: Watch) -> keras.Model:
    """The trained network; `fresh` is trained if there is none yet."""
    if is_finished(settings.unpruned_folder, LAYOUT, stage=TRAINED):  # others may be reading it, too
        return _load(settings.unpruned_folder / MODEL)
    with RunFolder(settings.unpruned_folder, LAYOUT) as folder:
        folder.claim(settings.unpruned_record)
        if not folder.reached(TRAINED):
            if settings.weights is not None:
                what = "a file of a ResNet-50's weights"
                load_torch_weights(fresh, settings.weights, heads=("hidden", "logits"), what=what)
            _train(fresh, settings, trainer, folder, watch, {"scoring": UNPRUNED, "version": UNPRUNED})
        return _load(folder.path(MODEL))


def _train(model, settings, trainer, folder: RunFolder, watch: Watch, head: dict) -> None:
    """Trains a network and writes its files, the record last."""
    is_whole = head["scoring"] == UNPRUNED
    phase: Phase = settings.training if is_whole else settings.finetuning
    stream = np.random.default_rng((settings.seed, _TRAINING if is_whole else _FINETUNING)).integers(2**31)
    parameters = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    watch.start(
        "unpruned network" if is_whole else f"{head['scoring']} {head['version']}",
        f"{parameters:,} trainable parameters",
    )
    trained = trainer.train(model, phase, int(stream), folder, watch)
    save_model(model, folder.path(MODEL))
    facts = {
        "kept_filters": kept_filters(model, settings.model),
        "parameters": parameters,
        "flops": size_of(model).flops,
        "bytes": folder.path(MODEL).stat().st_size,
        "pruned_test_accuracy": None if is_whole else trained.log.values("test_accuracy")[0],
        "epochs": phase.epochs,
        "steps": phase.epochs * trainer.batches.steps_per_epoch,
        "finetuning_seconds": round(trained.seconds, 3),
    }
    metrics = head | facts | {name: trained.log.last(name) for name in NAMES}
    atomic_write_text(folder.path(METRICS), json.dumps(metrics, indent=1) + "\n")
    write_network_result(settings, folder.folder)
    folder.mark(TRAINED)
    folder.drop_checkpoint()
    watch.end(f"test accuracy {metrics['test_accuracy']:.4f}")


def _load(path: Path) -> keras.Model:
    try:
        return load_model(path, compile=False)
    except InputError as error:
        raise InputError(f"{error}; delete its folder to train the network anew") from None
