"""Image classification sets of TensorFlow Datasets that lie ready in a folder: mnist, cifar10, ..."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tfprune.data.limits import Facts, check_val_size, train_count
from tfprune.data.rows import Rows, Source, empty_rows, pixel_mean
from tfprune.errors import InputError

# Community sets (`namespace:name`) would be looked up over the network.
_NAME = re.compile(r"\w+(/[\w.-]+)?(:\d+\.\d+\.\d+)?")
_BATCH = 1000


def load_tfds(
    dataset: str,
    data_dir: str | Path | None,
    data_ratio: float,
    val_size: int | None,
    also_known: Iterable[str] = (),
    common_side: int | None = None,
) -> Source:
    """Loads the first int(data_ratio · total) images of `train` and the first `val_size` of `test` (or `validation`).

    Nothing is downloaded: a run that starts a download by itself would hang for minutes where there is no network.

    Args:
        dataset: TFDS's name of the set.
        data_dir: TFDS's data_dir; None is TFDS's default (`TFDS_DATA_DIR`, or ~/tensorflow_datasets).
        data_ratio: share of the training images, clipped to [0, 1].
        val_size: number of validation images; None takes all.
        also_known: further names to suggest when `dataset` is unknown.
        common_side: height and width that images are fitted to (see `fitting`) where a set has several sizes; None
            takes no such set.

    Raises:
        InputError: an unknown set, one that isn't in the folder, isn't made of uint8 images of one shape with class
            labels, or whose files are damaged.
    """
    builder, split = _prepared(dataset, data_dir, also_known, common_side)
    height, width, channels = shape = _image_shape(builder, dataset, common_side)
    val_size = check_val_size(val_size, builder.info.splits[split].num_examples, dataset)
    count = train_count(data_ratio, builder.info.splits["train"].num_examples)
    classes = builder.info.features[builder.info.supervised_keys[1]].num_classes
    train = _read(builder, "train", count, classes, shape)
    validation = _read(builder, split, val_size, classes, shape)
    mean = pixel_mean(train.parts[0])
    return Source(train, validation, mean, scale=1 / 255, image_shape=(channels, height, width), classes=classes)


def find_builder(dataset: str, data_dir: str | Path | None, also_known: Iterable[str] = ()):
    """TFDS's builder of a set, which may not be prepared yet. Loads no TensorFlow.

    Raises:
        InputError: no such set, or damaged files.
    """
    import tensorflow_datasets as tfds

    if not _NAME.fullmatch(dataset):
        raise InputError(f"[Data] dataset = {dataset!r:.60}: not the name of a data set")
    try:
        return tfds.builder(dataset, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError:
        also_known = list(also_known)
        known = {name.lower(): name for name in [*also_known, *tfds.list_builders(with_community_datasets=False)]}
        near = [known[name] for name in difflib.get_close_matches(dataset.lower(), known, n=3)]
        hint = f"did you mean {' or '.join(near)}?" if near else f"e.g. mnist, cifar10, {', '.join(also_known)}"
        raise InputError(f"[Data] dataset = {dataset}: no such data set, {hint}") from None
    except Exception as error:  # TFDS raises what its parsers do on damaged files
        raise _damaged(dataset, data_dir or "the default folder of TFDS", error) from error


def tfds_facts(
    dataset: str, data_dir: str | Path | None, also_known: Iterable[str] = (), common_side: int | None = None
) -> Facts:
    """What a prepared set is, from its description alone. Loads no TensorFlow.

    Raises:
        InputError: as `load_tfds`, but for damage in the images' own files.
    """
    builder, split = _prepared(dataset, data_dir, also_known, common_side)
    height, width, channels = _image_shape(builder, dataset, common_side)
    counts = (builder.info.splits[name].num_examples for name in ("train", split))
    classes = builder.info.features[builder.info.supervised_keys[1]].num_classes
    return Facts((channels, height, width), classes, *counts)


def _prepared(dataset: str, data_dir: str | Path | None, also_known: Iterable[str], common_side: int | None):
    """The builder of a set that is there, and the name of its validation split."""
    builder = find_builder(dataset, data_dir, also_known)
    if not builder.info.splits:
        if builder.info.features is not None:
            _image_shape(builder, dataset, common_side)  # what cannot be used need not be fetched
        place = builder.data_path.parent.parent if builder.builder_config is None else builder.data_path.parents[2]
        raise InputError(
            f"[Data] dataset = {dataset}: not in {builder.data_path}; get it with: "
            f"python -m tfprune.data {dataset} --data_dir={place}"
        )
    split = next((name for name in ("test", "validation") if name in builder.info.splits), None)
    if split is None or "train" not in builder.info.splits:
        raise InputError(f"[Data] dataset = {dataset}: has no train and test splits but {list(builder.info.splits)}")
    return builder, split


def _image_shape(builder, dataset: str, common_side: int | None) -> tuple[int, int, int]:
    import tensorflow_datasets as tfds

    keys, features = builder.info.supervised_keys, builder.info.features
    is_pair = keys is not None and len(keys) == 2 and all(isinstance(key, str) for key in keys)
    image, label = (features[key] for key in keys) if is_pair else (None, None)
    if not isinstance(image, tfds.features.Image) or not isinstance(label, tfds.features.ClassLabel):
        raise InputError(f"[Data] dataset = {dataset}: not a set of images with one class label each")
    shape = image.shape
    if common_side is not None and None in shape[:2]:
        shape = (common_side, common_side, shape[2])
    if None in shape or image.np_dtype != np.uint8:
        raise InputError(f"[Data] dataset = {dataset}: uint8 images of one shape are needed, came {image.shape}")
    return shape


def _read(builder, split: str, count: int, classes: int, shape: tuple[int, int, int]) -> Rows:
    """The first `count` images of a split in the order of its files, of one shape (h, w, c), flattened c, y, x."""
    import tensorflow_datasets as tfds

    height, width, channels = shape
    fixed = builder.info.features[builder.info.supervised_keys[0]].shape == shape
    try:
        rows, labels, at = empty_rows(count, height * width * channels), np.empty(count, np.int32), 0
        batches = builder.as_dataset(
            split=f"{split}[:{count}]",
            batch_size=_BATCH if fixed else None,
            shuffle_files=False,
            as_supervised=True,
            read_config=tfds.ReadConfig(try_autocache=False),  # each image is read once
        )
        if not fixed:
            batches = _fitted(batches, height).batch(_BATCH)
        for images, numbers in tfds.as_numpy(batches):
            end = at + len(images)
            rows[at:end].reshape(-1, channels, height, width)[:] = images.transpose(0, 3, 1, 2)
            labels[at:end] = numbers
            at = end
    except Exception as error:  # TensorFlow's DataLossError and its relatives, OSError, protobuf's errors
        raise _damaged(f"{builder.name}, split {split}", builder.data_path, error) from error
    if at != count or labels.min() < 0 or labels.max() >= classes:
        came = f"{at} of {count} images" if at != count else f"labels from {labels.min()} to {labels.max()}"
        raise InputError(f"cannot read {builder.name}, split {split}, in {builder.data_path}: {came}")
    return Rows([rows], labels)


def _fitted(examples, side: int):
    import tensorflow as tf

    from tfprune.data.fitting import fitted

    return examples.map(lambda image, label: (fitted(image, side), label), tf.data.AUTOTUNE, deterministic=True)


def _damaged(what: str, where: object, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:200]
    return InputError(f"cannot read {what} in {where}: {type(error).__name__}: {reason}")
