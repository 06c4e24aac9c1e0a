"""The dense layer of iterative magnitude pruning with its kept weights alone, on the engine."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf
from keras import ops

from tfprune.engine.normalized import NormalizedProducts
from tfprune.engine.normalized_pass import NormalizedLayer
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
        self._rest = None if is_relu else self.activation
        vars(self)["_own"] = NormalizedLayer(input_shape[-1], self.units, is_relu, self.momentum, self.epsilon)
        vars(self)["_alone"] = NormalizedProducts([self._own])

    @classmethod
    def joined(cls, layers, pixels=None):
        """One after the other, at once, where nothing but relu is between them."""
        if any(layer._rest not in (None, keras.activations.linear) for layer in layers[:-1]):
            return None
        given = (None, None) if pixels is None else ((pixels.mean, pixels.scale), pixels.images)
        products = NormalizedProducts([layer._own for layer in layers], *given)
        return lambda inputs, training=None: _outputs(products, layers, inputs, training)

    def call(self, inputs, training=None):
        return _outputs(self._alone, [self], ops.convert_to_tensor(inputs, "float32"), training)


def _outputs(products: NormalizedProducts, layers: Sequence[NormalizedKeptDense], inputs, training):
    weights = [[layer.kernel_values, layer.gamma, layer.beta, _bias(layer)] for layer in layers]
    averages = [[layer.running_mean, layer.running_variance, layer.seen] for layer in layers]
    weights, averages = ([[*map(tf.convert_to_tensor, arrays)] for arrays in lists] for lists in (weights, averages))
    indices = [tf.convert_to_tensor(layer.kernel_indices) for layer in layers]
    outputs, found = products(inputs, weights, indices, averages, bool(training))
    if training:
        for layer, (mean, variance) in zip(layers, found, strict=True):
            layer.running_mean.assign(mean)
            layer.running_variance.assign(variance)
            layer.seen.assign(1.0)
    rest = layers[-1]._rest
    return outputs if rest is None else rest(outputs)


def _bias(layer: NormalizedKeptDense):
    return ops.zeros((layer.units,)) if layer.bias is None else ops.multiply(layer.bias, layer.bias_mask)
