"""Passive filter pruning, as in Singh, Li & Plumbley 2022.

train the network; for every scoring and version: score its filters by their weights alone; keep the best; fine-tune
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from tfprune.connectivity.compaction import size_of
from tfprune.data.images import ImageSet
from tfprune.data.prepared import load_prepared
from tfprune.errors import InputError
from tfprune.experiments.filters.folder import MODEL, UNPRUNED, FilterFolder
from tfprune.experiments.filters.networks import LEAST_SIDE, NETWORKS
from tfprune.experiments.filters.pretrained import load_pretrained
from tfprune.experiments.filters.settings import FilterSpec
from tfprune.experiments.filters.training import METRICS, FilterTrainer, Report
from tfprune.layers.convert import load_model
from tfprune.pruning.filters import check_fractions, prune_filters
from tfprune.records.atomic import atomic_copy, temporary_folder

_CHANNELS = 3
_TRAINING, _FINETUNING = 0, 1  # keeps the orders of their batches apart


def run_filters(spec: FilterSpec, report: Report, overwrite: bool = False) -> None:
    """Trains, prunes and fine-tunes, skipping what the folders already hold.

    Args:
        spec: what to do.
        report: is told how it goes.
        overwrite: deletes the pruned networks that are asked for, and trains them anew; the unpruned one stays.

    Raises:
        InputError: the data, the weights or a folder cannot be used, a version would leave a layer without filters, or
            a training diverges.
    """
    trainer = FilterTrainer(load_images(spec), spec)
    fresh = _built(spec, trainer)
    for fractions in spec.vectors.values():  # before the long training
        check_fractions(fresh, _by_layer(spec, fractions))
    unpruned = _unpruned(spec, fresh, trainer, report)
    for scoring in spec.scoring:
        for version, fractions in spec.vectors.items():
            folder = FilterFolder(spec.version_folder(scoring, version))
            folder.claim(spec.version_record(scoring, version), overwrite)
            if not folder.finished:
                pruned = prune_version(unpruned, spec, scoring, fractions)
                report.start(f"{scoring} {version}", pruned)
                head = {"scoring": scoring, "version": version, "p": list(fractions)}
                _train(pruned, spec, trainer, folder, report, head, _FINETUNING)
            folder.release()


def load_images(spec: FilterSpec) -> ImageSet:
    """The data of a spec, at least 32 pixels wide, in three channels.

    Raises:
        InputError: they cannot be used; names the flag or file.
    """
    return load_prepared(spec.data, spec.path_to_data, side=LEAST_SIDE, channels=_CHANNELS)


def prune_version(unpruned: keras.Model, spec: FilterSpec, scoring: str, fractions: tuple[float, ...]) -> keras.Model:
    """The smaller network of a p-vector, not yet fine-tuned.

    Raises:
        InputError: a layer would have no filter left; names it.
    """
    pruned = prune_filters(unpruned, scoring, _by_layer(spec, fractions), seed=spec.seed)
    if spec.pruned_batchnorm == "restart":
        for name in NETWORKS[spec.model].norms:
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


def _by_layer(spec: FilterSpec, fractions: tuple[float, ...]) -> dict[str, float]:
    return dict(zip(NETWORKS[spec.model].layers, fractions, strict=True))


def _built(spec: FilterSpec, trainer: FilterTrainer) -> keras.Model:
    batches = trainer.batches
    return NETWORKS[spec.model].build(batches.input_shape, batches.classes, spec.seed, spec.width)


def _unpruned(spec: FilterSpec, fresh: keras.Model, trainer: FilterTrainer, report: Report) -> keras.Model:
    """The trained network; `fresh` is trained if there is none yet."""
    folder = FilterFolder(spec.unpruned_folder)
    folder.claim(spec.unpruned_record)
    if not folder.finished:
        if spec.weights is not None:
            load_pretrained(fresh, spec.weights)
        report.start("unpruned network", fresh)
        _train(fresh, spec, trainer, folder, report, {"scoring": UNPRUNED, "version": UNPRUNED}, _TRAINING)
    model = _load(folder.path(MODEL))
    folder.release()
    return model


def _train(model, spec, trainer, folder, report, head: dict, what: int) -> None:
    phase = spec.training if what == _TRAINING else spec.finetuning
    stream = int(np.random.default_rng((spec.seed, what)).integers(2**31))
    log, seconds = trainer.train(model, phase, stream, folder, report)
    _save(model, folder.path(MODEL))
    last = {name: log.last(name) for name in METRICS}
    tested = dict(log.get("test_accuracy"))
    facts = {
        "kept_filters": kept_filters(model, spec.model),
        "parameters": sum(int(np.prod(variable.shape)) for variable in model.trainable_variables),
        "flops": size_of(model).flops,
        "bytes": folder.path(MODEL).stat().st_size,
        "pruned_test_accuracy": None if what == _TRAINING else tested[0],
        "epochs": phase.epochs,
        "finetuning_seconds": round(seconds, 3),
    }
    folder.finish(head | facts | last)


def _save(model: keras.Model, path: Path) -> None:
    with temporary_folder() as place:
        file = place / MODEL
        model.save(file)
        atomic_copy(file, path)


def _load(path: Path) -> keras.Model:
    try:
        return load_model(path, compile=False)
    except InputError as error:
        raise InputError(f"{error}; delete its folder to train the network anew") from None
