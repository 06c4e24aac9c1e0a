"""Training of a pruned network from its initial weights: which network, which loop, and when it is tested."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from tfprune.data.augment import augmentation_of
from tfprune.data.images import ImageSet
from tfprune.experiments.one_shot.files import EVALUATE_EVERY
from tfprune.experiments.one_shot.settings import OneShotSettings
from tfprune.layers.convert import masked, set_masks
from tfprune.layers.kernel_masks import masked_kernels
from tfprune.layers.prunable import prunable
from tfprune.records.run_folder import RunFolder
from tfprune.training.decay import KernelDecay
from tfprune.training.evaluation import Evaluator
from tfprune.training.feeds import Normalised, RowsFeed
from tfprune.training.loop import TrainingLoop
from tfprune.training.momentum import MomentumSGD
from tfprune.training.samplers import EpochSampler
from tfprune.training.session import Session, Trained, Watch
from tfprune.training.timetable import Pauses, Timetable


class SubnetworkTrainer:
    """Trains one architecture on one data set, any masks and weights, always by the same compiled functions.

    Args:
        model: the architecture, ending in a softmax; its variables other than kernels give every training's start.
        settings: their pruner and sample do not matter here.
        images: the data.
    """

    def __init__(self, model: keras.Model, settings: OneShotSettings, images: ImageSet):
        self.settings = settings
        published = settings.published
        self.model = masked(model)
        # The cross-entropy is taken of the logits: of the probabilities it would lose digits.
        logits = keras.Model(self.model.inputs, self.model.layers[-1].input)
        masks = {id(mask) for _, mask in masked_kernels(self.model)}
        self._start = {
            id(variable): np.array(variable.numpy()) for variable in self.model.variables if id(variable) not in masks
        }
        rates = [published.learning_rate * 0.1**index for index in range(len(settings.drops) + 1)]
        optimizer = MomentumSGD(
            keras.optimizers.schedules.PiecewiseConstantDecay(settings.drops, rates), momentum=published.momentum
        )
        self._decay = KernelDecay(self.model, published.weight_decay)
        normal = Normalised(images.mean, images.scale)
        distort = augmentation_of(settings.dataset)

        def to_images(values):
            """(B, D), flattened c, y, x, to (B, height, width, channels)."""
            shaped = tf.reshape(values, [-1, *images.image_shape])
            return tf.transpose(shaped, [0, 2, 3, 1])

        def prepare(rows, stream, step):
            return distort(to_images(normal(rows, stream, step)), stream, step)

        def evaluated(values, training):
            if settings.eval_batchnorm == "moving":
                return logits(to_images(values), training=False)
            # The averages that training mode would update are written into the scope and go with it.
            with keras.StatelessScope():
                return logits(to_images(values), training=True)

        trained, decay, engine = self._trained(logits)
        feed = RowsFeed(images.train, EpochSampler(images.train.size, published.batch_size), prepare)
        dense = all(len(kernel.shape) == 2 for kernel in prunable(model).values())
        loop = TrainingLoop(trained, optimizer, feed, decay=decay, xla=dense and feed.resident, engine=engine)
        batch = 128 if settings.eval_batchnorm == "batch" else 1000  # as published, where it matters
        self._evaluator = Evaluator(evaluated, images.validation, images.mean, images.scale, batch_size=batch)
        self.session = Session(loop, self._test)

    def _trained(self, logits: keras.Model):
        """What the loop trains, the term that it adds to the loss, and by which engine."""
        return logits, self._decay, self.settings.engine

    def _test(self) -> dict[str, float]:
        """Also `test_objective`, the cross-entropy with the weight decay's term, in nats, as Keras reports it."""
        metrics = self._evaluator.metrics()
        return metrics | {"test_objective": metrics["test_loss"] + self._decay.value()}

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
        watch: Watch,
    ) -> Trained:
        """Trains from `kernels`, or goes on where the folder's checkpoint stands.

        Args:
            kernels: path -> initial weights.
            masks: path -> what is kept of them.
            seed: of the batches and distortions.
            folder: where the checkpoint goes; it stays there.
            watch: is told how it goes.

        Returns:
            The log has `test_accuracy`, `test_loss` and `test_objective` before steps 0, 1000, 2000, ... and after the
            last one.

        Raises:
            InputError: the loss is no longer finite, or a checkpoint cannot be written or read.
        """
        end = self.settings.steps
        timetable = Timetable(
            tests=Pauses(EVALUATE_EVERY, at=(end,)), checkpoints=Pauses(self.settings.checkpoint_step, at=(end,))
        )
        return self.session.run(folder, timetable, lambda: self.begin(kernels, masks), watch, stream=seed, end=end)

    def begin(self, kernels: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray]) -> None:
        """Gives the network the weights and masks to start with."""
        for variable in self.model.variables:
            if id(variable) in self._start:
                variable.assign(self._start[id(variable)])
        for path, kernel in prunable(self.model).items():
            kernel.assign(kernels[path] * masks[path])
        set_masks(self.model, masks)
