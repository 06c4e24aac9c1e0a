"""SynFlow: synaptic flow, without data."""

from __future__ import annotations

import weakref
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from tfprune.connectivity.graph import known_rules
from tfprune.layers.barriers import barriers, meet, refuses
from tfprune.layers.prunable import prunable
from tfprune.layers.traced import traced
from tfprune.pruning.scaled_walk import total_output


def synflow(
    model: keras.Model, batches, masks, rng: np.random.Generator, *, input_shape: tuple | list | None = None
) -> dict[str, np.ndarray]:
    """|w| ∘ ∂R/∂|w| over a power of two common to all, R the sum of outputs of the linear network with kernels |w|.

    Its input is all ones; biases, activations and normalisation are dropped and max-pools average. A barrier with
    kernels runs its own call, see `tfprune.connectivity.own_call`; one without gives the mean of what it reads. What
    recurrent layers do says `tfprune.connectivity.rules_recurrent`. Scores are ≥ 0, and 0 where no path from input to
    output goes through the weight. Other arguments as in `tfprune.pruning.scores`.

    Args:
        input_shape: shape of one input without the batch axis, where the model leaves sizes open.

    Reference: Tanaka et al. 2020, arXiv 2006.05467, eq. 3 and algorithm 1.
    """
    return flow(model, masks, input_shape)[0]


def flow(model: keras.Model, masks: Mapping[str, np.ndarray], input_shape=None) -> tuple[dict[str, np.ndarray], int]:
    """SynFlow's scores and the exponent e that was taken out: the paper's score is `score · 2^e`.

    With e, scores of networks whose flow no float can hold keep float32's full range; it moves no rank.
    """
    own = weakref.ref(model)
    key = "synflow", repr(input_shape), refuses(), known_rules()
    function = traced(model, key, lambda: _build(own, input_shape))
    paths = list(prunable(model))
    scores, exponent = function([masks[path] for path in paths])
    return {path: np.asarray(score) for path, score in zip(paths, scores, strict=True)}, int(exponent)


def _build(own: weakref.ref, input_shape):
    met: weakref.WeakValueDictionary[int, keras.Operation] = weakref.WeakValueDictionary()

    @tf.function(autograph=False)
    def scores(masks):
        model = own()
        variables = prunable(model).items()
        # A product masks faster than a selection, and on big kernels every pass counts.
        kernels = {
            path: tf.abs(tf.cast(variable.value, tf.float32)) * tf.cast(mask, tf.float32)
            for (path, variable), mask in zip(variables, masks, strict=True)
        }
        with tf.GradientTape() as tape:
            tape.watch(kernels)
            with barriers(model, "refuse" if refuses() else "barrier") as here:
                total = total_output(model, kernels, input_shape)
        met.update(here.met)
        gradients = tape.gradient(total.value, kernels, unconnected_gradients="zero")
        return [kernels[path] * gradients[path] for path in kernels], total.exponent

    def named(masks):
        found = scores(masks)
        for operation in met.values():
            meet(operation)  # it is traced once, and each call names its barriers
        return found

    return named
