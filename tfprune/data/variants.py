"""Variants of a data set: fewer training images, labels that mean nothing, larger images, more channels.

What is random is chosen by a seed alone, so that a run and its continuation see the same set, and only among the
training images.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tfprune.data.rows import Rows, Source, empty_rows
from tfprune.errors import InputError

_SUBSAMPLE, _LABELS, _HELD_OUT = 0, 1, 2  # keeps the draws apart
_CHUNK = 1000  # images that are floats at a time


def subsampled(source: Source, fraction: float, seed: int) -> Source:
    """A data set with ceil(fraction · n) of its n training images, drawn without replacement, in their old order.

    Raises:
        InputError: a fraction outside (0, 1].
    """
    return replace(source, train=_taken(source.train, subsample(source.train.size, fraction, seed)))


def set_aside(source: Source, fraction: float, seed: int) -> tuple[Source, Rows]:
    """A data set without ceil(fraction · n) of its n training images, and those; each in their old order.

    Raises:
        InputError: a fraction outside (0, 1), or one that leaves no image for training.
    """
    size = source.train.size
    if isinstance(fraction, bool) or not 0 < fraction < 1:
        raise InputError(f"the fraction held out must be above 0 and below 1. Received: {fraction}")
    count = _count(size, fraction)
    if count >= size:
        raise InputError(f"holding out {fraction} of {size} training images leaves none to train on")
    order = np.random.default_rng((seed, _HELD_OUT)).permutation(size)
    aside, rest = (_taken(source.train, np.sort(chosen)) for chosen in (order[:count], order[count:]))
    return replace(source, train=rest), aside


def with_random_labels(source: Source, fraction: float, seed: int) -> Source:
    """A data set where ceil(fraction · n) of the n training images have labels drawn uniformly from all classes.

    Raises:
        InputError: a fraction outside (0, 1].

    Reference: Zhang et al. 2017, arXiv 1611.03530.
    """
    labels = random_labels(source.train.labels, source.classes, fraction, seed)
    return replace(source, train=Rows(source.train.parts, labels))


def resized(source: Source, side: int) -> Source:
    """A data set of side × side images, interpolated bilinearly, if its own are smaller in height or width."""
    channels, height, width = source.image_shape
    if min(height, width) >= side:
        return source
    down, along = _interpolation(height, side), _interpolation(width, side)

    def rows(given: Rows) -> Rows:
        images = _whole(given).reshape(-1, channels, height, width)
        large = empty_rows(len(images), channels * side * side)
        for start in range(0, len(images), _CHUNK):
            part = down @ images[start : start + _CHUNK].astype(np.float32) @ along.T
            large[start : start + _CHUNK] = np.rint(part).reshape(len(part), -1)
        return Rows([large], given.labels)

    shape = (channels, side, side)
    return replace(source, train=rows(source.train), validation=rows(source.validation), image_shape=shape)


def with_channels(source: Source, channels: int) -> Source:
    """A data set whose grey images have their channel several times.

    Raises:
        InputError: the images have several channels, but not so many.
    """
    found, height, width = source.image_shape
    if found == channels:
        return source
    if found != 1:
        raise InputError(f"images with {channels} channels are needed, or grey ones. Received: {found} channels")

    def rows(given: Rows) -> Rows:
        images = _whole(given)
        repeated = empty_rows(len(images), channels * images.shape[1])
        repeated.reshape(len(images), channels, -1)[:] = images[:, None]
        return Rows([repeated], given.labels)

    shape = (channels, height, width)
    return replace(source, train=rows(source.train), validation=rows(source.validation), image_shape=shape)


def _interpolation(size: int, larger: int) -> np.ndarray:
    """float32 (larger, size): what each new pixel takes of the old ones, pixels being centred in their cells."""
    at = np.clip((np.arange(larger) + 0.5) * size / larger - 0.5, 0, size - 1)
    left = np.minimum(at.astype(int), size - 2) if size > 1 else np.zeros(larger, int)
    matrix = np.zeros((larger, size), np.float32)
    np.add.at(matrix, (np.arange(larger), left), 1 - (at - left))
    np.add.at(matrix, (np.arange(larger), np.minimum(left + 1, size - 1)), at - left)
    return matrix


def subsample(size: int, fraction: float, seed: int) -> np.ndarray:
    """Ascending int64 indices of ceil(fraction · size) examples; see `subsampled`."""
    _check("subsample_fraction", fraction)
    return np.sort(np.random.default_rng((seed, _SUBSAMPLE)).permutation(size)[: _count(size, fraction)])


def random_labels(labels: np.ndarray, classes: int, fraction: float, seed: int) -> np.ndarray:
    """A copy of int32 (n,) labels, ceil(fraction · n) of them drawn anew; see `with_random_labels`."""
    _check("random_labels_fraction", fraction)
    rng = np.random.default_rng((seed, _LABELS))
    chosen = rng.permutation(len(labels))[: _count(len(labels), fraction)]
    changed = labels.copy()
    changed[chosen] = rng.integers(classes, size=len(chosen))
    return changed


def _count(size: int, fraction: float) -> int:
    # 0.3 · 10 is a little more than 3 in binary: what is meant is 3.
    return math.ceil(round(fraction * size, 6))


def _check(flag: str, fraction: float) -> None:
    if isinstance(fraction, bool) or not 0 < fraction <= 1:
        raise InputError(f"--{flag} must be above 0 and at most 1. Received: {fraction}")


def _taken(rows: Rows, chosen: np.ndarray) -> Rows:
    taken = empty_rows(len(chosen), rows.parts[0].shape[1])
    np.take(_whole(rows), chosen, axis=0, out=taken)
    return Rows([taken], rows.labels[chosen])


def _whole(rows: Rows) -> np.ndarray:
    return rows.parts[0] if len(rows.parts) == 1 else np.concatenate(rows.parts)
