"""The dense layer of iterative magnitude pruning with its kept weights alone, on the engine."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import tensorflow as tf
from keras import ops

from tfprune.engine.normalized import NormalizedProducts
from tfprune.engine.normalized_pass import NormalizedLayer
from tfprune.engine.updates import Rule
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
        products = _products(layers, pixels)
        return lambda inputs, training=None: _outputs(products, layers, inputs, training)

    @classmethod
    def stepped(cls, layers, pixels):
        """Of layers with biases and nothing but relu between them."""
        plain = all(layer._rest in (None, keras.activations.linear) and layer.bias is not None for layer in layers)
        return NormalizedSteps(layers, _products(layers, pixels)) if plain else None

    def call(self, inputs, training=None):
        return _outputs(self._alone, [self], ops.convert_to_tensor(inputs, "float32"), training)


class NormalizedSteps:
    """Whole training steps of a classifier that is such layers one after the other, and nothing else.

    Attributes:
        variables: those that are trained.
    """

    def __init__(self, layers: Sequence[NormalizedKeptDense], products: NormalizedProducts):
        self._layers, self._products = layers, products
        weights = [(layer.kernel_values, layer.gamma, layer.beta, layer.bias) for layer in layers]
        self.variables = [variable for of_layer in weights for variable in of_layer]
        averages = [(layer.running_mean, layer.running_variance, layer.seen) for layer in layers]
        self._averages = [variable for of_kind in zip(*averages, strict=True) for variable in of_kind]

    def __call__(self, examples, labels, taken, rate, rule: Rule, slots: Sequence[Sequence[keras.Variable]]):
        """Takes steps.

        Args:
            examples, labels, taken, rate, rule: as for `NormalizedProducts.take_steps`.
            slots: for each slot of the rule a variable like each of `variables`.

        Returns:
            float32 (steps,) fractions of the batches misclassified, and losses, both before each update.
        """
        changed = [self.variables, *slots, self._averages]
        weights, *rows, averages = map(_flat, changed)
        free = tf.concat([part for layer in self._layers for part in _free(layer)], 0)
        indices = [tf.convert_to_tensor(layer.kernel_indices) for layer in self._layers]
        found = self._products.take_steps(
            *(examples, labels, taken, rate, rule, tf.cast(free, tf.float32), tf.where(free, weights, 0)),
            *(tf.reshape(rows, [rule.slots, *weights.shape]), averages, indices),
        )
        found, rows, averages, errors, losses = found
        for variables, flat in zip(changed, [tf.where(free, found, weights), *tf.unstack(rows), averages], strict=True):
            parts = tf.split(flat, [math.prod(variable.shape) for variable in variables])
            for variable, part in zip(variables, parts, strict=True):
                variable.assign(part if len(variable.shape) else part[0])
        return errors, losses


def _flat(variables: Sequence[keras.Variable]):
    return tf.concat([each.value if len(each.shape) else each.value[None] for each in variables], 0)


def _free(layer: NormalizedKeptDense) -> list:
    """What is trained of the layer: all but the biases that it masks."""
    return [tf.fill([layer.kernel_values.shape[0] + 2 * layer.gamma.shape[0]], True), layer.bias_mask.value]


def _products(layers: Sequence[NormalizedKeptDense], pixels) -> NormalizedProducts:
    given = (None, None) if pixels is None else ((pixels.mean, pixels.scale), pixels.images)
    return NormalizedProducts([layer._own for layer in layers], *given)


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
