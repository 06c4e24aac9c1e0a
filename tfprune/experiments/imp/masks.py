"""Masks of iterative magnitude pruning: each pruned layer by its own threshold, weights and biases together."""

from __future__ import annotations

import numpy as np

from tfprune.experiments.imp.files import LayerSpec
from tfprune.pruning.shuffle import shuffled

LayerArrays = list[list[np.ndarray]]


def prune_layerwise(
    layers: tuple[LayerSpec, ...], weights: LayerArrays, masks: LayerArrays, ratios: np.ndarray, regrow: bool = False
) -> LayerArrays:
    """Prunes every prunable layer to its own sparsity by magnitude.

    The magnitudes of a dense layer's kernel and bias (of a convolution's kernel) are pooled, those already pruned
    counting as 0. Everything below the element of rank `int(ratio · count)` is pruned; values equal to it are kept, as
    published. γ and β are never pruned.

    Args:
        layers: the architecture.
        weights: per layer, arrays of which the first (convolution) or first two (dense: kernel, bias) are prunable.
        masks: per layer, bool arrays of the prunable arrays' shapes.
        ratios: one sparsity in [0, 1] per prunable layer.
        regrow: published behaviour, a fault: where a mask is already sparser than its ratio asks, the threshold is 0
            and all weights of the layer come back. By default what is pruned stays pruned.

    Returns:
        New masks; those of layers that are not pruned are the old ones.

    Reference: Pellegrini & Biroli 2021, arXiv 2104.13343.
    """
    remaining = iter(ratios)
    return [
        _prune(arrays, old, float(next(remaining)), regrow) if layer.prunable else old
        for layer, arrays, old in zip(layers, weights, masks, strict=True)
    ]


def _prune(arrays: list[np.ndarray], masks: list[np.ndarray], ratio: float, regrow: bool) -> list[np.ndarray]:
    magnitudes = [np.abs(array) * mask for array, mask in zip(arrays, masks, strict=False)]
    pooled = np.concatenate([magnitude.ravel() for magnitude in magnitudes])
    rank = int(ratio * pooled.size)
    threshold = np.partition(pooled, rank)[rank] if rank < pooled.size else np.inf
    kept = [magnitude >= threshold for magnitude in magnitudes]
    return kept if regrow else [keep & mask for keep, mask in zip(kept, masks, strict=True)]


def random_masks(layers: tuple[LayerSpec, ...], sparsity: float, rng: np.random.Generator) -> LayerArrays:
    """Masks to start from: every kernel weight of a prunable layer is pruned with probability `sparsity`.

    Biases and layers that are not pruned are kept whole.
    """
    masks = []
    for kind, params, prunable in layers:
        if kind == "p":
            masks.append([])
            continue
        shape = params[:4] if kind == "c" else params
        kernel = rng.random(shape) >= sparsity if prunable else np.ones(shape, bool)
        masks.append([kernel] if kind == "c" else [kernel, np.ones(params[1], bool)])
    return masks


def shuffled_masks(masks: LayerArrays, rng: np.random.Generator) -> LayerArrays:
    """Random masks with as many kept entries in every array as `masks` have: the same densities, no structure."""
    return [[shuffled(mask, rng) for mask in layer] for layer in masks]


def unpruned_fraction(layers: tuple[LayerSpec, ...], masks: LayerArrays) -> float:
    """Density over the prunable entries (kernels and biases) of the prunable layers, in [0, 1]."""
    kept = [array for layer, mask in zip(layers, masks, strict=True) if layer.prunable for array in mask]
    return sum(int(array.sum()) for array in kept) / sum(array.size for array in kept)
