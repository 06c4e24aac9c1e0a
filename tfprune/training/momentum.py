"""Momentum SGD whose update of a variable is one pass over it."""

from __future__ import annotations

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tfprune")
class MomentumSGD(keras.optimizers.SGD):
    """`keras.optimizers.SGD` with momentum, in one operation per variable.

    Keras computes this in five operations, each of which reads and writes an array of the variable's size; TensorFlow
    has one operation for it. The two forms differ where the learning rate changes during training:

    - Keras: m ← μ·m − η·g, w ← w + m. With Nesterov's momentum, w ← w + μ·m − η·g.
    - PyTorch: v ← μ·v + g, w ← w − η·v. With Nesterov's momentum, w ← w − η·(g + μ·v).

    Args:
        learning_rate: η, a number or a Keras schedule.
        momentum: μ, above 0.
        nesterov: whether the momentum is Nesterov's.
        form: `keras` or `pytorch`.
        **kwargs: those of `keras.optimizers.SGD`.
    """

    def __init__(self, learning_rate=0.01, momentum=0.9, nesterov=False, form="keras", **kwargs):
        super().__init__(learning_rate, momentum, nesterov, **kwargs)
        self.form = form
        self._update = {
            "keras": tf.raw_ops.ResourceApplyKerasMomentum,
            "pytorch": tf.raw_ops.ResourceApplyMomentum,
        }[form]

    def update_step(self, gradient, variable, learning_rate):
        momentum = self.momentums[self._get_variable_index(variable)]
        inner = variable.value if isinstance(variable, keras.Variable) else variable
        self._update(
            var=inner.handle,
            accum=momentum.value.handle,
            lr=tf.cast(learning_rate, variable.dtype),
            grad=gradient,
            momentum=tf.cast(self.momentum, variable.dtype),
            use_nesterov=self.nesterov,
        )

    def get_config(self):
        return {**super().get_config(), "form": self.form}
