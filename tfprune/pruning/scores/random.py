"""Random scores."""

from __future__ import annotations

import keras
import numpy as np

from tfprune.layers.prunable import prunable


def random(model: keras.Model, batches, masks, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Independent uniform numbers in (0, 1]; arguments and result as in `tfprune.pruning.scores`."""
    scores = {}
    for path, variable in prunable(model).items():
        values = rng.random(tuple(variable.shape), np.float32)
        np.subtract(1, values, out=values)
        values *= masks[path]
        scores[path] = values
    return scores
