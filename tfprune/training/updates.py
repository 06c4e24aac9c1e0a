"""Optimizers that do to each weight by itself what kernels can do, step by step, without TensorFlow."""

from __future__ import annotations

import keras
import tensorflow as tf

from tfprune.engine.updates import ADAM, SGD, Rule

_PLAIN = {"weight_decay": None, "clipnorm": None, "global_clipnorm": None, "clipvalue": None, "use_ema": False}
_PLAIN |= {"loss_scale_factor": None, "gradient_accumulation_steps": None}


class Updates:
    """What an optimizer does, `keras.optimizers.SGD` without momentum or `Adam`.

    Args:
        optimizer: built.
        variables: that it trains.

    Attributes:
        rule: the kernels'.
        slots: for each slot of the rule a variable like each of `variables`.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer, variables: list[keras.Variable]):
        self._optimizer = optimizer
        self.rule, self.slots = Rule(SGD), []
        if isinstance(optimizer, keras.optimizers.Adam):
            self.rule = Rule(ADAM, (optimizer.beta_1, optimizer.beta_2, optimizer.epsilon))
            places = [optimizer._get_variable_index(variable) for variable in variables]  # no public way
            self.slots = [[slots[place] for place in places] for slots in (optimizer._momentums, optimizer._velocities)]

    def begin(self, steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Steps taken so far, int64, and the learning rate, float32, of the next ones, which count as taken then."""
        optimizer = self._optimizer
        taken = tf.identity(optimizer.iterations.value)  # read now, before they count
        optimizer.iterations.assign_add(tf.cast(steps, taken.dtype))
        return tf.cast(taken, tf.int64), tf.convert_to_tensor(optimizer.learning_rate)


def updates_of(optimizer: keras.optimizers.Optimizer, variables: list[keras.Variable]) -> Updates | None:
    """What a built optimizer does to variables; None where kernels cannot do it."""
    config = optimizer.get_config()
    is_sgd = type(optimizer) is keras.optimizers.SGD and optimizer.momentum == 0
    is_adam = type(optimizer) is keras.optimizers.Adam and not optimizer.amsgrad
    is_plain = all(config.get(name) == value for name, value in _PLAIN.items())
    is_free = not any(variable.constraint for variable in variables)
    if not ((is_sgd or is_adam) and is_plain and is_free and isinstance(config["learning_rate"], float)):
        return None
    return Updates(optimizer, variables)
