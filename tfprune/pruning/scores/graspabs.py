"""|GraSP|: GraSP's score without its sign."""

from __future__ import annotations

import keras
import numpy as np

from tfprune.pruning.compiled import chosen_loss
from tfprune.pruning.gradients import Batches, gradient_flow_change
from tfprune.pruning.losses import Loss

TEMPERATURE = 200.0  # as for GraSP


def graspabs(
    model: keras.Model, batches: Batches, masks, rng: np.random.Generator, *, loss: str | Loss | None = None
) -> dict[str, np.ndarray]:
    """|w ∘ Hg|: weights are kept that change the gradient flow most, up or down.

    Other arguments as in `tfprune.pruning.scores`; the batches are read twice.

    Args:
        loss: as in `snip`; the temperature divides the logits of cross-entropies, other losses take the outputs as
            they are.

    Reference: Frankle et al. 2021, arXiv 2009.08576, appendix on GraSP variants.
    """
    changes = gradient_flow_change(model, batches, masks, rng, chosen_loss(model, loss), TEMPERATURE)
    return {path: np.abs(change) for path, change in changes.items()}
