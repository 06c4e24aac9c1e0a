"""Optimizers as PyTorch defines them, by name, and their learning rate over the steps."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import InputError
from tfprune.training.momentum import MomentumSGD

OPTIMIZERS = "sgd", "adam"


def make_optimizer(
    name: str, lr: float, momentum: float = 0.0, nesterov_momentum: float = 0.0, loss_scaling: bool = False
) -> keras.optimizers.Optimizer:
    """An optimizer without weight decay (see `tfprune.training.decay`) and schedule (see `TrainingLoop`).

    Args:
        name: `sgd`; or `adam`, with β₁ 0.9, β₂ 0.999 and ε 1e-8 (Kingma & Ba 2015, arXiv 1412.6980).
        lr: learning rate, or a Keras schedule over the number of updates.
        momentum: of `sgd`; 0 means none.
        nesterov_momentum: of `sgd`, instead of `momentum`: Nesterov's momentum of this size; 0 means none.
        loss_scaling: scales the loss, for layers in float16 whose gradients would vanish, and leaves out the updates
            where the gradients overflow.

    Raises:
        InputError: an unknown name, a momentum outside [0, 1), or both momenta.
    """
    for key, value in (("momentum", momentum), ("nesterov_momentum", nesterov_momentum)):
        if not 0 <= value < 1:
            raise InputError(f"{key} must be at least 0 and below 1. Received: {value}")
    if momentum and nesterov_momentum:
        raise InputError(f"give momentum or nesterov_momentum, not both. Received: {momentum} and {nesterov_momentum}")
    if name == "adam":
        optimizer = keras.optimizers.Adam(lr, beta_1=0.9, beta_2=0.999, epsilon=1e-8)
    elif name != "sgd":
        raise InputError(f"optimizer_name must be one of {', '.join(OPTIMIZERS)}. Received: {name!r}")
    elif momentum or nesterov_momentum:
        optimizer = MomentumSGD(lr, momentum or nesterov_momentum, bool(nesterov_momentum), form="pytorch")
    else:
        optimizer = keras.optimizers.SGD(lr)
    return keras.optimizers.LossScaleOptimizer(optimizer) if loss_scaling else optimizer


@keras.saving.register_keras_serializable("tfprune")
class WarmupMilestones(keras.optimizers.schedules.LearningRateSchedule):
    """η(s) = lr · min(1, s / warmup) · gammaᵐ, where m counts the milestones that s has reached.

    Args:
        lr: the rate after warmup.
        milestones: steps from which on the rate is multiplied by `gamma`, once each.
        gamma: factor; needed only with milestones.
        warmup: steps over which the rate grows from 0 in a straight line; 0 leaves them out.
    """

    def __init__(self, lr: float, milestones: Sequence[int] = (), gamma: float = 1.0, warmup: int = 0):
        self.lr, self.milestones, self.gamma, self.warmup = lr, sorted(milestones), gamma, warmup
        self._rates = [lr * gamma**count for count in range(len(self.milestones) + 1)]

    def at(self, step: int) -> float:
        """The rate at a step, in double precision."""
        rate = self._rates[int(np.searchsorted(self.milestones, step, side="right"))]
        return rate * min(1.0, step / self.warmup) if self.warmup else rate

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """float32 scalar; step is an integer scalar."""
        step = tf.cast(step, tf.int32)
        passed = tf.reduce_sum(tf.cast(step >= tf.constant(self.milestones, tf.int32), tf.int32))
        rate = tf.gather(tf.constant(self._rates, tf.float32), passed)
        if not self.warmup:
            return rate
        return rate * tf.minimum(1.0, tf.cast(step, tf.float32) / np.float32(self.warmup))

    def get_config(self) -> dict:
        return {"lr": self.lr, "milestones": self.milestones, "gamma": self.gamma, "warmup": self.warmup}


@keras.saving.register_keras_serializable("tfprune")
class Cosine(keras.optimizers.schedules.LearningRateSchedule):
    """η(s) = lr · (1 + cos(π · s / steps)) / 2.

    Args:
        lr: the rate at step 0.
        steps: where it reaches 0.

    Reference: Loshchilov & Hutter 2017, arXiv 1608.03983, without restarts.
    """

    def __init__(self, lr: float, steps: int):
        self.lr, self.steps = lr, steps

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """float32 scalar; step is an integer scalar."""
        done = tf.minimum(tf.cast(step, tf.float32) / np.float32(max(1, self.steps)), 1.0)
        return self.lr * (1 + tf.cos(np.float32(np.pi) * done)) / 2

    def get_config(self) -> dict:
        return {"lr": self.lr, "steps": self.steps}
