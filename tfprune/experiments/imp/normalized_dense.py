"""The dense layer of iterative magnitude pruning: it normalises its own input and masks its bias too."""

from __future__ import annotations

import keras
from keras import ops

from tfprune.engine.rule import pays_normalized
from tfprune.experiments.imp.normalized_inputs import NormalizedInputs
from tfprune.experiments.imp.normalized_kept import NormalizedKeptDense
from tfprune.layers.masked import MaskedDense


@keras.saving.register_keras_serializable("tfprune")
class NormalizedMaskedDense(NormalizedInputs, MaskedDense):
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

    Attributes:
        kept_class: the layer with the same outputs that has the kept weights alone.
        pays: the rule by which that one is the quicker one.

    Reference: the normalisation of Pellegrini & Biroli 2021, arXiv 2104.13343 (their code).
    """

    kept_class = NormalizedKeptDense
    pays = staticmethod(pays_normalized)

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


NormalizedKeptDense.masked_class = NormalizedMaskedDense
