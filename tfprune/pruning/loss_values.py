"""Any loss as one number for a batch with sample weights, and the part of a batch in the mean over all examples."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import InputError
from tfprune.pruning.compiled import CompiledLoss, by_keras, reduction_of
from tfprune.pruning.losses import LOSSES, Loss, of_examples, weighted_mean


def checks_labels(loss: Loss) -> bool:
    """Whether `check_labels` holds for a loss."""
    return loss in LOSSES.values() or (isinstance(loss, CompiledLoss) and loss.classifies is not None)


def loss_value(loss: Loss, labels, outputs, weights, temperature: float = 1.0) -> tf.Tensor:
    """Scalar loss of a batch: the mean over examples of weight times loss, unless the loss reduces otherwise.

    Inside a traced function only.

    Args:
        loss: from `chosen_loss`.
        labels: as the loss needs them.
        outputs: the model's.
        weights: of the examples, (batch,) or one array per output; None for none.
        temperature: divides the logits of cross-entropies; other losses take the outputs as they are.

    Raises:
        InputError: outputs, labels or weights have a form that the loss cannot use.
    """
    if isinstance(loss, CompiledLoss):
        return loss.value(labels, outputs, weights, temperature)
    if loss in LOSSES.values():
        return weighted_mean(of_examples(loss, labels, outputs, temperature), weights)
    if isinstance(loss, keras.Loss):
        return by_keras(loss, labels, outputs, weights, loss.name, reduction_of(loss))
    values = loss(labels, outputs)
    if values is None:
        raise InputError("loss= must return numbers; received None")
    values = tf.convert_to_tensor(values)
    if values.dtype.is_complex:
        raise InputError("loss= must return real numbers; received complex ones")
    if values.shape.rank == 0 and weights is not None:
        raise InputError("loss= returns one number for a batch, which sample weights cannot weigh: one per example")
    return weighted_mean(values, weights)


def batch_shares(loss: Loss, batches: int, examples: int, weights: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """How the gradients of the losses of some batches enter that of the mean over all.

    Args:
        loss: from `chosen_loss`.
        batches: their number.
        examples: in each.
        weights: sample weights, each (batches, examples, ...); empty for none.

    Returns:
        float64 (batches,), the factors of their gradients, and what they add to the divisor of the sum of all.

    Raises:
        InputError: a loss divides by the sum of sample weights, and outputs differ in it.
    """
    reduction = reduction_of(loss)
    if reduction == "mean_with_sample_weight" and weights:
        sums = [array.reshape(batches, -1).sum(1, dtype=np.float64) for array in weights]
        if any(not np.array_equal(own, sums[0]) for own in sums):
            raise InputError("outputs with different sums of sample weights have no common mean: give loss=")
        return sums[0], sums[0].sum()
    return np.full(batches, 1.0 if reduction == "sum" else examples), batches * examples
