"""Scales of batch normalisation as scores of the channels that it normalises."""

from __future__ import annotations

import keras
import numpy as np

from tfprune.pruning.channel_network import ChannelNetwork


def batch_norm_scale(network: ChannelNetwork, batches, loss, rng) -> list[tuple[np.ndarray, np.ndarray]]:
    """|γ| of every batch normalisation of a channel; arguments and result as in `tfprune.pruning.filter_scores`.

    No data is used. It tells channels apart once training has drawn their scales to 0, see `tfprune.NetworkSlimming`.
    The paper compares all scales of a network as they are: `normalize=None`. Channels without batch normalisation, or
    with one that has no scale, have no score.

    Reference: Liu et al. 2017, arXiv 1708.06519, section 3.
    """
    trace, found = network.trace, []
    for layer in network.model._flatten_layers():  # Keras has no public list of layers within layers
        if isinstance(layer, keras.layers.BatchNormalization) and layer.scale:
            path = trace.path_of(layer.gamma)
            for channels in trace.axes.get(path, {}).values():
                found.append((network.classes[channels], np.abs(trace.weights[path])))
    return found
