"""The data of a run: batches to train on, a test set, and examples to score with."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from tfprune.data.augment import byte_augmentation_of
from tfprune.data.facts import data_flag
from tfprune.data.image_folders import FolderBatches, FolderImages
from tfprune.data.images import ImageSet
from tfprune.data.prepared import load_prepared
from tfprune.experiments.lottery.settings import DataSettings
from tfprune.experiments.lottery.steps import iterations_per_epoch
from tfprune.training.evaluation import Evaluator, StreamEvaluator
from tfprune.training.feeds import Feed, RowsFeed, StreamFeed
from tfprune.training.image_batches import ImageBatches


class LotteryData(ABC):
    """A data set as one group of settings describes it.

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
        """Training batches, distorted unless the settings say no.

        Args:
            order_seed: where given, all streams see the examples in the same order.
        """

    @abstractmethod
    def evaluator(self, model):
        """Measures accuracy and loss of a model on the test set."""

    def blame(self, error: Exception, order_seed: int | None, stream: int, step: int) -> Exception:
        """What to raise when TensorFlow failed with `error` at a batch of this stream, at `step` or soon after."""
        return error

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
        settings: batch size and distortions.
    """

    def __init__(self, images: ImageSet, settings: DataSettings):
        distort = None if settings.do_not_augment else byte_augmentation_of(settings.dataset_name)
        self._batches = ImageBatches(images, settings.batch_size, distort)
        self._labels = images.train.labels
        self.classes, self.input_shape = self._batches.classes, self._batches.input_shape
        self.steps_per_epoch = self._batches.steps_per_epoch

    def feed(self, order_seed: int | None = None) -> RowsFeed:
        return self._batches.feed(order_seed)

    def evaluator(self, model) -> Evaluator:
        return self._batches.evaluator(model)

    def examples(self, per_class: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        return self._batches.examples(chosen_per_class(self._labels, per_class, seed))


class StreamedData(LotteryData):
    """Images that stay in the files of a folder and are decoded while training.

    Args:
        images: the folder.
        settings: batch size and distortions.
    """

    def __init__(self, images: FolderImages, settings: DataSettings):
        self.classes, self.input_shape = images.classes, images.input_shape
        self._images, self._settings = images, settings
        self.steps_per_epoch = iterations_per_epoch(images.size, settings.batch_size)

    def feed(self, order_seed: int | None = None) -> StreamFeed:
        return StreamFeed(lambda *place: self._batches(order_seed, *place).dataset, self.steps_per_epoch)

    def evaluator(self, model) -> StreamEvaluator:
        return StreamEvaluator(model, lambda: self._images.validation_batches(self._settings.batch_size))

    def blame(self, error: Exception, order_seed: int | None, stream: int, step: int) -> Exception:
        batches = self._batches(order_seed, stream, *divmod(step, self.steps_per_epoch))
        found = (batches.blame(number, error) for number in range(len(batches)))
        return next((fault for fault in found if fault is not error), error)

    def examples(self, per_class: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        return self._images.examples(chosen_per_class(self._images.labels, per_class, seed))

    def _batches(self, order_seed: int | None, stream: int, epoch: int, first: int) -> FolderBatches:
        order = stream if order_seed is None else order_seed
        augment = not self._settings.do_not_augment
        return self._images.train_batches(order, epoch, self._settings.batch_size, first, augment, stream)


def load_data(settings: DataSettings, path_to_data: str | None) -> LotteryData:
    """Loads a data set, or opens the folder that it stays in.

    Args:
        settings: what to load; random labels and subsets are drawn by its `transformation_seed`, 0 if it has none.
        path_to_data: ImageNet's folder, that of Tiny ImageNet, or TFDS's data_dir.

    Raises:
        InputError: it is not there, or damaged; names the flag or file.
    """
    variant = {
        "subsample_fraction": settings.subsample_fraction,
        "random_labels_fraction": settings.random_labels_fraction,
        "seed": settings.transformation_seed or 0,
    }
    if settings.dataset_name == "imagenet":
        return StreamedData(FolderImages(path_to_data, **variant), settings)
    with data_flag("dataset_name"):
        images = load_prepared(settings.dataset_name, path_to_data, **variant)
    return ResidentData(images, settings)


def chosen_per_class(labels: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """Positions of at most `per_class` random examples of each class that occurs, class after class."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    return np.concatenate([order[labels[order] == label][:per_class] for label in np.unique(labels)])
