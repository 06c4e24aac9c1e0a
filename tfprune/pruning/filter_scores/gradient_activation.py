"""What the loss would change, to first order, if a channel's activations were 0."""

from __future__ import annotations

import numpy as np

from tfprune.pruning.channel_activations import Activations
from tfprune.pruning.channel_network import ChannelNetwork


def gradient_activation(network: ChannelNetwork, batches, loss, rng) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mean over examples of |mean over positions of g·z|; arguments and result as in `tfprune.pruning.filter_scores`.

    z is a channel where an activation function makes it, or in the outputs of its layers where none does, and g the
    gradient of the example's loss by it. Layers do what they do in inference. The paper divides by each layer's norm:
    `normalize="l2"`.

    Reference: Molchanov et al. 2017, arXiv 1611.06440, section 2.2, "Taylor expansion".
    """
    total, examples = [], 0
    for found in Activations(network).products(batches, loss):
        sums = [np.abs(array.mean(1)).sum(0) for _, array in found]
        total = [own + more for own, more in zip(total, sums, strict=True)] if total else sums
        classes, examples = [classes for classes, _ in found], examples + len(found[0][1])
    return [(own, values / examples) for own, values in zip(classes, total, strict=True)] if total else []
