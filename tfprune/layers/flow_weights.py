"""What steps that are computed at once take from the variables of layers; see `tfprune.layers.flows`."""

from __future__ import annotations

import keras
import numpy as np

from tfprune.engine.geometry import Geometry
from tfprune.engine.steps import Kept
from tfprune.engine.structure import ascending_order
from tfprune.layers.kept_layers import KeptKernel
from tfprune.layers.kernel_masks import masks_of_layer


class KernelWeights:
    """Weights of a convolution.

    Attributes:
        normalisation: what follows it and goes into them, or None.
    """

    def __init__(self, layer: keras.layers.Layer, geometry: Geometry):
        self._layer, self._geometry = layer, geometry
        self.normalisation: keras.layers.BatchNormalization | None = None

    def __call__(self, values: dict[int, np.ndarray]) -> Kept:
        layer = self._layer
        if isinstance(layer, KeptKernel):
            indices, kept = values[id(layer.kernel_indices)], values[id(layer.kernel_values)]
            ascending_order(indices, self._geometry.size)  # as the layer alone refuses what cannot be
        else:
            kernel, mask = values[id(layer.kernel)], masks_of_layer(layer).get("kernel")
            kernel = (kernel if mask is None else kernel * values[id(mask)]).reshape(-1)
            indices = np.flatnonzero(kernel)
            kept = kernel[indices]
        channels = self._geometry.out_channels
        shifts = np.zeros(channels, np.float32) if layer.bias is None else values[id(layer.bias)]
        if self.normalisation is not None:
            scales, more = factors(self.normalisation, values)
            made = self._geometry.taps(indices)[3]
            kept, shifts = kept * scales[made], shifts * scales + more
        return Kept(indices, kept, shifts)


def factors(layer: keras.layers.BatchNormalization, values: dict[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Factors and shifts of a normalisation in inference, float32 (channels,)."""
    mean, variance = values[id(layer.moving_mean)], values[id(layer.moving_variance)]
    found = 1 / np.sqrt(variance + np.float32(layer.epsilon))
    found = found * values[id(layer.gamma)] if layer.scale else found
    shifts = -mean * found
    return found, shifts + values[id(layer.beta)] if layer.center else shifts


def kept_of(layer: keras.layers.Layer) -> int:
    """Number of weights of a kernel that are not pruned; without masks, that are not 0."""
    if isinstance(layer, KeptKernel):
        return layer.kernel_values.shape[0]
    mask = masks_of_layer(layer).get("kernel")
    return int(np.count_nonzero((layer.kernel if mask is None else mask).numpy()))
