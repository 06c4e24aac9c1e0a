"""Pruning in one go and training what is left, as in Vysogorets & Kempe 2021 (arXiv 2107.02306).

build the network; [score its trained weights where the pruner asks for them]
prune to a direct or an effective sparsity; return to the initial weights; train with the masks
(or, pruner `tfmot/polynomial`: train from the initial weights, and prune meanwhile)
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import lru_cache

import keras
import numpy as np
import tensorflow as tf

from tfprune.connectivity.measured import measured
from tfprune.connectivity.report import SparsityReport, sparsity
from tfprune.data.images import ImageSet
from tfprune.data.prepared import load_prepared
from tfprune.errors import InputError
from tfprune.experiments.one_shot.files import (
    ACCURACIES,
    DIRECT,
    EFFECTIVE,
    FINAL,
    INITS,
    LOSSES,
    MASKS,
    METHODS,
    dense_file,
    evaluation_steps,
    read_dense_weights,
    write_counts,
)
from tfprune.experiments.one_shot.gradual import GradualTrainer
from tfprune.experiments.one_shot.results import read_missed, write_missed
from tfprune.experiments.one_shot.settings import DENSE, GRADUAL, SNIP_LOSSES, OneShotSettings, missing_dense
from tfprune.experiments.one_shot.training import SubnetworkTrainer
from tfprune.layers.masks import Masks, load_masks, save_masks
from tfprune.layers.prunable import prunable
from tfprune.models.registry import build
from tfprune.pruning.effective import Missed
from tfprune.pruning.scored_masks import one_shot_masks
from tfprune.pruning.scoring import scores_of
from tfprune.pruning.specs import get_pruner
from tfprune.records.arrays import write_npy, write_npz
from tfprune.records.atomic import atomic_write_text
from tfprune.records.metric_log import MetricLog
from tfprune.records.run_folder import RunFolder
from tfprune.training.feeds import normalise
from tfprune.training.session import Trained, Watch

_SNIP_BATCHES = 300
_ORDER = 5  # keeps the draw of SNIP's images apart from that of an epoch


@lru_cache(1)
def one_shot_of(architecture: str, dataset: str, path_to_data: str | None) -> OneShot:
    """The runner of an architecture and data set, the same one for run after run of them."""
    return OneShot(OneShotSettings(architecture=architecture, data=dataset, path_to_data=path_to_data))


class OneShot:
    """Makes runs of one architecture on one data set; what is compiled for one run serves the others.

    Args:
        settings: name the architecture and the data.

    Raises:
        InputError: the data cannot be used, or not by this architecture.
    """

    def __init__(self, settings: OneShotSettings):
        least = settings.published.least_side
        self.images: ImageSet = load_prepared(settings.dataset, settings.path_to_data, least)
        self._of = settings.architecture, settings.dataset
        self._trainers: dict[tuple, SubnetworkTrainer] = {}

    def run(
        self, settings: OneShotSettings, folder: RunFolder, watch: Watch, dense: OneShotSettings | None = None
    ) -> tuple[SparsityReport, Trained | None]:
        """Makes a run to its end, skipping what the folder already holds.

        Args:
            settings: of the architecture and data that this was made for.
            folder: claimed for these settings.
            watch: is told how it goes.
            dense: the run whose trained weights are scored; None for the settings' own.

        Returns:
            The sparsities, and what the training left (None without training).

        Raises:
            InputError: trained weights are missing (says the command that makes them), a sparsity is out of reach, the
                training diverges, or a file cannot be read or written.
        """
        assert (settings.architecture, settings.dataset) == self._of
        model, dense = self.build(settings), dense or settings.dense
        inits = _dense_weights(settings, dense, model, INITS) if settings.needs_dense else _kernels(model)
        if settings.pruner == GRADUAL:
            trained, masks = self._trained_and_pruned(settings, model, inits, folder, watch)
        else:
            trained, masks = None, self._masks(settings, dense, model, folder)
        found = sparsity(model, masks)
        _write_sparsities(settings, folder, found)
        missed = read_missed(folder.folder, folder.prefix)
        if missed:
            warnings.warn(missed, stacklevel=2)
        watch.say(_pruned_text(settings, found))
        if not settings.train:
            return found, None
        trained = trained or self._trained(settings, model, inits, masks, folder, watch)
        write_npy(folder.path(ACCURACIES), np.array(trained.log.values("test_accuracy")))
        write_npy(folder.path(LOSSES), np.array(trained.log.values("test_objective")))
        atomic_write_text(folder.path("info.log"), log_text(settings, found, trained.log, missed))
        return found, trained

    def build(self, settings: OneShotSettings) -> keras.Model:
        """The network, with its initial weights."""
        channels, height, width = self.images.image_shape
        shape, classes = (height, width, channels), self.images.classes
        return build(settings.architecture, input_shape=shape, classes=classes, seed=settings.seed)

    def counted(self, settings: OneShotSettings, folder: RunFolder) -> dict[str, int | None]:
        """What the network counts, pruned as the run's masks say: fields of a `Result`."""
        return measured(self.build(settings), load_masks(folder.path(MASKS)))

    def _masks(self, settings: OneShotSettings, dense: OneShotSettings, model: keras.Model, folder: RunFolder) -> Masks:
        path = folder.path(MASKS)
        if path.exists():
            return load_masks(path).check(model)
        if settings.pruner == DENSE:
            masks = Masks.dense(model)
        else:
            missed: list[Missed] = []
            needs_data = any(score.needs_data for score in scores_of(get_pruner(settings.pruner)))
            masks = one_shot_masks(
                model,
                _dense_weights(settings, dense, model, FINAL) if settings.needs_dense else None,
                settings.pruner,
                settings.sparsity,
                settings.pruning_type,
                seed=settings.seed,
                data=self._snip_batches(settings) if needs_data else None,
                quota_rule=settings.quota_rule,
                loss=SNIP_LOSSES[settings.snip_loss],
                min_weights=settings.min_weights,
                on_missed=missed.append,
            )
            # Before the masks, which are the sign.
            write_missed(folder, str(missed[0]) if missed else None)
        save_masks(path, masks)
        return masks

    def _snip_batches(self, settings: OneShotSettings) -> SnipBatches:
        return SnipBatches(self.images, settings.published.snip_batch_size, settings.seed)

    def _trained(self, settings, model, inits, masks, folder, watch) -> Trained:
        trainer = self._trainer(settings, model)
        watch.start("training", f"{masks.kept:,} weights")
        trained = trainer.train(inits, masks, settings.seed, folder, watch)
        if settings.pruner == DENSE:
            write_npz(folder.path(f"{INITS}.npz"), inits)
            write_npz(folder.path(f"{FINAL}.npz"), trainer.kernels)
        return trained

    def _trained_and_pruned(self, settings, model, inits, folder, watch) -> tuple[Trained, Masks]:
        trainer = GradualTrainer(model, settings, self.images)
        watch.start("training", "pruned meanwhile")
        trained = trainer.train(inits, Masks.dense(model), settings.seed, folder, watch)
        masks = trainer.masks
        save_masks(folder.path(MASKS), masks)
        return trained, masks

    def _trainer(self, settings: OneShotSettings, model: keras.Model) -> SubnetworkTrainer:
        key = settings.steps, settings.eval_batchnorm, settings.checkpoint_step, settings.engine
        if key not in self._trainers:
            self._trainers[key] = SubnetworkTrainer(model, settings, self.images)
        return self._trainers[key]


