"""SNIP: connection sensitivity."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from tfprune.pruning.compiled import chosen_loss
from tfprune.pruning.gradients import Batches, masked_weights, mean_gradients
from tfprune.pruning.losses import Loss


def snip(
    model: keras.Model, batches: Batches, masks, rng: np.random.Generator, *, loss: str | Loss | None = None
) -> dict[str, np.ndarray]:
    """|∂L/∂m| = |g ∘ w|, g the gradient of the mean loss over all examples; arguments as in `tfprune.pruning.scores`.

    Args:
        loss: `"cross_entropy"`, `"published"` (arguments swapped, as in the code of arXiv 2107.02306) or a function of
            (labels, outputs), see `tfprune.pruning.losses.get_loss`. None: the loss that the model is compiled with,
            `"cross_entropy"` if it is not.

    Reference: Lee et al. 2019, arXiv 1810.02340, eq. 5 and 6, without the normalisation, which moves no rank.
    """
    weights = masked_weights(model, masks)
    gradients = mean_gradients(model, batches, weights, rng, chosen_loss(model, loss))
    return {path: np.asarray(tf.abs(gradients.pop(path) * weights.pop(path)), np.float32) for path in list(weights)}
