"""Training of an unpruned or a pruned network: epochs, tests, checkpoints, curves."""

from __future__ import annotations

import time
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from tfprune.data.augment import byte_augmentation_of
from tfprune.data.images import ImageSet
from tfprune.experiments.filters.folder import CURVES, FilterFolder
from tfprune.experiments.filters.settings import FilterSpec, Phase
from tfprune.layers.topology import run
from tfprune.records.metric_log import MetricLog
from tfprune.records.network_folder import CHECKPOINT
from tfprune.training.decay import AllDecay
from tfprune.training.drive_old import Progress, drive, read_checkpoint, write_checkpoint
from tfprune.training.evaluation import Evaluator
from tfprune.training.image_batches import ImageBatches
from tfprune.training.loop import TrainingLoop
from tfprune.training.optimizers import Cosine, make_optimizer

METRICS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
_MOMENTUM = 0.9


class Report(Protocol):
    """Who watches a run (see `tfprune.experiments.filters.progress`)."""

    def start(self, what: str, model: keras.Model) -> None:
        """The training of `what`, for example `operator_norm v3_50`, begins."""

    def progress(self, progress: Progress) -> None:
        """Called about twice a second while training."""


class FilterTrainer:
    """Trains networks on one data set.

    Args:
        images: the data.
        spec: batch size, distortions, loss and what dropout does in tests.

    Attributes:
        batches: the data as networks see them.
    """

    def __init__(self, images: ImageSet, spec: FilterSpec):
        distort = byte_augmentation_of(spec.data) if spec.augment else None
        self.batches, self._spec = ImageBatches(images, spec.batch_size, distort), spec

    def train(
        self, model: keras.Model, phase: Phase, stream: int, folder: FilterFolder, report: Report
    ) -> tuple[MetricLog, float]:
        """Trains a model, or goes on where the folder's checkpoint stands.

        Args:
            model: ends in logits; is changed.
            phase: how.
            stream: which order of batches and which distortions.
            folder: claimed for this training.
            report: is told how it goes.

        Returns:
            `METRICS` by epoch, epoch 0 being the test before training; and the seconds that training took.

        Raises:
            InputError: the loss is no longer finite, or a file cannot be read or written.
        """
        steps_per_epoch = self.batches.steps_per_epoch
        end = phase.epochs * steps_per_epoch
        loop = self._loop(model, phase, end)
        evaluator = self.evaluator(model)
        resumed = read_checkpoint(
            folder, CHECKPOINT, loop, lambda arrays: (int(arrays["step"]), float(arrays["seconds"]))
        )
        step, seconds = resumed or (0, 0.0)
        log = folder.resume_log(step // steps_per_epoch if resumed else -1, METRICS[2:])
        curves = _Curves(folder, log)
        if resumed is None:
            curves.add(0, _tested(evaluator))
            folder.write_log(log)
        losses, errors, began = [], [], time.perf_counter()
        for stretch in drive(loop, stream, step, end):
            step = stretch.stop
            losses.append(stretch.losses)
            errors.append(stretch.errors)
            if step % steps_per_epoch == 0:
                means = [float(np.concatenate(values).mean(dtype=np.float64)) for values in (losses, errors)]
                losses, errors = [], []
                trained = {"train_loss": means[0], "train_accuracy": 1 - means[1]}
                curves.add(step // steps_per_epoch, trained | _tested(evaluator))
                seconds, began = seconds + time.perf_counter() - began, time.perf_counter()
                folder.write_log(log)
                # After the last epoch too: between it and the saved model a run may be killed.
                write_checkpoint(folder, CHECKPOINT, loop, {"step": np.array(step), "seconds": np.array(seconds)})
            accuracy, loss = log.last("test_accuracy"), float(stretch.losses[-1])
            report.progress(Progress(step, end, loss, accuracy, stretch.milliseconds_per_step))
        curves.close()
        return log, seconds

    def evaluator(self, model: keras.Model) -> Evaluator:
        """Measures accuracy and loss of a model on the test images."""
        model = self._with_loss(model)
        if self._spec.test_dropout == "off":
            return self.batches.evaluator(model)
        return self.batches.evaluator(lambda images, training: _with_dropout(model, images))

    def _loop(self, model: keras.Model, phase: Phase, end: int) -> TrainingLoop:
        momentum = _MOMENTUM if phase.optimizer == "sgd" else 0.0
        optimizer = make_optimizer(phase.optimizer, phase.learning_rate, nesterov_momentum=momentum)
        settings = {"decay": AllDecay(model, phase.weight_decay)} if phase.weight_decay else {}
        if phase.schedule == "cosine":
            settings["schedule"] = Cosine(phase.learning_rate, end)
        return TrainingLoop(self._with_loss(model), optimizer, self.batches.feed(), **settings)

    def _with_loss(self, model: keras.Model) -> keras.Model:
        """What the cross-entropy takes for logits: for the published loss, probabilities of the same layers."""
        if self._spec.loss == "standard":
            return model
        probabilities = layers.Softmax(name="probabilities")(model.outputs[0])
        return keras.Model(model.inputs, probabilities, name=model.name)


class _Curves:
    """Metrics by epoch, in the log and as TensorBoard's curves; those of earlier starts are written anew."""

    def __init__(self, folder: FilterFolder, log: MetricLog):
        folder.drop_curves()
        self._log, self._writer = log, tf.summary.create_file_writer(str(folder.path(CURVES)))
        for name in log.names:
            for epoch, value in log.get(name):
                self._write(name, epoch, value)

    def add(self, epoch: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._log.add(name, epoch, value)
            self._write(name, epoch, value)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _write(self, name: str, epoch: int, value: float) -> None:
        with self._writer.as_default():
            tf.summary.scalar(name.replace("_", "/"), value, step=epoch)


def _tested(evaluator: Evaluator) -> dict[str, float]:
    accuracy, loss = evaluator.accuracy_and_loss()
    return {"test_loss": loss, "test_accuracy": accuracy}


def _with_dropout(model: keras.Model, images):
    """Outputs in inference, but for dropout, which goes on; its generators stay as they are."""

    def call(layer, *args, **kwargs):
        if isinstance(layer, layers.Dropout):
            kwargs["training"] = True
        elif isinstance(layer, layers.BatchNormalization):
            kwargs["training"] = False
        return layer(*args, **kwargs)

    with keras.StatelessScope():
        return run(model, [images], call)[0]