class SnipBatches:
    """Up to 300 batches of undistorted training images in a random order; the last one may be shorter.

    Args:
        images: the data.
        batch_size: images per batch.
        seed: of the order.
    """

    def __init__(self, images: ImageSet, batch_size: int, seed: int):
        self._images = images
        order = np.random.default_rng((seed, _ORDER, _ORDER)).permutation(images.train.size)
        self._chosen = order[: _SNIP_BATCHES * batch_size].astype(np.int32)
        self._batch_size = batch_size

    def __iter__(self) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        images = self._images
        for start in range(0, len(self._chosen), self._batch_size):
            rows, labels = images.train.fetch(tf.constant(self._chosen[start : start + self._batch_size]))
            shaped = tf.reshape(normalise(rows, images.mean, images.scale), [-1, *images.image_shape])
            yield tf.transpose(shaped, [0, 2, 3, 1]), labels


def log_text(settings: OneShotSettings, found: SparsityReport, log: MetricLog, missed: str | None = None) -> str:
    """`info.log`: the run in a line, one for a missed target, then a line for each evaluation."""
    head = (
        f"[pruner: {settings.pruner}][sample: {settings.sample}][direct sparsity: {found.direct:.6f}]"
        f"[effective sparsity: {found.effective:.6f}][iterations to train: {settings.steps}]"
    )
    if missed:
        head += f"\n[target missed: {missed}]"
    losses, accuracies = log.values("test_objective"), log.values("test_accuracy")
    rows = zip(evaluation_steps(len(losses), settings.steps), losses, accuracies, strict=True)
    return "\n".join([head, *(f"[iteration: {s}][val loss: {x:.4f}][val acc: {a:.4f}]" for s, x, a in rows), ""])


def _pruned_text(settings: OneShotSettings, found: SparsityReport) -> str:
    counts = found.weights
    text = (
        f"{settings.architecture}, {settings.pruner}: {counts.kept:,} of {counts.dense:,} weights kept, "
        f"{counts.effective:,} effective; compression {counts.direct_compression:.4g} direct, "
        f"{counts.effective_compression:.4g} effective"
    )
    if settings.train and settings.pruner != GRADUAL and counts.effective == 0:
        text += "\nno path leads from the input to the output: the network answers by chance and is not trained"
    return text


def _write_sparsities(settings: OneShotSettings, folder: RunFolder, found: SparsityReport) -> None:
    counts = list(found.weights_of.values())
    is_published = settings.dataset == settings.published.data
    write_counts(folder, settings.dense.folder, [each.dense for each in counts], is_published)
    write_npy(folder.path(DIRECT), np.array([each.direct_sparsity for each in counts]))
    for method in METHODS:
        write_npy(folder.path(EFFECTIVE.format(method)), np.array([each.effective_sparsity for each in counts]))


def _dense_weights(
    settings: OneShotSettings, dense: OneShotSettings, model: keras.Model, name: str
) -> dict[str, np.ndarray]:
    path = dense_file(dense, name)
    if path is None:
        raise InputError(missing_dense(dense, settings.pruner))
    return read_dense_weights(path, {path: array.shape for path, array in _kernels(model).items()})


def _kernels(model: keras.Model) -> dict[str, np.ndarray]:
    return {path: np.array(kernel.numpy()) for path, kernel in prunable(model).items()}
