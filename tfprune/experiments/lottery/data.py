"""The data of a run: batches to train on, a test set, and examples to score with."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import tensorflow as tf

from tfprune.data.images import ImageSet
from tfprune.data.prepared import load_prepared
from tfprune.experiments.lottery.hparams import DatasetHparams
from tfprune.training.evaluation import Evaluator
from tfprune.training.feeds import Feed, RowsFeed, normalise, normalised
from tfprune.training.samplers import EpochSampler


class LotteryData(ABC):
    """A data set as one group of hyperparameters describes it.

    Attributes:
        classes: number of classes.
        input_shape: (height, width, channels) of the network's inputs.
        steps_per_epoch: batches in an epoch, the last of which may be shorter.
    """

    classes: int
    input_shape: tuple[int, int, int]
    steps_per_epoch: int

    @abstractmethod
    def feed(self, order_seed: int | None = None) -> Feed:
        """Training batches, distorted unless the hyperparameters say no.

        Args:
            order_seed: where given, all streams see the examples in the same order.
        """

    @abstractmethod
    def evaluator(self, model):
        """Measures accuracy and loss of a model on the test set."""

    @abstractmethod
    def examples(self, per_class: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Training examples, undistorted, as one batch.

        Args:
            per_class: how many of each class; of a class that has fewer, all.
            seed: of their choice.

        Returns:
            float32 (n, *input_shape) and int32 (n,).
        """


class ResidentData(LotteryData):
    """Images that are held on the device as bytes.

    Args:
        images: the data.
        hparams: batch size and distortions.
    """

    def __init__(self, images: ImageSet, hparams: DatasetHparams):
        channels, height, width = images.image_shape
        self.classes, self.input_shape = images.classes, (height, width, channels)
        self._images, self._hparams = images, hparams
        self._normal = normalised(images.mean, images.scale)
        self.steps_per_epoch = self._sampler(None).steps_per_epoch

    def feed(self, order_seed: int | None = None) -> RowsFeed:
        return RowsFeed(self._images.train, self._sampler(order_seed), self._prepared)

    def evaluator(self, model) -> Evaluator:
        def on_rows(rows, training):
            return model(self._to_images(rows), training=training)

        images = self._images
        return Evaluator(on_rows, images.validation, images.mean, images.scale)

    def examples(self, per_class: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        images = self._images
        chosen = chosen_per_class(images.train.labels, per_class, seed)
        rows, labels = images.train.fetch(tf.constant(chosen, tf.int32))
        return self._to_images(normalise(rows, images.mean, images.scale)).numpy(), labels.numpy()

    def _sampler(self, order_seed: int | None) -> EpochSampler:
        return EpochSampler(self._images.train.size, self._hparams.batch_size, short=True, seed=order_seed)

    def _prepared(self, rows, stream, step):
        return self._to_images(self._normal(rows, stream, step))

    def _to_images(self, values):
        """(B, D), flattened c, y, x, to (B, height, width, channels)."""
        shaped = tf.reshape(values, [-1, *self._images.image_shape])
        return tf.transpose(shaped, [0, 2, 3, 1])


def load_data(hparams: DatasetHparams, path_to_data: str | None, least_side: int = 1) -> LotteryData:
    """Loads a data set.

    Raises:
        InputError: it is not there, or damaged; names the flag or file.
    """
    return ResidentData(load_prepared(hparams.dataset_name, path_to_data, least_side), hparams)


def chosen_per_class(labels: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """Positions of at most `per_class` random examples of each class that occurs, class after class."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    return np.concatenate([order[labels[order] == label][:per_class] for label in np.unique(labels)])
