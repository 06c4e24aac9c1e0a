"""Scores that compare weights with those of the same output alone."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np

from tfprune.layers.linear import linear_kernels
from tfprune.pruning.selection import tie_keys


def within_outputs(
    model: keras.Model, scores: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray], seed: int
) -> dict[str, np.ndarray]:
    """The part of an output's weights that come after each of them: of n weights the best has 1 − 0.5/n, the next less.

    However many are kept of a group of kernels by these, each output keeps the same part of its weights, to within one.
    What makes an output says `tfprune.layers.linear`, and of other kernels their last axis.

    Args:
        model: has the kernels.
        scores: path -> float32 array, higher is better; finite.
        masks: path -> bool array: pruned weights come last.
        seed: orders equal scores.

    Returns:
        Path -> float32 array in [0, 1); 0 where pruned.
    """
    linear = linear_kernels(model)
    found, start = {}, 0
    for path, mask in masks.items():
        shape = mask.shape
        positions = np.arange(start, start + mask.size, dtype=np.int64).reshape(shape)
        start += mask.size
        known = linear.get(path)
        arrays = (scores[path], mask, positions)
        if known is None:
            values, alive, places = (array.reshape(1, -1, shape[-1]) for array in arrays)
        else:
            values, alive, places = map(known.matrices, arrays)
        order = np.lexsort((tie_keys(places, seed), -values, ~alive), axis=1)
        parts = 1 - (np.arange(values.shape[1], dtype=np.float32) + 0.5) / values.shape[1]
        ranked = np.empty(values.shape, np.float32)
        np.put_along_axis(ranked, order, np.broadcast_to(parts[None, :, None], values.shape), axis=1)
        ranked *= alive
        found[path] = (ranked if known is None else known.kernel(ranked)).reshape(shape)
    return found
