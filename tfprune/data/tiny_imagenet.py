"""Tiny ImageNet from the folder it is distributed as: 200 classes of 64×64 JPEG images.

<folder>/tiny-imagenet-200/train/<wnid>/images/*.JPEG
<folder>/tiny-imagenet-200/val/images/*.JPEG, val/val_annotations.txt

Often the files are moved into one folder per class, `train/<wnid>/*.JPEG` and `val/<wnid>/*.JPEG`, which will do, too.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from tfprune.data.rows import Rows, Source, empty_rows, pixel_mean
from tfprune.errors import InputError
from tfprune.records.reading import read_text

_FOLDER = "tiny-imagenet-200"
_SIDE = 64
_BATCH = 512


def load_tiny_imagenet(folder: str | Path | None) -> Source:
    """Loads the training images and, for validation, those of `val`; classes are numbered in order of their wnid.

    Args:
        folder: the one that holds `tiny-imagenet-200`, or that folder itself.

    Raises:
        InputError: no folder is given, or one whose files are missing, damaged or of another size; names the file.
    """
    root, classes = find_classes(folder)
    train = [(path, number) for number, name in enumerate(classes) for path in _images(root / "train" / name)]
    sources = [_rows(root / "train", train), _rows(root / "val", _validation(root, classes))]
    mean = pixel_mean(sources[0].parts[0])
    return Source(*sources, mean=mean, scale=1 / 255, image_shape=(3, _SIDE, _SIDE), classes=len(classes))


def find_classes(folder: str | Path | None) -> tuple[Path, list[str]]:
    """The folder of the set and its classes' names, in order.

    Raises:
        InputError: no folder is given, or one that lacks `train` and `val`.
    """
    if folder is None:
        raise InputError(f"--data=tinyimagenet needs --path_to_data, the folder that holds {_FOLDER}")
    root = Path(folder)
    root = root / _FOLDER if (root / _FOLDER).is_dir() else root
    if not (root / "train").is_dir():
        raise InputError(f"--path_to_data={folder}: holds no {_FOLDER}/train")
    classes = sorted(path.name for path in (root / "train").iterdir() if path.is_dir())
    if not classes:
        raise InputError(f"{root / 'train'}: holds no folders of classes")
    if not (root / "val").is_dir():
        raise InputError(f"--path_to_data={folder}: holds no {_FOLDER}/val")
    return root, classes


def _validation(root: Path, classes: list[str]) -> list[tuple[Path, int]]:
    path = root / "val" / "val_annotations.txt"
    if not path.exists() and any((root / "val" / name).is_dir() for name in classes):
        return [(image, number) for number, name in enumerate(classes) for image in _images(root / "val" / name)]
    lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
    numbers = {name: number for number, name in enumerate(classes)}
    for position, words in enumerate(lines, 1):
        if len(words) < 2 or words[1] not in numbers:
            raise InputError(f"{path}: line {position} names no image and class of {root / 'train'}")
    return [(root / "val" / "images" / words[0], numbers[words[1]]) for words in lines]


def _images(folder: Path) -> list[Path]:
    return sorted((folder / "images" if (folder / "images").is_dir() else folder).glob("*.JPEG"))


def _rows(part: Path, images: list[tuple[Path, int]]) -> Rows:
    """All images, decoded on all cores; flattened c, y, x."""
    import tensorflow as tf

    if not images:
        raise InputError(f"{part}: holds no images")
    files = [os.fsencode(path) for path, _ in images]
    rows, at = empty_rows(len(files), 3 * _SIDE * _SIDE), 0
    dataset = tf.data.Dataset.from_tensor_slices(files).map(_decoded, tf.data.AUTOTUNE, deterministic=True)
    try:
        for batch in dataset.batch(_BATCH).prefetch(tf.data.AUTOTUNE).as_numpy_iterator():
            rows[at : at + len(batch)].reshape(-1, 3, _SIDE, _SIDE)[:] = batch.transpose(0, 3, 1, 2)
            at += len(batch)
    except tf.errors.OpError as error:
        raise _blame(files[at:], error) from None
    return Rows([rows], np.array([label for _, label in images], np.int32))


def _decoded(file):
    import tensorflow as tf

    # The slow transform is the exact one, and that of other decoders; three channels, for some images are grey.
    image = tf.io.decode_jpeg(tf.io.read_file(file), channels=3, dct_method="INTEGER_ACCURATE")
    tf.debugging.assert_equal(tf.shape(image), (_SIDE, _SIDE, 3), f"an image of {_SIDE}x{_SIDE} pixels is needed")
    return tf.ensure_shape(image, (_SIDE, _SIDE, 3))


def _blame(files: list[bytes], error: Exception) -> Exception:
    """The error with the name of the first of the files that causes one."""
    import tensorflow as tf

    for file in files:
        try:
            _decoded(tf.constant(file))
        except (tf.errors.OpError, ValueError) as fault:
            reason = " ".join(str(fault).split())[:200]
            return InputError(f"cannot read {os.fsdecode(file)}: {reason}")
    return error
