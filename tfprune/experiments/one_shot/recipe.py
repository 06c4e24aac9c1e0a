"""Pruning in one go and training what is left, as in Vysogorets & Kempe 2021 (arXiv 2107.02306).

build the network; [score its trained weights where the pruner asks for them]
prune to a direct or an effective sparsity; return to the initial weights; train with the masks
(or, pruner `tfmot/polynomial`: train from the initial weights, and prune meanwhile)
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf

from tfprune.connectivity.report import SparsityReport, sparsity
from tfprune.data.images import ImageSet
from tfprune.data.prepared import load_prepared
from tfprune.errors import InputError
from tfprune.experiments.one_shot.folder import (
    FINAL,
    INITS,
    SPARSITIES,
    OneShotFolder,
    dense_file,
    read_dense_weights,
)
from tfprune.experiments.one_shot.gradual import GradualTrainer
from tfprune.experiments.one_shot.settings import DENSE, GRADUAL, SNIP_LOSSES, OneShotSpec, missing_dense
from tfprune.experiments.one_shot.training import EVALUATE_EVERY, History, SubnetworkTrainer
from tfprune.layers.masks import Masks, load_masks, save_masks
from tfprune.layers.prunable import prunable
from tfprune.models.registry import build
from tfprune.pruning.effective import Missed
from tfprune.pruning.one_shot import one_shot_masks
from tfprune.records.atomic import atomic_write_text
from tfprune.training.drive_old import Progress
from tfprune.training.feeds import normalise

_SNIP_BATCHES = 300
_ORDER = 5  # keeps the draw of SNIP's images apart from that of an epoch


class Report(Protocol):
    """Who watches a run (see `tfprune.experiments.one_shot.progress`)."""

    def pruned(self, spec: OneShotSpec, found: SparsityReport) -> None:
        """The masks are there."""

    def progress(self, progress: Progress) -> None:
        """Called about twice a second while training."""


class OneShot:
    """Runs specs of one architecture on one data set; what is compiled for one run serves the others.

    Args:
        spec: names the architecture and the data.

    Raises:
        InputError: the data cannot be used, or not by this architecture.
    """

    def __init__(self, spec: OneShotSpec):
        self.images: ImageSet = load_prepared(spec.dataset, spec.path_to_data, spec.settings.least_side)
        self._of = spec.architecture, spec.dataset
        self._trainers: dict[tuple, SubnetworkTrainer] = {}

    def run(self, spec: OneShotSpec, folder: OneShotFolder, report: Report) -> tuple[SparsityReport, History | None]:
        """Runs a spec to its end, skipping what the folder already holds.

        Args:
            spec: of the architecture and data that this was made for.
            folder: claimed for this spec.
            report: is told how it goes.

        Returns:
            The sparsities, and the test accuracies and losses (None without training).

        Raises:
            InputError: trained weights are missing (says the command that makes them), a sparsity is out of reach, the
                training diverges, or a file cannot be read or written.
        """
        assert (spec.architecture, spec.dataset) == self._of
        model = self._build(spec)
        inits = _kernels(model)
        if spec.needs_dense:
            inits = self._dense_weights(spec, model, INITS)
        if spec.pruner == GRADUAL:
            history, masks = self._trained_and_pruned(spec, model, inits, folder, report)
        else:
            history, masks = None, self._masks(spec, model, folder)
        found = sparsity(model, masks)
        _write_sparsities(spec, folder, found)
        result = folder.read_result() | _reached(spec, found)
        folder.write_result(result)
        if result.get("missed"):
            warnings.warn(result["missed"], stacklevel=2)
        report.pruned(spec, found)
        if not spec.train:
            return found, None
        history = history or self._trained(spec, model, inits, masks, folder, report)
        folder.write_array("accuracies", history.accuracies)
        folder.write_array("losses", history.losses)
        atomic_write_text(folder.path("info.log"), log_text(spec, found, history, result.get("missed")))
        folder.drop_checkpoint("checkpoint")
        return found, history

    def _build(self, spec: OneShotSpec) -> keras.Model:
        channels, height, width = self.images.image_shape
        return build(
            spec.architecture, input_shape=(height, width, channels), classes=self.images.classes, seed=spec.seed
        )

    def _masks(self, spec: OneShotSpec, model: keras.Model, folder: OneShotFolder) -> Masks:
        path = folder.path("masks.npz")
        if path.exists():
            return load_masks(path).check(model)
        if spec.pruner == DENSE:
            masks = Masks.dense(model)
        else:
            missed: list[Missed] = []
            masks = one_shot_masks(
                model,
                self._dense_weights(spec, model, FINAL) if spec.needs_dense else None,
                spec.pruner,
                spec.sparsity,
                spec.pruning_type,
                seed=spec.seed,
                data=self._snip_batches(spec) if "snip" in spec.pruner else None,
                quota_rule=spec.quota_rule,
                loss=SNIP_LOSSES[spec.snip_loss],
                min_weights=spec.min_weights,
                on_missed=missed.append,
            )
            folder.write_result({"missed": str(missed[0]) if missed else None})  # before the masks, which are the sign
        save_masks(path, masks)
        return masks

    def _dense_weights(self, spec: OneShotSpec, model: keras.Model, name: str) -> dict[str, np.ndarray]:
        path = dense_file(spec, name)
        if path is None:
            raise InputError(missing_dense(spec))
        return read_dense_weights(path, {path: array.shape for path, array in _kernels(model).items()})

    def _snip_batches(self, spec: OneShotSpec) -> SnipBatches:
        return SnipBatches(self.images, spec.settings.snip_batch_size, spec.seed)

    def _trained(self, spec, model, inits, masks, folder, report) -> History:
        trainer = self._trainer(spec, model)
        history = trainer.train(inits, masks, spec.seed, folder, report.progress)
        if spec.pruner == DENSE:
            folder.write_weights(INITS, inits)
            folder.write_weights(FINAL, trainer.kernels)
        return history

    def _trained_and_pruned(self, spec, model, inits, folder, report) -> tuple[History, Masks]:
        trainer = GradualTrainer(model, spec, self.images)
        history = trainer.train(inits, Masks.dense(model), spec.seed, folder, report.progress)
        save_masks(folder.path("masks.npz"), trainer.masks)
        return history, trainer.masks

    def _trainer(self, spec: OneShotSpec, model: keras.Model) -> SubnetworkTrainer:
        key = spec.steps, spec.eval_batchnorm, spec.checkpoint_step
        if key not in self._trainers:
            self._trainers[key] = SubnetworkTrainer(model, spec, self.images)
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


def log_text(spec: OneShotSpec, found: SparsityReport, history: History, missed: str | None = None) -> str:
    """`info.log`: the run in a line, one for a missed target, then a line for each evaluation."""
    head = (
        f"[pruner: {spec.pruner}][sample: {spec.sample}][direct sparsity: {found.direct:.6f}]"
        f"[effective sparsity: {found.effective:.6f}][iterations to train: {spec.steps}]"
    )
    if missed:
        head += f"\n[target missed: {missed}]"
    steps = [min(EVALUATE_EVERY * index, spec.steps) for index in range(len(history.accuracies))]
    pairs = zip(steps, history.losses, history.accuracies, strict=True)
    return "\n".join([head, *(f"[iteration: {s}][val loss: {x:.4f}][val acc: {a:.4f}]" for s, x, a in pairs), ""])


def _write_sparsities(spec: OneShotSpec, folder: OneShotFolder, found: SparsityReport) -> None:
    published = spec.dataset == spec.settings.data
    folder.write_counts([counts.dense for counts in found.weights_of.values()], published)
    direct, *effective = SPARSITIES
    folder.write_array(direct, [counts.direct_sparsity for counts in found.weights_of.values()])
    # Two methods of the published code, of which ours is the exact answer: the same numbers under both names.
    for name in effective:
        folder.write_array(name, [counts.effective_sparsity for counts in found.weights_of.values()])


def _reached(spec: OneShotSpec, found: SparsityReport) -> dict:
    """Target and result, as JSON values."""
    weights = found.weights
    return {
        "pruning_type": spec.pruning_type,
        "min_weights": spec.min_weights,
        "target_sparsity": spec.sparsity,
        "direct_sparsity": found.direct,
        "effective_sparsity": found.effective,
        "weights": weights.dense,
        "kept": weights.kept,
        "effective": weights.effective,
    }


def _kernels(model: keras.Model) -> dict[str, np.ndarray]:
    return {path: np.array(kernel.numpy()) for path, kernel in prunable(model).items()}
