"""How often a channel is not 0 on data."""

from __future__ import annotations

import numpy as np

from tfprune.pruning.channel_activations import Activations
from tfprune.pruning.channel_network import ChannelNetwork


def average_zeros(network: ChannelNetwork, batches, loss, rng) -> list[tuple[np.ndarray, np.ndarray]]:
    """1 − APoZ, the average percentage of zeros; arguments and result as in `tfprune.pruning.filter_scores`.

    Zeros are counted over examples and positions, where an activation function makes the channel, or in the outputs of
    its layers where none does. Labels are not used. Only activations that are 0 at times, as ReLU, tell channels apart.

    Reference: Hu et al. 2016, arXiv 1607.03250, eq. 1.
    """
    activations = Activations(network)
    zeros, entries = np.zeros(len(network.classes)), np.zeros(len(network.classes))
    for found in activations.values(batches):
        for classes, array in found:
            np.add.at(zeros, classes, np.count_nonzero(array == 0, axis=(0, 1)))
            np.add.at(entries, classes, array.shape[0] * array.shape[1])
    met = np.flatnonzero(entries)
    return [(met, 1 - zeros[met] / entries[met])]
