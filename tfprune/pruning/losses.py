"""Named losses that scores differentiate, on the logits of a classifier whether or not it ends in a softmax."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfprune.errors import InputError

Loss = Callable[..., tf.Tensor]

_CLIPPED = 1e-7  # probabilities are held this far from 0 and 1 before their logarithm is taken, as Keras does
_PASSED_ON = frozenset({"Identity", "Cast"})  # operations that may stand behind the last activation


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Softmax cross-entropy of each example.

    Args:
        labels: (batch, classes), one-hot or probabilities.
        logits: (batch, classes), of the same float type.

    Returns:
        (batch,).
    """
    return tf.nn.softmax_cross_entropy_with_logits(labels, logits)


def binary_cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Sigmoid cross-entropy of each example, the mean over its units. Arguments and result as for `cross_entropy`."""
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits), -1)


def published(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy with its arguments swapped, a fault of the published SNIP: −Σ p · log(labels), labels clipped.

    That is 16.118 times the probability of wrong classes: linear in p, no 1/p. Arguments and result as for
    `cross_entropy`.

    Reference: the code of Vysogorets & Kempe 2021, arXiv 2107.02306.
    """
    clipped = tf.clip_by_value(labels / tf.reduce_sum(labels, -1, keepdims=True), _CLIPPED, 1 - _CLIPPED)
    return -tf.reduce_sum(tf.nn.softmax(logits) * tf.math.log(clipped), -1)


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "published": published}


def get_loss(loss: str | Loss) -> Loss:
    """The loss of that name, or the function itself.

    A function takes the labels as the data have them and the model's raw outputs. It returns one value per example (or
    per example and position), or a scalar, which counts as the mean over the batch. A `keras.losses.Loss` also is one.

    Raises:
        InputError: an unknown name (lists the known ones), or something that cannot be called with two arguments.
    """
    if isinstance(loss, str) and loss in LOSSES:
        return LOSSES[loss]
    if not callable(loss):
        raise InputError(f"loss must be one of {', '.join(LOSSES)} or a function; received {loss!r}")
    if isinstance(loss, type):
        raise InputError(f"loss must be a function or an instance of a loss; received the class {loss.__name__}")
    try:
        inspect.signature(loss).bind(None, None)
    except TypeError as error:
        raise InputError(f"loss must be a function of (labels, outputs); received {loss!r}: {error}") from None
    except ValueError:  # no signature to look at
        pass
    return loss


def ending(outputs) -> tuple[str | None, tf.Tensor | None]:
    """("Softmax" or "Sigmoid", what goes into it) for a tensor that comes out of one, else (None, None).

    Inside a traced function only: that is where the logits below a final activation can be found.
    """
    if not tf.is_tensor(outputs):
        return None, None
    while outputs.op.type in _PASSED_ON:
        outputs = outputs.op.inputs[0]
    return (outputs.op.type, outputs.op.inputs[0]) if outputs.op.type in ("Softmax", "Sigmoid") else (None, None)


def of_examples(loss: Loss, labels: tf.Tensor, outputs, temperature: float) -> tf.Tensor:
    """A named loss of each example, on logits divided by `temperature`. One unit or sigmoids: binary cross-entropy.

    Args:
        loss: one of `LOSSES`, or `binary_cross_entropy`.
        labels: integers (batch,) or (batch, 1), or (batch, classes).
        outputs: the model's, (batch, classes).
        temperature: positive.

    Raises:
        InputError: outputs or labels have another form.
    """
    if not tf.is_tensor(outputs) or outputs.shape.rank != 2 or outputs.shape[1] is None:
        form = outputs.shape if tf.is_tensor(outputs) else f"a {type(outputs).__name__} of {len(outputs)}"
        raise InputError(
            f"the default loss needs one output of shape (batch, classes); received {form}: "
            "compile the model with its loss, or give loss=, a function of (labels, outputs)"
        )
    activation, logits = ending(outputs)
    units = outputs.shape[1]
    if loss is cross_entropy and (activation == "Sigmoid" or units == 1):
        loss = binary_cross_entropy
    elif loss is published and (activation == "Sigmoid" or units == 1):
        raise InputError("loss published needs at least two outputs, logits or softmax; received a binary classifier")
    if activation == "Softmax" and units == 1:
        raise InputError("softmax over one output is 1 whatever comes in: a binary classifier ends in a sigmoid")
    logits = outputs if logits is None else logits
    if logits.dtype != tf.float64:
        logits = tf.cast(logits, tf.float32)
    return loss(_targets(loss, labels, units, logits.dtype), logits / temperature)


