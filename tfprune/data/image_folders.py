"""Images that stay in their files, one folder per class, decoded while training: ImageNet.

<folder>/train/<class>/*.JPEG
<folder>/val/<class>/*.JPEG
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfprune.data.augment import CROP_AREA, CROP_RATIO
from tfprune.data.class_folders import class_files
from tfprune.data.facts import find_image_folders
from tfprune.data.prepared import STATISTICS
from tfprune.data.variants import random_labels, subsample
from tfprune.errors import InputError

_KEY = 0x1A6E  # keeps these numbers apart from those of other draws with the same seed


class FolderBatches:
    """Batches of decoded images in an order fixed beforehand.

    Attributes:
        dataset: the `tf.data.Dataset` of float32 (B, side, side, 3), normalised, and int32 (B,) labels.

    Iterating over this object gives the same, and tells which file is to blame if one is damaged.
    """

    def __init__(self, dataset: tf.data.Dataset, files: np.ndarray, batch_size: int):
        self.dataset = dataset
        self._files = files
        self._batch_size = batch_size

    @property
    def element_spec(self) -> tuple[tf.TensorSpec, tf.TensorSpec]:
        """Of a batch, as `tf.data.Dataset` has it."""
        return self.dataset.element_spec

    def __len__(self) -> int:
        return -(-len(self._files) // self._batch_size)

    def __iter__(self) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        batches = iter(self.dataset)
        for number in range(len(self)):
            try:
                batch = next(batches)
            except tf.errors.OpError as error:
                raise self.blame(number, error) from None
            yield batch

    def blame(self, number: int, error: Exception) -> Exception:
        """What to raise when batch `number` (from 0) failed with `error`: an InputError that names the file."""
        for file in self._files[number * self._batch_size : (number + 1) * self._batch_size]:
            try:
                tf.io.decode_image(tf.io.read_file(file), channels=3, expand_animations=False)
            except tf.errors.OpError as fault:
                return InputError(f"cannot read {os.fsdecode(file)}: {' '.join(fault.message.split())[:200]}")
        return error


class FolderImages:
    """The images of a folder, streamed.

    Args:
        folder: holds `train` and `val`; classes are numbered in order of their folders' names.
        side: height and width of what the network sees.
        resize: the shorter side that images are brought to before their centre is cut out, without augmentation.
        subsample_fraction: see `tfprune.data.variants`; None takes all training images.
        random_labels_fraction: likewise.
        seed: of both draws.

    Attributes:
        size: number of training images.
        validation_size: number of validation images.
        classes: number of classes.
        class_names: their folders' names.
        labels: int32 (size,), of the training images.
        input_shape: (side, side, 3).

    Raises:
        InputError: no folder, a missing or empty one, or classes of `val` that differ from those of `train`.
    """

    def __init__(
        self,
        folder: str | Path,
        side: int = 224,
        resize: int = 256,
        subsample_fraction: float | None = None,
        random_labels_fraction: float | None = None,
        seed: int = 0,
    ):
        self.class_names = find_image_folders(folder)
        root = Path(folder)
        self.classes = len(self.class_names)
        self._side, self._resize = side, resize
        self.input_shape = side, side, 3
        self._files, self.labels = class_files(root / "train", self.class_names)
        self._validation = class_files(root / "val", self.class_names)
        if random_labels_fraction is not None:
            self.labels = random_labels(self.labels, self.classes, random_labels_fraction, seed)
        if subsample_fraction is not None:
            chosen = subsample(len(self.labels), subsample_fraction, seed)
            self._files, self.labels = self._files[chosen], self.labels[chosen]
        self.size, self.validation_size = len(self.labels), len(self._validation[1])

    def train_batches(
        self,
        stream: int,
        epoch: int,
        batch_size: int,
        first: int = 0,
        augment: bool = True,
        augment_seed: int | None = None,
    ) -> FolderBatches:
        """One epoch of training images, shuffled; the last batch may be shorter.

        Order and distortions are pure functions of the arguments, and starting later decodes nothing earlier.

        Args:
            stream: seed of the order, with `epoch`.
            epoch: from 0.
            batch_size: images per batch.
            first: the batch to start at.
            augment: random crop, resized, and mirrored at random; else as for validation.
            augment_seed: of the crops, with `epoch` and the place in it; None takes `stream`.
        """
        order = np.random.default_rng((stream, epoch)).permutation(self.size)[first * batch_size :]
        places = np.arange(first * batch_size, self.size) + epoch * 2**32
        key = (stream if augment_seed is None else augment_seed) * 2**16 + _KEY

        def load(file, place):
            return _distorted(tf.io.read_file(file), tf.stack([tf.constant(key, tf.int64), place]), self._side)

        return self._batches(self._files[order], self.labels[order], places, batch_size, load if augment else None)

    def validation_batches(self, batch_size: int) -> FolderBatches:
        """All validation images in order; the last batch may be shorter."""
        files, labels = self._validation
        return self._batches(files, labels, np.arange(len(labels)), batch_size, None)

    def examples(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Training images without distortion, as one batch: float32 (n, side, side, 3) and int32 (n,)."""
        batches = self._batches(self._files[indices], self.labels[indices], indices, len(indices), None)
        return tuple(part.numpy() for part in next(iter(batches)))

    def _batches(self, files, labels, places, batch_size, load) -> FolderBatches:
        mean, deviation = (tf.constant(values) * 255 for values in STATISTICS["imagenet"])

        def example(file, label, place):
            image = _centre(tf.io.read_file(file), self._side, self._resize) if load is None else load(file, place)
            return (tf.ensure_shape(image, [self._side, self._side, 3]) - mean) / deviation, label

        dataset = tf.data.Dataset.from_tensor_slices((files, labels, places.astype(np.int64)))
        dataset = dataset.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return FolderBatches(dataset.batch(batch_size).prefetch(tf.data.AUTOTUNE), files, batch_size)


def _distorted(content: tf.Tensor, seed: tf.Tensor, side: int) -> tf.Tensor:
    """A random part of an image, mirrored at random: float32 (side, side, 3) in units of the bytes."""
    jpeg = tf.io.is_jpeg(content)
    shape = tf.cond(jpeg, lambda: tf.io.extract_jpeg_shape(content), lambda: tf.shape(_decoded(content)))
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed,
        min_object_covered=0.0,
        aspect_ratio_range=CROP_RATIO,
        area_range=CROP_AREA,
        max_attempts=10,
    )
    window = tf.concat([begin[:2], size[:2]], 0)
    image = tf.cond(
        jpeg,
        lambda: tf.io.decode_and_crop_jpeg(content, window, channels=3),  # decodes only what is in the window
        lambda: tf.slice(_decoded(content), [*tf.unstack(begin[:2]), 0], [*tf.unstack(size[:2]), 3]),
    )
    image = tf.image.resize(image, [side, side], antialias=True)
    return tf.image.stateless_random_flip_left_right(image, seed + tf.constant([1, 0], tf.int64))


def _centre(content: tf.Tensor, side: int, resize: int) -> tf.Tensor:
    """The middle of an image whose shorter side is brought to `resize`: float32 (side, side, 3)."""
    image = _decoded(content)
    shape = tf.shape(image)[:2]
    wanted = shape * resize // tf.reduce_min(shape)
    image = tf.image.resize(image, wanted, antialias=True)
    return tf.image.resize_with_crop_or_pad(image, side, side)


def _decoded(content: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_image(content, channels=3, expand_animations=False)
