"""What the loss would change, to first order, if a filter's weights were 0."""

from __future__ import annotations

import numpy as np

from tfprune.pruning.channel_network import ChannelNetwork
from tfprune.pruning.filter_gradients import of_batches


def taylor(network: ChannelNetwork, batches, loss, rng) -> list[tuple[np.ndarray, np.ndarray]]:
    """Σ (g·w)² over the weights w of a filter; arguments and result as in `tfprune.pruning.filter_scores`.

    g is the gradient of a batch's mean loss; the squares are averaged over batches, so that it matters how many
    examples a batch has. Layers do what they do in inference. The scores of all kernels have one scale, which
    `normalize=None` keeps.

    Reference: Molchanov et al. 2019, arXiv 1906.10771, section 3.1: the first-order criterion, summed over the
    parameters of a filter.
    """
    total, count = {}, 0
    for _, weights, gradients in of_batches(network.model, batches, loss, rng):
        for path, gradient in gradients.items():
            total[path] = total.get(path, 0) + np.square(gradient * weights[path])
        count += 1
    return network.sums({path: squares / count for path, squares in total.items()})
