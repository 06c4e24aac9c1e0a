"""Layer-adaptive magnitude scores."""

from __future__ import annotations

import keras
import numpy as np

from tfprune.layers.prunable import prunable


def lamp(model: keras.Model, batches, masks, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """w² / Σ of the layer's squares that are at least w²; arguments and result as in `tfprune.pruning.scores`.

    The largest weight of every layer scores 1, so a global threshold below 1 never empties a layer. Squares are summed
    in float64, from the largest down.

    Reference: Lee et al. 2021, arXiv 2010.07611, eq. 1.
    """
    return {
        path: _layer(np.asarray(variable.value, np.float32), masks[path]) for path, variable in prunable(model).items()
    }


def _layer(weights: np.ndarray, mask: np.ndarray) -> np.ndarray:
    # What is no longer needed is overwritten: float64 squares and int64 positions are twice as large as the weights.
    kept = np.flatnonzero(mask)
    squares = np.square(weights.ravel()[kept], dtype=np.float64)
    order = np.argsort(squares)[::-1]
    kept = kept[order]
    squares = squares[order]
    del order
    sums = np.cumsum(squares)
    np.divide(squares, sums, out=squares, where=sums > 0)  # a layer of zeros has no scale: 0, not 0/0
    scores = np.zeros(weights.size, np.float32)
    scores[kept] = squares
    return scores.reshape(weights.shape)
