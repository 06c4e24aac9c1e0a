"""A model that gets masks as it is: the layers stay the same objects, so that what holds the model sees them."""

from __future__ import annotations

import keras

from tfprune.layers.kernel_masks import MaskedKernels
from tfprune.layers.kinds import kind_of
from tfprune.layers.masked import MASKED
from tfprune.layers.masked_any import with_masks
from tfprune.layers.prunable import has_kernels, prunable
from tfprune.layers.topology import named_layers, require_built


def mask_in_place(model: keras.Model) -> bool:
    """Gives every layer with kernels masks that keep all, unless it has some; the model computes what it did.

    Weights, optimizer and metrics are untouched: masks are not trainable, so that the optimizer's slots still belong to
    the same variables. What Keras has traced of the model is forgotten. Functions of one's own that were traced before,
    and those of other models that share its layers, know no masks: make them anew, or compile those models anew.

    Args:
        model: built, of any kind; made within a strategy's scope, its masks are, too.

    Returns:
        Whether any layer got masks.

    Raises:
        InputError: a model without weights, or a layer with a low-rank update (LoRA); names it.
    """
    require_built(model)
    prunable(model)  # refuses low-rank updates before anything is changed
    plain = [layer for _, layer in named_layers(model) if not isinstance(layer, MaskedKernels) and has_kernels(layer)]
    with model.distribute_strategy.scope():
        for layer in plain:
            _mask(layer)
    if plain:
        model.train_function = model.test_function = model.predict_function = None
    return bool(plain)


def _mask(layer: keras.layers.Layer) -> None:
    """Makes it what `tfprune.masked` puts in its place, so that both read the same files."""
    if kind_of(layer) is None:
        with_masks(layer)
        return
    object.__setattr__(layer, "__class__", MASKED[type(layer)])
    layer._tracker.unlock()  # as Keras does for weights that come late
    layer.add_masks()
    layer._tracker.lock()
