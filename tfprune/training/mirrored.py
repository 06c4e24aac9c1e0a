"""Training on several devices: each keeps a copy of the network and takes its part of every batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from tfprune.errors import InputError
from tfprune.training.loop import TrainingLoop, right


def mirrored_strategy(devices: Sequence[str] | None = None) -> tf.distribute.MirroredStrategy:
    """The strategy in whose `scope()` model, optimizer and `MirroredLoop` are made.

    Args:
        devices: names of logical devices of one kind; None takes all GPUs.

    Raises:
        InputError: there is no GPU, and no devices are named.
    """
    if devices is None and not tf.config.list_logical_devices("GPU"):
        raise InputError("distribute = mirrored needs a GPU, and TensorFlow finds none")
    return tf.distribute.MirroredStrategy(devices)


class Several(NamedTuple):
    """How to train on several devices.

    Attributes:
        strategy: in whose scope model, optimizer and loop are made.
        loop: makes the loop: `MirroredLoop`, or what is called like it.
    """

    strategy: tf.distribute.Strategy
    loop: Callable[..., TrainingLoop]


class MirroredLoop(TrainingLoop):
    """A `TrainingLoop` over the replicas of a strategy: the same steps, up to the rounding of sums.

    A batch is made once, as on one device, and cut into parts; a part's gradients are those of its share of the
    batch's mean loss, so that parts of different sizes do no harm, and are summed over the replicas by Keras's
    optimizers. Batch normalisation takes the statistics of each part alone unless the model is one that
    `tfprune.layers.variants.with_synchronized_norm` made.

    Args:
        model: made in the strategy's scope.
        optimizer: made in the strategy's scope.
        feed: as for `TrainingLoop`.
        strategy: in whose scope this is made, too.
        **settings: those of `TrainingLoop` but `xla`.
    """

    def __init__(self, model, optimizer, feed, strategy: tf.distribute.Strategy, **settings):
        super().__init__(model, optimizer, feed, **settings)
        self._strategy = strategy
        self._replicas = strategy.num_replicas_in_sync

    def _update(self, inputs, labels):
        parts = self._parts(inputs, labels)
        results = self._strategy.run(self._update_part, (*parts, tf.cast(tf.shape(labels)[0], tf.float32)))
        wrong, loss = (self._strategy.reduce(tf.distribute.ReduceOp.SUM, result, axis=None) for result in results)
        return wrong, loss

    def _parts(self, inputs, labels):
        """Every replica's inputs and labels, as values of the strategy; the first ones get what does not divide."""
        size = labels.shape[0] if labels.shape[0] is not None else tf.shape(labels)[0]
        bounds = [-(-size * index // self._replicas) for index in range(self._replicas + 1)]

        def part(array):
            return self._strategy.experimental_distribute_values_from_function(
                lambda context: array[slice(*bounds[context.replica_id_in_sync_group :][:2])]
            )

        return part(inputs), part(labels)

    def _update_part(self, inputs, labels, size):
        with tf.GradientTape() as tape:
            logits, losses = self._losses(inputs, labels)
            loss = tf.reduce_sum(losses) / size
            scaled = self.optimizer.scale_loss(loss)
        self._descend(tape, scaled)
        return tf.reduce_sum(1 - right(logits, labels)) / size, loss

    def _with_decay(self, gradients):
        gradients = super()._with_decay(gradients)
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            gradients = self._all_or_none_finite(gradients)
        return gradients

    def _decayed(self, gradient, variable):
        # Every replica adds its share, so that the sum holds the term once.
        more = self._trained.decay.gradient(variable)
        return gradient if more is None else gradient + self.optimizer.scale_loss(more) / self._replicas

    def _all_or_none_finite(self, gradients):
        """Keras looks for overflow on one replica alone; what one replica finds, all must see."""
        bad = tf.add_n([tf.reduce_sum(gradient * 0) for gradient in gradients])  # NaN where anything is not finite
        bad = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, bad)
        return [gradients[0] + bad, *gradients[1:]]
