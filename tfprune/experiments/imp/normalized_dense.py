"""The dense layer of iterative magnitude pruning: it normalises its own input and masks its bias too."""

from __future__ import annotations

import keras
from keras import ops

from tfprune.errors import InputError
from tfprune.layers.masked import MaskedDense


@keras.saving.register_keras_serializable("tfprune")
class NormalizedMaskedDense(MaskedDense):
    """A masked dense layer that normalises its own input: `activation((γ ∘ x̂ + β) · (W ∘ mW) + b ∘ mb)`.

    `x̂ = (x − mean) / sqrt(variance + ε)`, with the batch's statistics in training and running averages otherwise. The
    averages are those of the first batch after `reset_averages`, then `momentum · average + (1 − momentum) · batch`.

    The scale is folded into the kernel and the shift into the bias, `x̂ · (γ ∘ W ∘ mW) + (β · (W ∘ mW) + b ∘ mb)`,
    which is the same function, but the gradients of γ and β then come from the kernel's gradient: a layer on the data
    itself needs no product for the gradient of its input, a third of its cost.

    Args:
        units: number of outputs.
        momentum: decay of the running averages, in [0, 1].
        epsilon: ε above.
        **kwargs: those of `MaskedDense`.

    Reference: the normalisation of Pellegrini & Biroli 2021, arXiv 2104.13343 (their code).
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

    def _statistics(self, inputs, training):
        if not training:
            return self.running_mean, self.running_variance
        mean = ops.mean(inputs, axis=0)
        variance = ops.mean(ops.square(ops.subtract(inputs, mean)), axis=0)
        keep = self.momentum * self.seen
        self.running_mean.assign(keep * self.running_mean + (1 - keep) * ops.stop_gradient(mean))
        self.running_variance.assign(keep * self.running_variance + (1 - keep) * ops.stop_gradient(variance))
        self.seen.assign(1.0)
        return mean, variance

    def call(self, inputs, training=None):
        mean, variance = self._statistics(inputs, training)
        normalised = (inputs - mean) * ops.rsqrt(variance + self.epsilon)
        shift = ops.squeeze(ops.matmul(self.beta[None, :], self.kernel * self.kernel_mask), 0)
        outputs = self.product(normalised, self.gamma[:, None] * self.kernel, self.kernel_mask, self.product_dtype)
        outputs = outputs + (shift + self.bias * self.bias_mask)
        return outputs if self.activation is None else self.activation(outputs)

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum, "epsilon": self.epsilon}
