"""The compiled training loop: many steps per call of one `tf.function`, the data already on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf


class Rows(Protocol):
    """Images as rows that can be fetched inside a compiled function (see `tfprune.data`)."""

    size: int

    def fetch(self, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """uint8 rows (B, D) and int32 labels (B,) for integer indices (B,)."""


Sampler = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
# uint8 rows (B, D), stream, step -> the model's inputs.
Preparation = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


class Decay(Protocol):
    """A term of the loss that depends on the weights alone (see `tfprune.training.decay`)."""

    def gradient(self, variable: keras.Variable) -> tf.Tensor | None:
        """Its gradient with respect to a variable, None where it is zero."""


def with_replacement(seed: int, size: int, batch_size: int) -> Sampler:
    """Batches drawn uniformly with replacement, a pure function of (seed, stream, step).

    Nothing is carried from step to step, so that training resumed at any step sees the batches it would have seen.
    """

    def sample(stream: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        # Two keys made of three numbers: the step counts in the low half, the stream in the high half.
        key = tf.stack([tf.constant(seed, tf.int64), tf.cast(stream, tf.int64) * 2**32 + tf.cast(step, tf.int64)])
        return tf.random.stateless_uniform([batch_size], key, 0, size, tf.int32)

    return sample


_STEPS_PER_XLA_CALL = 512


class TrainingLoop:
    """Trains a classifier by softmax cross-entropy, one compiled call per stretch of steps.

    Args:
        model: maps float32 rows (B, D), or what `prepare` makes of them, to logits (B, classes).
        optimizer: a Keras optimizer.
        images: the training rows.
        mean: float32 (D,), subtracted from every row.
        scale: multiplies what is left, so that the model sees `(x − mean) · scale`.
        sample: gives the batch's indices for (stream, step).
        prepare: replaces the normalisation of rows, to reshape and distort them as well.
        decay: is added to the loss that is minimised, not to the one that is reported.
        xla: compiles the loop by XLA, which pays where small operations dominate: dense layers, not convolutions on
            CPUs. The images must be resident.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        images: Rows,
        mean: np.ndarray,
        scale: float,
        sample: Sampler,
        prepare: Preparation | None = None,
        decay: Decay | None = None,
        xla: bool = False,
    ):
        self.model = model
        self.optimizer = optimizer
        self._images = images
        self._mean = tf.constant(mean, tf.float32)
        self._scale = tf.constant(scale, tf.float32)
        self._sample = sample
        self._prepare = prepare or self._normalised
        self._decay = decay
        # XLA wants to know how long the histories are; the others are told at each call.
        self._most_steps = _STEPS_PER_XLA_CALL if xla else None
        self._run = tf.function(self._stretch, autograph=False, jit_compile=True if xla else None)
        self._variables = list(model.trainable_variables)
        optimizer.build(self._variables)
        self._optimizer_start = [np.array(variable.numpy()) for variable in optimizer.variables]

    @property
    def state(self) -> list[np.ndarray]:
        """Copies of everything that training changes: model and optimizer variables."""
        return [np.array(variable.numpy()) for variable in self._state_variables()]

    @state.setter
    def state(self, arrays: list[np.ndarray]) -> None:
        for variable, array in zip(self._state_variables(), arrays, strict=True):
            variable.assign(array)

    def reset_optimizer(self) -> None:
        """Optimizer state back to its start."""
        for variable, array in zip(self.optimizer.variables, self._optimizer_start, strict=True):
            variable.assign(array)

    def run(self, start: int, stop: int, stream: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Takes steps `start .. stop - 1`.

        Args:
            start: first step.
            stop: step after the last one.
            stream: which stream of batches, for example the iteration.

        Returns:
            float32 (stop - start,) errors, the fraction of each batch misclassified before its update, and losses.
        """
        parts = []
        while start < stop or not parts:
            end = stop if self._most_steps is None else min(stop, start + self._most_steps)
            errors, losses = self._run(tf.constant(start), tf.constant(end), tf.constant(stream))
            parts.append((errors.numpy()[: end - start], losses.numpy()[: end - start]))
            start = end
        errors, losses = zip(*parts, strict=True)
        return np.concatenate(errors), np.concatenate(losses)

    def _stretch(self, start, stop, stream):
        size = stop - start if self._most_steps is None else self._most_steps
        histories = [tf.TensorArray(tf.float32, size, element_shape=()) for _ in range(2)]

        def body(step, errors, losses):
            error, loss = self._step(stream, step)
            return step + 1, errors.write(step - start, error), losses.write(step - start, loss)

        # One step at a time: an update must see the one before it.
        _, errors, losses = tf.while_loop(
            lambda step, *_: step < stop, body, (start, *histories), parallel_iterations=1
        )
        return errors.stack(), losses.stack()

    def _step(self, stream, step):
        rows, labels = self._images.fetch(self._sample(stream, step))
        inputs = self._prepare(rows, stream, step)
        with tf.GradientTape() as tape:
            logits = self.model(inputs, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        gradients = tape.gradient(loss, [variable.value for variable in self._variables])
        if self._decay is not None:
            gradients = [self._decayed(*pair) for pair in zip(gradients, self._variables, strict=True)]
        self.optimizer.apply(gradients, self._variables)
        right = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), labels)
        return 1 - tf.reduce_mean(tf.cast(right, tf.float32)), loss

    def _normalised(self, rows, stream, step):
        return normalise(rows, self._mean, self._scale)

    def _decayed(self, gradient, variable):
        more = self._decay.gradient(variable)
        return gradient if more is None else gradient + more

    def _state_variables(self):
        return [*self.model.variables, *self.optimizer.variables]


class Evaluator:
    """Counts how often the label is among a model's k largest logits, in one compiled call.

    Args:
        model: maps float32 rows (B, D) to logits (B, classes); a Keras model or a function with `training=`.
        images: the rows to evaluate on.
        mean: float32 (D,).
        scale: the model sees `(x − mean) · scale`.
        top: which k to count; a k above the number of classes counts every row.
        batch_size: rows per batch; all rows are used whatever it is.
    """

    def __init__(self, model, images: Rows, mean, scale, top: tuple[int, ...] = (1,), batch_size: int = 1000):
        self.model = model
        self._images = images
        self._mean = tf.constant(mean, tf.float32)
        self._scale = tf.constant(scale, tf.float32)
        self._top = top
        self._batch_size = min(batch_size, images.size)

    def error(self) -> np.float32:
        """Fraction of rows misclassified (by the first k of `top`)."""
        return np.float32(1) - np.float32(self.hits()[0]) / np.float32(self._images.size)

    def accuracies(self) -> list[float]:
        """One accuracy per k of `top`."""
        return [int(hit) / self._images.size for hit in self.hits()]

    def hits(self) -> np.ndarray:
        """int32, one per k of `top`: rows whose label is among the k largest logits."""
        return self._totals()[0].numpy()

    def accuracy_and_loss(self) -> tuple[float, float]:
        """Accuracy (by the first k of `top`) and mean softmax cross-entropy in nats."""
        hits, loss = self._totals()
        return int(hits[0]) / self._images.size, float(loss) / self._images.size

    @tf.function(autograph=False)
    def _totals(self):
        size, batch = self._images.size, self._batch_size
        whole = size // batch

        def body(index, hits, loss):
            more_hits, more_loss = self._count(tf.range(index * batch, (index + 1) * batch))
            return index + 1, hits + more_hits, loss + more_loss

        start = tf.constant(0), tf.zeros(len(self._top), tf.int32), tf.constant(0.0)
        _, hits, loss = tf.while_loop(lambda index, *_: index < whole, body, start, parallel_iterations=1)
        if size % batch:
            more_hits, more_loss = self._count(tf.range(whole * batch, size))
            hits, loss = hits + more_hits, loss + more_loss
        return hits, loss

    def _count(self, indices):
        rows, labels = self._images.fetch(indices)
        logits = self.model(normalise(rows, self._mean, self._scale), training=False)
        # Same tie rule as argmax: of equal logits the first class is the answer.
        hits = [
            tf.reduce_any(tf.math.top_k(logits, min(k, logits.shape[1])).indices == labels[:, None], axis=1)
            for k in self._top
        ]
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return tf.stack([tf.reduce_sum(tf.cast(hit, tf.int32)) for hit in hits]), tf.reduce_sum(losses)


def normalise(rows, mean, scale):
    """`(rows − mean) · scale` as float32; the only place where pixels become floats."""
    return (tf.cast(rows, tf.float32) - mean) * scale
