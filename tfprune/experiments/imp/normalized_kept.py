"""The dense layer of iterative magnitude pruning with its kept weights alone, on the engine."""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import ops

from tfprune.engine.normalized import NormalizedProduct
from tfprune.experiments.imp.normalized_inputs import NormalizedInputs
from tfprune.layers.kept_layers import KeptKernel


@keras.saving.register_keras_serializable("tfprune")
class NormalizedKeptDense(NormalizedInputs, KeptKernel, keras.layers.Dense):
    """What `NormalizedMaskedDense` computes, with the kept weights of its kernel alone.

    Args:
        units: number of outputs.
        momentum: decay of the running averages, in [0, 1].
        epsilon: added to the variance.
        **kwargs: those of `keras.layers.Dense` and of `KeptKernel`.
    """

    dense_class = keras.layers.Dense
    bias_mask = None

    def build(self, input_shape):
        super().build(input_shape)
        is_relu = self.activation is keras.activations.relu
        vars(self)["_normalized"] = NormalizedProduct(
            input_shape[-1], self.units, relu=is_relu, momentum=self.momentum, epsilon=self.epsilon
        )
        self._rest = None if is_relu else self.activation

    def call(self, inputs, training=None):
        bias = ops.zeros((self.units,)) if self.bias is None else ops.multiply(self.bias, self.bias_mask)
        weights = [*map(tf.convert_to_tensor, (self.kernel_values, self.gamma, self.beta)), bias]
        averages = [*map(tf.convert_to_tensor, (self.running_mean, self.running_variance, self.seen))]
        indices = tf.convert_to_tensor(self.kernel_indices)
        inputs = ops.convert_to_tensor(inputs, "float32")
        outputs, mean, variance = self._normalized(inputs, weights, indices, averages, bool(training))
        if training:
            self.running_mean.assign(mean)
            self.running_variance.assign(variance)
            self.seen.assign(1.0)
        return outputs if self._rest is None else self._rest(outputs)