def _targets(loss: Loss, labels: tf.Tensor, units: int, dtype: tf.DType) -> tf.Tensor:
    if labels.shape.rank == 2 and labels.shape[1] == units:
        return tf.cast(labels, dtype)
    column = labels.shape.rank == 1 or (labels.shape.rank == 2 and labels.shape[1] == 1)
    if column and units == 1:
        return tf.cast(tf.reshape(labels, [-1, 1]), dtype)
    if column and loss is not binary_cross_entropy:
        return tf.one_hot(tf.cast(tf.reshape(labels, [-1]), tf.int32), units, dtype=dtype)
    allowed = f"(batch, {units})" if loss is binary_cross_entropy else f"(batch,) or (batch, {units})"
    raise InputError(f"labels must have shape {allowed}; received {labels.shape}")


def weighted_mean(values: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
    """Mean of weight times value: divided by how many values there are, as Keras does, not by the sum of the weights.

    Args:
        values: (batch, ...), or a scalar without weights.
        weights: (batch,), or as many axes as `values` or fewer; None for none.

    Raises:
        InputError: weights of another shape.
    """
    if weights is None:
        return tf.reduce_mean(values)
    if not tf.is_tensor(weights):
        raise InputError("this loss has one value per example and takes one array of sample weights")
    weights = tf.cast(weights, values.dtype)
    rank = values.shape.rank
    while weights.shape.rank > rank and weights.shape[-1] == 1:
        weights = tf.squeeze(weights, -1)
    shape = weights.shape
    for _ in range(rank - weights.shape.rank):
        weights = weights[..., None]
    if weights.shape.rank != rank or not weights.shape.is_compatible_with(_any_one(weights.shape, values.shape)):
        raise InputError(f"sample weights must have shape {values.shape} or (batch,); received {shape}")
    return tf.reduce_mean(values * weights)


def check_labels(labels: np.ndarray, units: int) -> None:
    """Refuses labels that no named loss can use: a one-hot code, for example, would silently be all zero.

    Args:
        labels: of a batch.
        units: the model's outputs.

    Raises:
        InputError: names the range and the label.
    """
    if labels.dtype.kind not in "biuf" or labels.size == 0:
        raise InputError(f"labels must be numbers, at least one per batch; received {labels.dtype}{labels.shape}")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise InputError("labels hold NaN or infinite numbers")
    column = labels.ndim == 1 or labels.shape[1:] == (1,)
    lowest, highest = labels.min(), labels.max()
    if column and units == 1:
        if lowest < 0 or highest > 1:
            worst = lowest if lowest < 0 else highest
            raise InputError(
                f"labels must lie in [0, 1] for one output unit, which is binary cross-entropy; received {worst}: "
                "a model of something else needs a loss of its own (compile the model with it or give loss=) or an "
                "energy of its own (energy=)"
            )
    elif column:
        if lowest < 0 or highest >= units:
            worst = lowest if lowest < 0 else highest
            raise InputError(f"labels must lie in 0..{units - 1}, the model's outputs; received {worst}")
        if labels.dtype.kind == "f" and (labels % 1).any():
            worst = labels[labels % 1 != 0].flat[0]
            raise InputError(f"labels must be whole numbers, those of classes in 0..{units - 1}; received {worst}")
    elif lowest < 0:
        raise InputError(f"labels of shape {labels.shape} are probabilities of classes; received {lowest}")


def _any_one(given: tf.TensorShape, wanted: tf.TensorShape) -> list:
    """`wanted`, but 1 where the given shape has 1: what broadcasts."""
    return [1 if size == 1 else other for size, other in zip(given, wanted, strict=True)]
