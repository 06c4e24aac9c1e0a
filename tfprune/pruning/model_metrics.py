"""Accuracy, loss or a measure of one's own over data, in one compiled function that sees the model change."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import InputError, did_you_mean
from tfprune.pruning.compiled import CompiledLoss
from tfprune.pruning.fitted import blamed, fitted
from tfprune.pruning.loss_values import batch_shares, loss_value
from tfprune.pruning.losses import Loss, ending

Metric = str | Callable[..., tf.Tensor]
METRICS = ("accuracy", "loss")


class Measure:
    """The mean of a metric over all examples of some batches.

    Args:
        model: a graph; what its variables are is seen at each call.
        batches: see `fitted`, re-iterable.
        metric: `"accuracy"` of one output; `"loss"`; or a function of (labels, outputs) in TensorFlow with one value
            per example, or one for a batch.
        loss: from `chosen_loss`, of `"loss"`.

    Raises:
        InputError: another metric.
    """

    def __init__(self, model: keras.Model, batches: Iterable[tuple], metric: Metric, loss: Loss | CompiledLoss):
        if not callable(metric) and metric not in METRICS:
            near = did_you_mean(metric, METRICS)
            raise InputError(
                f"metric must be {', '.join(METRICS)} or a function of (labels, outputs); received {metric!r}{near}"
            )
        self._model, self._batches, self._metric = model, batches, metric
        # Labels of classes are checked; a function takes them as the data have them.
        self._loss = loss if metric == "loss" else metric if callable(metric) else accuracy
        self._compute = tf.function(self._of_batch, autograph=False)

    def __call__(self) -> float:
        """As the model is now.

        Raises:
            InputError: batches that do not fit, or a metric that cannot be computed.
        """
        total, divisor = 0.0, 0.0
        for batch in self._batches:
            inputs, labels, weights = fitted(self._model, self._loss, batch)
            specs = tf.nest.map_structure(_any_length, (inputs, labels, weights))
            with blamed("metric"):
                value = float(self._compute.get_concrete_function(*specs)(*_tensors((inputs, labels, weights))))
            examples = len(tf.nest.flatten(inputs)[0])
            factor, size = float(examples), examples
            if self._metric == "loss":
                stacked = [array[None] for array in tf.nest.flatten(weights)]
                factors, size = batch_shares(self._loss, 1, examples, stacked)
                factor = float(factors[0])
            total, divisor = total + factor * value, divisor + size
        if not divisor:
            raise InputError("data holds no batches, or sample weights that sum to 0")
        return total / divisor

    def _of_batch(self, inputs, labels, weights) -> tf.Tensor:
        outputs = self._model(inputs, training=False)
        if self._metric == "loss":
            return loss_value(self._loss, labels, outputs, weights if tf.nest.flatten(weights) else None)
        return tf.reduce_mean(tf.cast(self._loss(labels, outputs), tf.float64))


def accuracy(labels, outputs) -> tf.Tensor:
    """Whether the largest of a model's outputs is that of the label; of one unit, whether it says more than even odds.

    Inside a traced function only.

    Args:
        labels: integers (batch, ...) or (batch, ..., 1), or as many numbers as `outputs`, the largest of which counts.
        outputs: (batch, ..., classes): logits or probabilities.

    Returns:
        Bool, (batch, ...).

    Raises:
        InputError: several outputs, or labels of another form.
    """
    if not tf.is_tensor(outputs) or not tf.is_tensor(labels) or outputs.shape.rank < 2:
        raise InputError(
            "metric='accuracy' needs one output (batch, ..., classes): give a function of (labels, outputs)"
        )
    units, rank = outputs.shape[-1], outputs.shape.rank
    if units == 1:
        found = outputs[..., 0] > (0.5 if ending(outputs)[0] == "Sigmoid" else 0.0)
        own = labels[..., 0] if labels.shape.rank == rank else labels
        return found == (tf.cast(own, tf.float32) > 0.5)
    found = tf.argmax(outputs, -1)
    if labels.shape.rank == rank and labels.shape[-1] == units:
        return found == tf.argmax(labels, -1)
    own = labels[..., 0] if labels.shape.rank == rank and labels.shape[-1] == 1 else labels
    if own.shape.rank != rank - 1:
        raise InputError(f"metric='accuracy': labels of shape {labels.shape} do not fit outputs of {outputs.shape}")
    return found == tf.cast(own, tf.int64)


def _any_length(array: np.ndarray) -> tf.TensorSpec:
    return tf.TensorSpec([None, *array.shape[1:]], array.dtype)


def _tensors(batch):
    return tf.nest.map_structure(tf.convert_to_tensor, batch)
