"""Training of a pruned network from its initial weights, evaluated every 1000 steps and checkpointed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf

from tfprune.data.augment import augmentation_of
from tfprune.data.images import ImageSet
from tfprune.experiments.one_shot.settings import OneShotSpec
from tfprune.layers.convert import masked, set_masks
from tfprune.layers.kernel_masks import masks_of_layer
from tfprune.layers.prunable import prunable
from tfprune.layers.topology import named_layers
from tfprune.records.run_folder_old import RunFolder
from tfprune.training.decay import KernelDecay
from tfprune.training.drive_old import Progress, drive, read_checkpoint, write_checkpoint
from tfprune.training.evaluation import Evaluator
from tfprune.training.feeds import RowsFeed, normalised
from tfprune.training.loop import TrainingLoop
from tfprune.training.momentum import MomentumSGD
from tfprune.training.samplers import EpochSampler

EVALUATE_EVERY = 1000
_CHECKPOINT = "checkpoint"


@dataclass
class History:
    """Test accuracies and losses before steps 0, 1000, 2000, ... and after the last one.

    A loss is the mean cross-entropy plus the weight decay's term, in nats, as Keras reports it.
    """

    step: int = 0
    accuracies: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


class SubnetworkTrainer:
    """Trains one architecture on one data set, any masks and weights, always by the same compiled functions.

    Args:
        model: the architecture, ending in a softmax; its variables other than kernels give every training's start.
        spec: settings; its pruner and sample do not matter here.
        images: the data.
    """

    def __init__(self, model: keras.Model, spec: OneShotSpec, images: ImageSet):
        self.spec = spec
        settings = spec.settings
        self.model = masked(model)
        # The cross-entropy is taken of the logits: of the probabilities it would lose digits.
        logits = keras.Model(self.model.inputs, self.model.layers[-1].input)
        masks = {id(mask) for _, layer in named_layers(self.model) for mask in masks_of_layer(layer).values()}
        self._start = {
            id(variable): np.array(variable.numpy()) for variable in self.model.variables if id(variable) not in masks
        }
        rates = [settings.learning_rate * 0.1**index for index in range(len(spec.drops) + 1)]
        optimizer = MomentumSGD(
            keras.optimizers.schedules.PiecewiseConstantDecay(spec.drops, rates), momentum=settings.momentum
        )
        self._decay = KernelDecay(self.model, settings.weight_decay)
        normal = normalised(images.mean, images.scale)
        distort = augmentation_of(spec.dataset)

        def to_images(values):
            """(B, D), flattened c, y, x, to (B, height, width, channels)."""
            shaped = tf.reshape(values, [-1, *images.image_shape])
            return tf.transpose(shaped, [0, 2, 3, 1])

        def prepare(rows, stream, step):
            return distort(to_images(normal(rows, stream, step)), stream, step)

        def evaluated(values, training):
            if spec.eval_batchnorm == "moving":
                return logits(to_images(values), training=False)
            # The averages that training mode would update are written into the scope and go with it.
            with keras.StatelessScope():
                return logits(to_images(values), training=True)

        trained, decay = self._trained(logits)
        feed = RowsFeed(images.train, EpochSampler(images.train.size, settings.batch_size), prepare)
        dense = all(len(kernel.shape) == 2 for kernel in prunable(model).values())
        self._loop = TrainingLoop(trained, optimizer, feed, decay=decay, xla=dense and feed.resident)
        batch = 128 if spec.eval_batchnorm == "batch" else 1000  # as published, where it matters
        self._evaluator = Evaluator(evaluated, images.validation, images.mean, images.scale, batch_size=batch)

    def _trained(self, logits: keras.Model):
        """What the loop trains, and the term that it adds to the loss."""
        return logits, self._decay

    def _ready(self) -> None:
        """Called before the model is evaluated."""

    @property
    def kernels(self) -> dict[str, np.ndarray]:
        """Path -> the kernels' present weights, pruned ones 0."""
        return {path: np.array(kernel.numpy()) for path, kernel in prunable(self.model).items()}

    def train(
        self,
        kernels: Mapping[str, np.ndarray],
        masks: Mapping[str, np.ndarray],
        seed: int,
        folder: RunFolder,
        report: Callable[[Progress], None],
    ) -> History:
        """Trains from `kernels`, or goes on where the folder's checkpoint stands.

        Args:
            kernels: path -> initial weights.
            masks: path -> what is kept of them.
            seed: of the batches and distortions.
            folder: where the checkpoint goes; it stays there.
            report: called about twice a second.

        Raises:
            InputError: the loss is no longer finite, or a checkpoint cannot be written or read.
        """
        self._reset(kernels, masks)
        history = self._resume(folder) or History()
        end = self.spec.steps
        self._pause(history)
        for stretch in drive(self._loop, seed, history.step, end, every=(EVALUATE_EVERY, self.spec.checkpoint_step)):
            history.step = stretch.stop
            self._pause(history)
            if history.step < end and history.step % self.spec.checkpoint_step == 0:
                self._checkpoint(folder, history)
            loss, accuracy = float(stretch.losses[-1]), history.accuracies[-1]
            report(Progress(history.step, end, loss, accuracy, stretch.milliseconds_per_step))
        return history

    def _reset(self, kernels: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray]) -> None:
        for variable in self.model.variables:
            if id(variable) in self._start:
                variable.assign(self._start[id(variable)])
        for path, kernel in prunable(self.model).items():
            kernel.assign(kernels[path] * masks[path])
        set_masks(self.model, masks)
        self._loop.reset_optimizer()

    def _pause(self, history: History) -> None:
        """Evaluates where that is due and has not been done before the checkpoint was written."""
        if history.step % EVALUATE_EVERY and history.step < self.spec.steps:
            return
        if len(history.accuracies) > -(-history.step // EVALUATE_EVERY):
            return
        self._ready()
        accuracy, loss = self._evaluator.accuracy_and_loss()
        history.accuracies.append(accuracy)
        history.losses.append(loss + self._decay.value())

    def _checkpoint(self, folder: RunFolder, history: History) -> None:
        arrays = {
            "step": np.array(history.step),
            "accuracies": np.array(history.accuracies),
            "losses": np.array(history.losses),
        }
        write_checkpoint(folder, _CHECKPOINT, self._loop, arrays)

    def _resume(self, folder: RunFolder) -> History | None:
        return read_checkpoint(folder, _CHECKPOINT, self._loop, self._history)

    def _history(self, arrays: dict[str, np.ndarray]) -> History:
        step, accuracies, losses = int(arrays["step"]), arrays["accuracies"], arrays["losses"]
        tests = step // EVALUATE_EVERY + 1
        if not (accuracies.shape == losses.shape == (tests,) and 0 < step < self.spec.steps):
            raise ValueError("a history that this training can't have")
        return History(step, accuracies.tolist(), losses.tolist())
