"""SynFlow: synaptic flow, without data."""

from __future__ import annotations

import weakref

import keras
import numpy as np
import tensorflow as tf

from tfprune.layers.prunable import prunable
from tfprune.pruning.gradients import traced
from tfprune.pruning.scaled_walk import Scaled, power_of_two, scaled, total_output

# Scores are the paper's while the total output R lies within 2^±40; beyond, all are over one power of two, which moves
# no rank and leaves float32's range to their differences.
LARGEST_EXPONENT = 40


def synflow(
    model: keras.Model, batches, masks, rng: np.random.Generator, *, input_shape: tuple | list | None = None
) -> dict[str, np.ndarray]:
    """|w| ∘ ∂R/∂|w|, R the sum of outputs of the linear network with kernels |w| on an input of ones.

    Biases, activations and normalisation are dropped and max-pools average. Scores are ≥ 0, and 0 where no path from
    input to output goes through the weight. Other arguments as in `tfprune.pruning.scores`.

    Args:
        input_shape: shape of one input without the batch axis, where the model leaves sizes open.

    Reference: Tanaka et al. 2020, arXiv 2006.05467, eq. 3 and algorithm 1.
    """
    own = weakref.ref(model)
    shape_key = repr(input_shape)
    function = traced(model, ("synflow", shape_key), lambda: _build(own, input_shape))
    paths = list(prunable(model))
    return {path: score.numpy() for path, score in zip(paths, function([masks[p] for p in paths]), strict=True)}


def _build(own: weakref.ref, input_shape):
    @tf.function(autograph=False)
    def scores(masks):
        model = own()
        kernels = {}
        for mask, (path, variable) in zip(masks, prunable(model).items(), strict=True):
            kernels[path] = scaled(tf.where(mask, tf.abs(tf.cast(variable.value, tf.float32)), 0.0))
        values = {path: kernel.value for path, kernel in kernels.items()}
        with tf.GradientTape() as tape:
            tape.watch(values)
            total = total_output(
                model, {path: Scaled(values[path], kernels[path].exponent) for path in kernels}, input_shape
            )
        gradients = tape.gradient(total.value, values, unconnected_gradients="zero")
        factor = power_of_two(tf.clip_by_value(total.exponent, -LARGEST_EXPONENT, LARGEST_EXPONENT))
        return [values[path] * gradients[path] * factor for path in values]

    return scores
