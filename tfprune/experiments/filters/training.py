"""Training of an unpruned or a pruned network: epochs, tests, checkpoints, curves."""

from __future__ import annotations

from importlib.util import find_spec

import keras
import tensorflow as tf
from keras import layers

from tfprune.data.augment import byte_augmentation_of
from tfprune.data.images import ImageSet
from tfprune.experiments.filters.results import CURVES, LOGGER
from tfprune.experiments.filters.settings import FilterSettings, Phase
from tfprune.layers.topology import run
from tfprune.records.metric_log import MetricLog
from tfprune.records.run_folder import RunFolder
from tfprune.training.decay import AllDecay
from tfprune.training.evaluation import Evaluator
from tfprune.training.image_batches import ImageBatches
from tfprune.training.loop import TrainingLoop
from tfprune.training.optimizers import Cosine, make_optimizer
from tfprune.training.session import Session, Trained, Watch
from tfprune.training.timetable import Pauses, Timetable

NAMES = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
_MOMENTUM = 0.9


class FilterTrainer:
    """Trains networks on one data set.

    Args:
        images: the data.
        settings: batch size, distortions, loss and what dropout does in tests.

    Attributes:
        batches: the data as networks see them.
    """

    def __init__(self, images: ImageSet, settings: FilterSettings):
        distort = byte_augmentation_of(settings.data) if settings.augment else None
        self.batches, self._settings = ImageBatches(images, settings.batch_size, distort), settings

    def train(self, model: keras.Model, phase: Phase, stream: int, folder: RunFolder, watch: Watch) -> Trained:
        """Trains a model, or goes on where the folder's checkpoint stands; writes `logger` and curves by epoch.

        Args:
            model: ends in logits; is changed.
            phase: how.
            stream: which order of batches and which distortions.
            folder: claimed for this training.
            watch: is told how it goes.

        Returns:
            `NAMES` by step, step 0 being the test before training; how long it took.

        Raises:
            InputError: the loss is no longer finite, or a file cannot be read or written.
        """
        steps_per_epoch = self.batches.steps_per_epoch
        end = phase.epochs * steps_per_epoch
        session = Session(self._loop(model, phase, end), self.evaluator(model).metrics)
        # Checkpoints after the last epoch, too: between it and the saved model a run may be killed.
        epochs = Pauses(every=steps_per_epoch)
        curves = _Curves(folder, steps_per_epoch)
        try:
            return session.run(
                folder,
                Timetable(tests=epochs, checkpoints=epochs, means=epochs),
                begin=lambda: None,  # the model is as it should be
                watch=watch,
                stream=stream,
                end=end,
                on_log=curves.show,
            )
        finally:
            curves.close()

    def evaluator(self, model: keras.Model) -> Evaluator:
        """Measures accuracy and loss of a model on the test images."""
        model = self._with_loss(model)
        if self._settings.test_dropout == "off":
            return self.batches.evaluator(model)
        return self.batches.evaluator(lambda images, training: _with_dropout(model, images))

    def _loop(self, model: keras.Model, phase: Phase, end: int) -> TrainingLoop:
        momentum = _MOMENTUM if phase.optimizer == "sgd" else 0.0
        optimizer = make_optimizer(phase.optimizer, phase.learning_rate, nesterov_momentum=momentum)
        how = {"decay": AllDecay(model, phase.weight_decay)} if phase.weight_decay else {}
        if phase.schedule == "cosine":
            how["schedule"] = Cosine(phase.learning_rate, end)
        return TrainingLoop(self._with_loss(model), optimizer, self.batches.feed(), **how)

    def _with_loss(self, model: keras.Model) -> keras.Model:
        """What the cross-entropy takes for logits: for the published loss, probabilities of the same layers."""
        if self._settings.loss == "standard":
            return model
        probabilities = layers.Softmax(name="probabilities")(model.outputs[0])
        return keras.Model(model.inputs, probabilities, name=model.name)


class _Curves:
    """Metrics by epoch, as lines and as TensorBoard's curves; those of earlier starts are written anew.

    Without the package tensorboard, which TensorFlow needs to write them, there are no curves.
    """

    def __init__(self, folder: RunFolder, steps_per_epoch: int):
        for path in folder.path(CURVES).glob("events.out.tfevents.*"):
            path.unlink()
        self._logger, self._steps_per_epoch = folder.path(LOGGER), steps_per_epoch
        summary, known = tf.summary, find_spec("tensorboard") is not None
        self._writer = summary.create_file_writer(str(folder.path(CURVES))) if known else summary.create_noop_writer()
        self._epoch = -1

    def show(self, log: MetricLog) -> None:
        """Writes what was added to a log by step."""
        values, epochs = {name: dict(log.get(name)) for name in NAMES}, MetricLog()
        for step in sorted(values["test_loss"]):
            for name in NAMES:
                if step in values[name]:
                    self._add(epochs, name, step // self._steps_per_epoch, values[name][step])
        self._epoch = epochs.end
        self._writer.flush()
        epochs.write(self._logger)

    def close(self) -> None:
        self._writer.close()

    def _add(self, epochs: MetricLog, name: str, epoch: int, value: float) -> None:
        epochs.add(name, epoch, value)
        if epoch > self._epoch:
            with self._writer.as_default():
                tf.summary.scalar(name.replace("_", "/"), value, step=epoch)


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
