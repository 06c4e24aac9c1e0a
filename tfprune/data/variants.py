"""Variants of a data set: fewer training images, or labels that mean nothing. Validation stays as it is.

Both choose by a seed alone, so that a run and its continuation see the same set.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tfprune.data.rows import Rows, Source, empty_rows
from tfprune.errors import InputError

_SUBSAMPLE, _LABELS = 0, 1  # keeps the draws of the two apart


def subsampled(source: Source, fraction: float, seed: int) -> Source:
    """A data set with ceil(fraction · n) of its n training images, drawn without replacement, in their old order.

    Raises:
        InputError: a fraction outside (0, 1].
    """
    train = source.train
    chosen = subsample(train.size, fraction, seed)
    rows = empty_rows(len(chosen), train.parts[0].shape[1])
    np.take(_whole(train), chosen, axis=0, out=rows)
    return replace(source, train=Rows([rows], train.labels[chosen]))


def with_random_labels(source: Source, fraction: float, seed: int) -> Source:
    """A data set where ceil(fraction · n) of the n training images have labels drawn uniformly from all classes.

    Raises:
        InputError: a fraction outside (0, 1].

    Reference: Zhang et al. 2017, arXiv 1611.03530.
    """
    labels = random_labels(source.train.labels, source.classes, fraction, seed)
    return replace(source, train=Rows(source.train.parts, labels))


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


def _whole(rows: Rows) -> np.ndarray:
    return rows.parts[0] if len(rows.parts) == 1 else np.concatenate(rows.parts)
