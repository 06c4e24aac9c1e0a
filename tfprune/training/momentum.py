"""Momentum SGD whose update of a variable is one pass over it."""

from __future__ import annotations

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tfprune")
class MomentumSGD(keras.optimizers.SGD):
    """`keras.optimizers.SGD` with momentum and the same numbers: m ← μ·m − η·g, w ← w + m.

    Keras computes this in five operations, each of which reads and writes an array of the variable's size; TensorFlow
    has one operation for it.

    Args:
        learning_rate: η, a number or a Keras schedule.
        momentum: μ, above 0.
    """

    def update_step(self, gradient, variable, learning_rate):
        momentum = self.momentums[self._get_variable_index(variable)]
        inner = variable.value if isinstance(variable, keras.Variable) else variable
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=inner.handle,
            accum=momentum.value.handle,
            lr=tf.cast(learning_rate, variable.dtype),
            grad=gradient,
            momentum=tf.cast(self.momentum, variable.dtype),
        )
