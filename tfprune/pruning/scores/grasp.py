"""GraSP: gradient signal preservation."""

from __future__ import annotations

import keras
import numpy as np

from tfprune.pruning.compiled import chosen_loss
from tfprune.pruning.gradients import Batches, gradient_flow_change
from tfprune.pruning.losses import Loss

TEMPERATURE = 200.0  # the logits' divisor in the authors' code


def grasp(
    model: keras.Model, batches: Batches, masks, rng: np.random.Generator, *, loss: str | Loss | None = None
) -> dict[str, np.ndarray]:
    """w ∘ Hg, signed; other arguments as in `tfprune.pruning.scores`. The batches are read twice.

    The paper's score is −w ∘ Hg, of which the highest are pruned: removing them lets the loss fall faster. Here the
    highest are kept, hence the sign.

    Args:
        loss: as in `snip`; the temperature divides the logits of cross-entropies, other losses take the outputs as
            they are.

    Reference: Wang et al. 2020, arXiv 2002.07376, eq. 8 and algorithm 2.
    """
    return gradient_flow_change(model, batches, masks, rng, chosen_loss(model, loss), TEMPERATURE)
