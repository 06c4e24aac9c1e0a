"""Gradients of each batch's mean loss, for scores of filters."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
from keras import tree

from tfprune.errors import InputError
from tfprune.layers.convert import masks_of
from tfprune.pruning.gradients import Batches, masked_weights, mean_gradients
from tfprune.pruning.losses import Loss

Arrays = dict[str, np.ndarray]


def of_batches(
    model: keras.Model, batches: Batches, loss: Loss, rng: np.random.Generator
) -> Iterator[tuple[int, Arrays, Arrays]]:
    """(number of examples, weights, gradients) of each batch, layers doing what they do in inference.

    Args:
        model: a graph, plain or masked.
        batches: see `tfprune.pruning.fitted`.
        loss: from `chosen_loss`.
        rng: for layers that draw even so.

    Returns:
        Weights and gradients are path -> array, 0 where pruned.

    Raises:
        InputError: as for `mean_gradients`; no batches.
    """
    masks = masks_of(model)
    tensors = masked_weights(model, masks)
    weights = {path: tensor.numpy() for path, tensor in tensors.items()}
    empty = True
    for batch in batches:
        empty = False
        gradients = mean_gradients(model, [batch], tensors, rng, loss, training=False)
        size = len(tree.flatten(batch[0])[0])
        yield size, weights, {path: np.where(masks[path], gradient, 0) for path, gradient in gradients.items()}
    if empty:
        raise InputError("data holds no batches")
