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
from tfprune.experiments.filters.spec import FilterSpec, Phase
from tfprune.layers.topology import run
from tfprune.records.filter_folder import CHECKPOINT, CURVES, FilterFolder
from tfprune.records.metric_log import MetricLog
from tfprune.training.decay import AllDecay
from tfprune.training.drive import Progress, drive, read_checkpoint, write_checkpoint
from tfprune.training.evaluation import Evaluator
from tfprune.training.feeds import RowsFeed, normalise
from tfprune.training.loop import TrainingLoop
from tfprune.training.optimizers import Cosine, make_optimizer
from tfprune.training.samplers import EpochSampler

METRICS = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
_MOMENTUM = 0.9


class Report(Protocol):
    """Who watches a run (see `tfprune.cli.filters_progress`)."""

    def start(self, what: str, model: keras.Model) -> None:
        """The training of `what`, for example `operator_norm v3_50`, begins."""

    def progress(self, progress: Progress) -> None:
        """Called about twice a second while training."""


class FilterTrainer:
    """Trains networks on one data set.

    Args:
        images: the data.
        spec: batch size, distortions, loss and what dropout does in tests.
    """

    def __init__(self, images: ImageSet, spec: FilterSpec):
        self._images, self._spec = images, spec
        self._distort = byte_augmentation_of(spec.data) if spec.augment else None

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
        feed = RowsFeed(self._images.train, self._sampler(), self._prepared)
        steps_per_epoch = feed.epoch_end(0)
        end = phase.epochs * steps_per_epoch
        settings = {"decay": AllDecay(model, phase.weight_decay)} if phase.weight_decay else {}
        if phase.schedule == "cosine":
            settings["schedule"] = Cosine(phase.learning_rate, end)
        optimizer = make_optimizer(
            phase.optimizer, phase.learning_rate, nesterov_momentum=_MOMENTUM if phase.optimizer == "sgd" else 0.0
        )
        loop = TrainingLoop(self._trained(model), optimizer, feed, **settings)
        evaluator = self.evaluator(model)
        arrays = read_checkpoint(folder, CHECKPOINT, loop)
        step = 0 if arrays is None else int(arrays["step"])
        seconds = 0.0 if arrays is None else float(arrays["seconds"])
        log = folder.read_log(-1 if arrays is None else step // steps_per_epoch)
        curves = _Curves(folder, log)
        if arrays is None:
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
        if self._spec.loss == "published":
            model = _with_softmax(model)
        dropping = self._spec.test_dropout == "on"

        def on_rows(rows, training):
            images = self._to_images(rows)
            return _with_dropout(model, images) if dropping else model(images, training=training)

        images = self._images
        return Evaluator(on_rows, images.validation, images.mean, images.scale)

    def _trained(self, model: keras.Model) -> keras.Model:
        return _with_softmax(model) if self._spec.loss == "published" else model

    def _sampler(self) -> EpochSampler:
        return EpochSampler(self._images.train.size, self._spec.batch_size, short=True)

    def _prepared(self, rows, stream, step):
        images = self._to_images(rows)
        if self._distort is not None:
            images = self._distort(images, stream, step)
        mean, scale = (self._to_images(values[None]) for values in (self._images.mean, self._images.scale))
        return normalise(images, mean, scale)

    def _to_images(self, values):
        """(B, D), flattened c, y, x, to (B, height, width, channels)."""
        shaped = tf.reshape(values, [-1, *self._images.image_shape])
        return tf.transpose(shaped, [0, 2, 3, 1])


class _Curves:
    """Metrics by epoch, in the log and as TensorBoard's curves; those of earlier starts are written anew."""

    def __init__(self, folder: FilterFolder, log: MetricLog):
        place = folder.path(CURVES)
        for old in place.glob("events.out.tfevents.*"):
            old.unlink()
        self._log, self._writer = log, tf.summary.create_file_writer(str(place))
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


def _with_softmax(model: keras.Model) -> keras.Model:
    """The same layers with a softmax behind the logits, whose probabilities the loss then takes for logits."""
    return keras.Model(model.inputs, layers.Softmax(name="probabilities")(model.outputs[0]), name=model.name)


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
