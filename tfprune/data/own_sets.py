"""A data set of one's own, `module:name` in place of a set's name: a function that gives the images.

It takes nothing and returns `(x_train, y_train), (x_test, y_test)`, as those of `keras.datasets` do: images uint8
(n, height, width) or (n, height, width, channels), all of one shape, and integers from 0, one for each. It is called
once; what it imports is its own. Loads no TensorFlow.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tfprune.data.limits import Facts, check_val_size, train_count
from tfprune.data.rows import Rows, Source, empty_rows, pixel_mean
from tfprune.errors import InputError
from tfprune.records.own_parts import imported


def own_facts(name: str) -> Facts:
    """Shape, classes and numbers of images.

    Raises:
        InputError: no such module or function, it fails, or gives something else; names it.
    """
    (train, _), (test, _), classes = _arrays(name)
    height, width, channels = train.shape[1:]
    return Facts((channels, height, width), classes, len(train), len(test))


def load_own(name: str, data_ratio: float = 1.0, val_size: int | None = None) -> Source:
    """The first int(data_ratio · n) training images, and the first `val_size` test images (None: all).

    Raises:
        InputError: as `own_facts`, or there are not so many.
    """
    (images, labels), (test, test_labels), classes = _arrays(name)
    count, val_size = train_count(data_ratio, len(images)), check_val_size(val_size, len(test), name)
    train, validation = _rows(images[:count], labels[:count]), _rows(test[:val_size], test_labels[:val_size])
    height, width, channels = images.shape[1:]
    mean = pixel_mean(train.parts[0])
    return Source(train, validation, mean, scale=1 / 255, image_shape=(channels, height, width), classes=classes)


def _rows(images: np.ndarray, labels: np.ndarray) -> Rows:
    """Flattened c, y, x."""
    rows = empty_rows(len(images), int(np.prod(images.shape[1:])))
    rows.reshape(len(images), *np.take(images.shape, (3, 1, 2)))[:] = images.transpose(0, 3, 1, 2)
    return Rows([rows], labels.astype(np.int32))


@lru_cache(1)
def _arrays(name: str) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray], int]:
    """Training and test images (n, height, width, channels) with their labels, and the number of classes."""
    function = imported(name, "data set", {})
    if not callable(function) or isinstance(function, type):
        raise InputError(f"data set {name} must be a function that gives images; it is {function!r:.80}")
    try:
        given = function()
    except InputError:
        raise
    except Exception as error:  # code of the set's author
        raise InputError(f"data set {name} cannot be made: {type(error).__name__}: {error}") from error
    try:
        (x_train, y_train), (x_test, y_test) = given
    except (TypeError, ValueError):
        raise InputError(
            f"data set {name} must give (x_train, y_train), (x_test, y_test); it gave {type(given).__name__}"
        ) from None
    train, test = _checked(name, "train", x_train, y_train), _checked(name, "test", x_test, y_test)
    if train[0].shape[1:] != test[0].shape[1:]:
        raise InputError(
            f"data set {name}: training and test images must have one shape; they have {train[0].shape[1:]} and "
            f"{test[0].shape[1:]}"
        )
    return train, test, int(max(train[1].max(), test[1].max())) + 1


def _checked(name: str, part: str, images: object, labels: object) -> tuple[np.ndarray, np.ndarray]:
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or not images.size:
        raise InputError(
            f"data set {name}: x_{part} must be uint8 (n, height, width) or (n, height, width, channels); it is "
            f"{images.dtype} {images.shape}"
        )
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels  # as Keras gives CIFAR's
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise InputError(
            f"data set {name}: y_{part} must be {len(images)} integers from 0 on, one for each image; it is "
            f"{labels.dtype} {labels.shape}" + (f" from {labels.min()} on" if labels.size else "")
        )
    return images if images.ndim == 4 else images[..., None], labels
