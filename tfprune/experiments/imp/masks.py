"""Masks of iterative magnitude pruning: each pruned layer by its own threshold, weights and biases together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tfprune.errors import InputError
from tfprune.experiments.imp.arch import LayerSpec, pruned_paths, weight_path
from tfprune.layers.masks import Masks
from tfprune.pruning.selection import largest


def prune_layerwise(
    layers: tuple[LayerSpec, ...],
    weights: Mapping[str, np.ndarray],
    masks: Masks,
    ratios: np.ndarray,
    regrow: bool = False,
) -> Masks:
    """Prunes every prunable layer to its own sparsity by magnitude.

    The magnitudes of a dense layer's kernel and bias (of a convolution's kernel) are pooled, those already pruned
    counting as 0. Everything below the element of rank `int(ratio · count)` is pruned; values equal to it are kept, as
    published, where `tfprune.prune` keeps an exact number. γ and β are never pruned.

    Args:
        layers: the architecture.
        weights: path -> float32 array; also holds what is never pruned.
        masks: those of before, of every kernel and bias.
        ratios: one sparsity in [0, 1] per prunable layer.
        regrow: published behaviour, a fault: where a mask is already sparser than its ratio asks, the threshold is 0
            and all weights of the layer come back. By default what is pruned stays pruned.

    Returns:
        New masks; those of layers that are not pruned are the old ones.

    Raises:
        InputError: a weight is NaN or infinite; names the array.

    Reference: Pellegrini & Biroli 2021, arXiv 2104.13343.
    """
    kept = dict(masks)
    for paths, ratio in zip(pruned_paths(layers), ratios, strict=True):
        magnitudes = {path: np.abs(weights[path]) * masks[path] for path in paths}
        for path, magnitude in magnitudes.items():
            if not np.isfinite(magnitude).all():
                raise InputError(f"{path} holds NaN or infinite weights: they cannot be ranked by magnitude")
        threshold = _threshold(
            [magnitude.ravel() for magnitude in magnitudes.values()], [masks[path].ravel() for path in paths], ratio
        )
        for path, magnitude in magnitudes.items():
            kept[path] = magnitude >= threshold if regrow else (magnitude >= threshold) & masks[path]
    return Masks(kept)


def _threshold(magnitudes: list[np.ndarray], masks: list[np.ndarray], ratio: float) -> float:
    """The element of rank `int(ratio · count)` of the pooled magnitudes, ∞ beyond the last."""
    size = sum(mask.size for mask in masks)
    above = size - int(float(ratio) * size)  # how many are to be no smaller
    if above <= 0:
        return np.inf
    if above > sum(map(np.count_nonzero, masks)):
        return 0.0  # one of the pruned
    return largest(magnitudes, masks, above)


def random_masks(layers: tuple[LayerSpec, ...], sparsity: float, rng: np.random.Generator) -> Masks:
    """Masks to start from: every kernel weight of a prunable layer is pruned with probability `sparsity`.

    Biases and layers that are not pruned are kept whole.
    """
    return Masks(
        {
            weight_path(index, name): rng.random(layer.shapes[name]) >= sparsity
            if layer.prunable and name == "kernel"
            else np.ones(layer.shapes[name], bool)
            for index, layer in enumerate(layers)
            for name in layer.masked
        }
    )


def unpruned_fraction(layers: tuple[LayerSpec, ...], masks: Masks) -> float:
    """Density over kernels and biases of the prunable layers (of all layers if none is prunable), in [0, 1].

    Weights and biases are ranked in one pool per layer, so both count.
    """
    pruned = {path: masks[path] for paths in pruned_paths(layers) for path in paths}
    return Masks(pruned or masks).density


def connected_fraction(layers: tuple[LayerSpec, ...], masks: Mapping[str, np.ndarray]) -> float:
    """The smallest fraction, over the pruned layers, of units that any input still reaches directly.

    Biases open no path and don't count.

    Returns:
        A fraction in [0, 1]; 1 if no layer is pruned.
    """
    kernels = [masks[kernel] for kernel, *_ in pruned_paths(layers)]
    return min((live_units(kernel) / kernel.shape[-1] for kernel in kernels), default=1.0)


def live_units(mask: np.ndarray) -> int:
    """Units (output channels) with any incoming kept weight. `mask`: (..., in, out)."""
    return int(np.any(mask, axis=tuple(range(mask.ndim - 1))).sum())


def live_inputs(mask: np.ndarray) -> int:
    """Inputs (input channels) with any outgoing kept weight. `mask`: (..., in, out)."""
    return int(np.any(mask, axis=(*range(mask.ndim - 2), mask.ndim - 1)).sum())
