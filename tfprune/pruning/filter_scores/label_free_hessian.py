"""How much a model's outputs bend if a filter's weights change: no labels, no loss."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from keras import tree

from tfprune.pruning.channel_network import ChannelNetwork
from tfprune.pruning.filter_gradients import of_batches
from tfprune.pruning.losses import ending

ROUNDS = 4


def label_free_hessian(network: ChannelNetwork, batches, loss, rng) -> list[tuple[np.ndarray, np.ndarray]]:
    """mean(H)·Σw² of a filter; arguments and result as in `tfprune.pruning.filter_scores`, labels are not used.

    H is the diagonal of the mean over examples of JᵀJ, with J the derivatives of the example's outputs (what goes into
    a last softmax or sigmoid) by the filter's weights: the Hessian of half the squared distance from the outputs that
    the model has now. It is estimated as the mean of (Jᵀv)² over vectors v of random signs, four for every example.
    Layers do what they do in inference.

    Reference: after the label-free Hessian score of Sony's Model Compression Toolkit for structured pruning, which also
    multiplies a Hessian's trace over a filter by the filter's squared norm; the estimate is Hutchinson's.
    """
    total, examples, own = {}, 0, {}
    signed = _with_seeds(batches, rng)
    for size, weights, gradients in of_batches(network.model, signed, _signed_outputs, rng):
        own = weights
        # Signs of different examples have mean 0 in products: the square of the sum is the sum of squares.
        for path, gradient in gradients.items():
            total[path] = total.get(path, 0) + np.square(size * gradient.astype(np.float64))
        examples += size
    curved = network.sums({path: squares / examples for path, squares in total.items()})
    norms = network.sums({path: np.square(weight) for path, weight in own.items()})
    counts = network.sums({path: np.ones(weight.shape) for path, weight in own.items()})
    return [
        (classes, np.divide(curve * norm, count, out=np.zeros(len(curve)), where=count > 0))
        for (classes, curve), (_, norm), (_, count) in zip(curved, norms, counts, strict=True)
    ]


def _with_seeds(batches, rng: np.random.Generator):
    """Each batch so often, with seeds of signs in place of labels, and without sample weights."""
    for inputs, *_ in batches:
        size = len(tree.flatten(inputs)[0])
        for _ in range(ROUNDS):
            yield inputs, np.broadcast_to(rng.integers(2**31, size=2, dtype=np.int32), (size, 2))


def _signed_outputs(seeds: tf.Tensor, outputs) -> tf.Tensor:
    """(batch,): the sum of an example's outputs, each with a random sign."""
    total = 0.0
    for number, output in enumerate(tree.flatten(outputs)):
        below = ending(output)[1]
        output = tf.cast(output if below is None else below, tf.float32)
        drawn = tf.random.stateless_uniform(tf.shape(output), seeds[0] + number)
        signs = tf.where(drawn < 0.5, -1.0, 1.0)
        total += tf.reduce_sum(tf.reshape(signs * output, [tf.shape(output)[0], -1]), 1)
    return total
