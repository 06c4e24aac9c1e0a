"""Accuracies and losses over a whole data set, in compiled functions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np
import tensorflow as tf

from tfprune.training.feeds import Rows, normalise

OfExamples = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""int32 labels (B,) and logits (B, classes) -> (B,)."""


class _Evaluator(ABC):
    """Counts how often the label is among a model's k largest logits; `top` says which k.

    `more` are further measures of examples by name, whose means are among the metrics.
    """

    def __init__(self, model, top: tuple[int, ...], more: Mapping[str, OfExamples] | None = None):
        self.model = model
        self._top, self._more = top, dict(more or {})

    def error(self) -> np.float32:
        """Fraction misclassified (by the first k of `top`)."""
        hits, _, size = self._totals()
        return np.float32(1) - np.float32(hits[0]) / np.float32(size)

    def accuracies(self) -> list[float]:
        """One accuracy per k of `top`."""
        hits, _, size = self._totals()
        return [int(hit) / int(size) for hit in hits]

    def hits(self) -> np.ndarray:
        """int32, one per k of `top`: examples whose label is among the k largest logits."""
        return self._totals()[0]

    def accuracy_and_loss(self) -> tuple[float, float]:
        """Accuracy (by the first k of `top`) and mean softmax cross-entropy in nats."""
        hits, sums, size = self._totals()
        return int(hits[0]) / int(size), float(sums[0]) / int(size)

    def metrics(self, part: str = "test") -> dict[str, float]:
        """Loss and accuracies on a test set, and further measures, by the names that logs have for them.

        Args:
            part: begins the names of loss and accuracy; those of further k are `<part>_top3`, ...
        """
        hits, sums, size = self._totals()
        found = {f"{part}_loss": float(sums[0]) / int(size)}
        for k, hit in zip(self._top, hits, strict=True):
            found[f"{part}_accuracy" if k == 1 else f"{part}_top{k}"] = int(hit) / int(size)
        return found | {name: float(total) / int(size) for name, total in zip(self._more, sums[1:], strict=True)}

    @abstractmethod
    def _totals(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Hits (one per k), sums of the losses and of the further measures, and the number of examples."""

    def _count(self, inputs, labels):
        logits = tf.cast(self.model(inputs, training=False), tf.float32)
        # Same tie rule as argmax: of equal logits the first class is the answer.
        hits = [
            tf.reduce_any(tf.math.top_k(logits, min(k, logits.shape[1])).indices == labels[:, None], axis=1)
            for k in self._top
        ]
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        values = [losses, *(of_examples(labels, logits) for of_examples in self._more.values())]
        return tf.stack([tf.reduce_sum(tf.cast(hit, tf.int32)) for hit in hits]), tf.stack(
            list(map(tf.reduce_sum, values))
        )


class Evaluator(_Evaluator):
    """Evaluates on rows that are fetched by index, in one compiled call.

    Args:
        model: maps float32 rows (B, D) to logits (B, classes); a Keras model or a function with `training=`.
        images: the rows to evaluate on.
        mean: float32 (D,).
        scale: the model sees `(x − mean) · scale`.
        top: which k to count; a k above the number of classes counts every row.
        batch_size: rows per batch; all rows are used whatever it is.
        more: see `_Evaluator`.
    """

    def __init__(
        self,
        model,
        images: Rows,
        mean,
        scale,
        top: tuple[int, ...] = (1,),
        batch_size: int = 1000,
        more: Mapping[str, OfExamples] | None = None,
    ):
        super().__init__(model, top, more)
        self._images = images
        self._mean = tf.constant(mean, tf.float32)
        self._scale = tf.constant(scale, tf.float32)
        self._batch_size = min(batch_size, images.size)

    def _totals(self):
        hits, sums = self._compiled()
        return hits.numpy(), sums.numpy(), self._images.size

    @cached_property
    def _compiled(self):
        # Traced by hand, as in the training loop: TensorFlow takes several evaluators for one that is traced too often.
        return tf.function(self._sums, autograph=False).get_concrete_function()

    def _sums(self):
        size, batch = self._images.size, self._batch_size
        whole = size // batch

        def body(index, hits, loss):
            more_hits, more_loss = self._count_rows(tf.range(index * batch, (index + 1) * batch))
            return index + 1, hits + more_hits, loss + more_loss

        start = tf.constant(0), tf.zeros(len(self._top), tf.int32), tf.zeros(1 + len(self._more))
        _, hits, loss = tf.while_loop(lambda index, *_: index < whole, body, start, parallel_iterations=1)
        if size % batch:
            more_hits, more_loss = self._count_rows(tf.range(whole * batch, size))
            hits, loss = hits + more_hits, loss + more_loss
        return hits, loss

    def _count_rows(self, indices):
        rows, labels = self._images.fetch(indices)
        return self._count(normalise(rows, self._mean, self._scale), labels)


class StreamEvaluator(_Evaluator):
    """Evaluates on the batches of a `tf.data` pipeline, one compiled call each.

    Args:
        model: maps what `prepare` makes of the inputs to logits (B, classes).
        batches: opens the pipeline: pairs of inputs and labels; every example once, the last batch may be shorter.
        top: as for `Evaluator`.
        prepare: what is still to be done on the device, for example normalisation of bytes; None: nothing.
    """

    def __init__(
        self,
        model,
        batches: Callable[[], tf.data.Dataset],
        top: tuple[int, ...] = (1,),
        prepare: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ):
        super().__init__(model, top)
        self._batches = batches
        self._prepare = prepare
        self._one = tf.function(self._batch, autograph=False, input_signature=batches().element_spec)

    def _totals(self):
        hits, loss, size = 0, np.zeros(1), 0
        for inputs, labels in self._batches():
            more_hits, more_loss = self._one(inputs, labels)
            hits, loss, size = hits + more_hits.numpy(), loss + more_loss.numpy(), size + len(labels)
        return hits, loss, size

    def _batch(self, inputs, labels):
        if self._prepare is not None:
            inputs = self._prepare(inputs)
        return self._count(tf.cast(inputs, tf.float32), tf.cast(labels, tf.int32))
