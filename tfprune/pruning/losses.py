"""Losses that scores differentiate, on the logits of a classifier whether or not it ends in a softmax."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfprune.errors import InputError

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

_CLIPPED = 1e-7  # probabilities are held this far from 0 and 1 before their logarithm is taken, as Keras does


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Mean softmax cross-entropy.

    Args:
        labels: float32 (batch, classes), one-hot.
        logits: float32 (batch, classes).

    Returns:
        float32 scalar.
    """
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels, logits))


def published(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy with its arguments swapped, a fault of the published SNIP: −Σ p · log(labels), labels clipped.

    That is 16.118 times the mean probability of wrong classes: linear in p, no 1/p. Arguments as for `cross_entropy`.

    Reference: the code of Vysogorets & Kempe 2021, arXiv 2107.02306.
    """
    clipped = tf.clip_by_value(labels / tf.reduce_sum(labels, -1, keepdims=True), _CLIPPED, 1 - _CLIPPED)
    return -tf.reduce_mean(tf.reduce_sum(tf.nn.softmax(logits) * tf.math.log(clipped), -1))


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "published": published}


def get_loss(loss: str | Loss) -> Loss:
    """The loss of that name, or the function itself.

    A function takes the labels as the data have them and the model's raw outputs, and returns a scalar or one value per
    example.

    Raises:
        InputError: an unknown name; lists the known ones.
    """
    if callable(loss):
        return loss
    if loss not in LOSSES:
        raise InputError(f"loss must be one of {', '.join(LOSSES)} or a function; received {loss!r}")
    return LOSSES[loss]


def loss_value(loss: Loss, labels: tf.Tensor, outputs: tf.Tensor, temperature: float = 1.0) -> tf.Tensor:
    """Scalar loss of a batch; named losses get logits divided by `temperature`, a function the outputs so divided.

    Inside a traced function only: that is where the logits below a final softmax can be found.

    Args:
        loss: from `get_loss`.
        labels: for named losses integers (batch,) or (batch, 1), or one-hot (batch, classes).
        outputs: the model's, (batch, classes) for named losses.
        temperature: positive.

    Raises:
        InputError: outputs or labels of a named loss have another form.
    """
    if loss not in LOSSES.values():
        return tf.reduce_mean(loss(labels, outputs / temperature))
    if not tf.is_tensor(outputs) or outputs.shape.rank != 2 or outputs.shape[1] < 2 or outputs.op.type == "Sigmoid":
        form = outputs.shape if tf.is_tensor(outputs) else type(outputs).__name__
        raise InputError(
            f"the default loss needs one output of shape (batch, classes), logits or softmax; received {form}: "
            "give loss=, a function of (labels, outputs)"
        )
    logits = tf.cast(outputs.op.inputs[0] if outputs.op.type == "Softmax" else outputs, tf.float32)
    return loss(_one_hot(labels, outputs.shape[1]), logits / temperature)


def check_labels(labels: np.ndarray, classes: int) -> None:
    """Refuses integer labels that are no class of the model: a one-hot code would silently be all zero.

    Raises:
        InputError: names the range and the label.
    """
    values = np.asarray(labels)
    if values.dtype.kind not in "iuf" or values.size == 0:
        raise InputError(f"labels must be numbers, at least one per batch; received {values.dtype}{values.shape}")
    if (values.ndim == 1 or values.shape[1:] == (1,)) and (values.min() < 0 or values.max() >= classes):
        worst = values.min() if values.min() < 0 else values.max()
        raise InputError(f"labels must lie in 0..{classes - 1}, the model's outputs; received {worst}")


def _one_hot(labels: tf.Tensor, classes: int) -> tf.Tensor:
    if labels.shape.rank == 2 and labels.shape[1] == classes:
        return tf.cast(labels, tf.float32)
    if labels.shape.rank == 1 or (labels.shape.rank == 2 and labels.shape[1] == 1):
        return tf.one_hot(tf.cast(tf.reshape(labels, [-1]), tf.int32), classes)
    raise InputError(f"labels must have shape (batch,) or (batch, {classes}); received {labels.shape}")
