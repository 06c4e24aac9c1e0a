"""Pruning in one go, by the weights of one time.

give the network the weights that it has at one time; score them; prune; [shuffle the masks]; train what is left from
the weights of the same or another time
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import keras
import numpy as np

from tfprune.layers.masks import Masks
from tfprune.layers.weights import set_weights, weights_of
from tfprune.pruning.pruner import prune
from tfprune.pruning.shuffle import shuffled_layerwise

_SHUFFLE = 1  # keeps the draw of places apart from that of scores


def one_shot_masks(
    model: keras.Model,
    scored: Mapping[str, np.ndarray] | None,
    pruner: str,
    sparsity: float,
    pruning_type: str = "direct",
    *,
    seed: int,
    shuffle: bool = False,
    ignore: Collection[str] = (),
    **options,
) -> Masks:
    """Masks by the weights of one time.

    Args:
        model: takes over those weights.
        scored: path -> array of some or all weights; None for those that the model has.
        pruner: see `tfprune.prune`, also for the next ones.
        sparsity: the target, in [0, 1).
        pruning_type: `"direct"` or `"effective"`.
        seed: of random scores, ties and shuffling.
        shuffle: afterwards, keep as many weights of each kernel in random places.
        ignore: paths of kernels that are neither pruned nor shuffled.
        **options: others of `tfprune.prune`.

    Raises:
        InputError: as `tfprune.prune`, or weights that do not fit.

    References: Vysogorets & Kempe 2021, arXiv 2107.02306; Frankle et al. 2021, arXiv 2009.08576 (shuffling).
    """
    if scored is not None:
        set_weights(model, {**weights_of(model), **scored})
    masks = prune(model, pruner, sparsity, pruning_type, seed=seed, ignore=ignore, frozen="prune", **options)
    return shuffled_layerwise(masks, np.random.default_rng((seed, _SHUFFLE)), ignore) if shuffle else masks
