"""What dense layers have that normalise their own inputs: γ, β, a masked bias, and running averages."""

from __future__ import annotations

from keras import ops

from tfprune.errors import InputError


class NormalizedInputs:
    """Mixin in front of a class of dense layers.

    Args:
        units: number of outputs.
        momentum: decay of the running averages, in [0, 1].
        epsilon: added to the variance.
        **kwargs: those of the dense class.
    """

    def __init__(self, units, momentum=0.99, epsilon=1e-10, **kwargs):
        super().__init__(units, **kwargs)
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, input_shape):
        super().build(input_shape)
        if self.bias is not None:
            shape = self.bias.shape
            self.bias_mask = self.add_weight(
                name="bias_mask", shape=shape, initializer="ones", dtype="bool", trainable=False
            )
        width = (input_shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=width, initializer="ones")
        self.beta = self.add_weight(name="beta", shape=width, initializer="zeros")
        self.running_mean = self.add_weight(name="running_mean", shape=width, initializer="zeros", trainable=False)
        self.running_variance = self.add_weight(
            name="running_variance", shape=width, initializer="ones", trainable=False
        )
        # 0 until a first batch has been seen, then 1: the first batch replaces the averages, later ones are mixed in.
        self.seen = self.add_weight(name="seen", shape=(), initializer="zeros", trainable=False)

    def enable_lora(self, *_, **__):
        """Raises InputError: what this layer multiplies with is not its kernel alone."""
        raise InputError(f"layer {self.name!r}: {type(self).__name__} takes no low-rank update (LoRA)")

    def reset_averages(self) -> None:
        """Back to mean 0 and variance 1; the next training batch replaces them."""
        self.running_mean.assign(ops.zeros_like(self.running_mean))
        self.running_variance.assign(ops.ones_like(self.running_variance))
        self.seen.assign(0.0)

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum, "epsilon": self.epsilon}
