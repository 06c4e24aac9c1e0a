"""Magnitude scores."""

from __future__ import annotations

import keras
import numpy as np

from tfprune.layers.prunable import prunable


def magnitude(model: keras.Model, batches, masks, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """|w|; arguments and result as in `tfprune.pruning.scores`.

    Reference: Han et al. 2015, arXiv 1506.02626.
    """
    return {
        path: np.abs(np.asarray(variable.value, np.float32)) * masks[path] for path, variable in prunable(model).items()
    }
