"""Masks with the same number of kept weights in every kernel and no other structure."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from tfprune.layers.masks import Masks


def shuffled(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The entries of a mask in random places."""
    return rng.permutation(mask.ravel()).reshape(mask.shape)


def shuffled_layerwise(masks: Masks, rng: np.random.Generator, ignore: Collection[str] = ()) -> Masks:
    """Masks in which every kernel that is not ignored keeps as many weights as before, in random places.

    Reference: Frankle et al. 2021, arXiv 2009.08576, section 5.
    """
    return Masks({path: mask if path in ignore else shuffled(mask, rng) for path, mask in masks.items()})
