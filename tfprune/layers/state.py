"""The state of a layer in its copy: variables, and what is none, such as the table of a vocabulary."""

from __future__ import annotations

from collections.abc import Iterator

import keras
from keras import ops, tree

from tfprune.errors import InputError
from tfprune.layers.kernel_masks import KernelMasks, masks_of_layer, masks_within
from tfprune.layers.kinds import plain_type
from tfprune.layers.lora import merged_values
from tfprune.layers.prunable import kernels_of
from tfprune.layers.stored_beside import without_masks
from tfprune.records.atomic import temporary_folder

_LOOKUPS = keras.layers.StringLookup, keras.layers.IntegerLookup


def copy_state(path: str, layer: keras.layers.Layer, new: keras.layers.Layer) -> None:
    """All state but masks, which one of the two may lack; pruned weights become 0 where the new layer has none.

    Low-rank updates (LoRA) are merged into their kernels.

    Raises:
        InputError: the two have other variables; names `path`.
    """
    build_inner(layer, new)
    masks, new_masks = masks_of_layer(layer), masks_of_layer(new)
    old_variables = merged_values(layer, _without_masks(layer))
    new_variables = _without_masks(new)
    if [variable.shape for variable in old_variables] != [variable.shape for variable in new_variables]:
        raise InputError(f"layer {path!r} ({type(layer).__name__}) cannot be copied: its copy has other variables")
    for old, variable in zip(old_variables, new_variables, strict=True):
        variable.assign(old)
    take_over(layer, new)
    for name, mask in masks.items():
        if name in new_masks:
            new_masks[name].assign(mask)
        else:
            kernel = kernels_of(new)[name]
            kernel.assign(ops.where(mask, kernel, ops.zeros_like(kernel)))


def build_inner(layer: keras.layers.Layer, new: keras.layers.Layer) -> None:
    """Builds what is built in one of them only: an activation with weights gets them when numbers first meet it."""
    for old, other in _pairs(layer, new):
        config = old.get_build_config() if old.built and not other.built else None
        if config:
            other.build_from_config(config)


def build_alike(layer: keras.Operation, new: keras.Operation) -> None:
    """Builds the copy of an own layer that was called with several shapes: a graph may begin with another one of them.

    Args:
        layer: of a graph.
        new: is called with the same shapes.
    """
    if not isinstance(layer, keras.layers.Layer) or new.built or type(layer).__module__.startswith("keras."):
        return
    shapes = {tuple(tuple(x.shape) for x in node.input_tensors) for node in layer._inbound_nodes}
    config = layer.get_build_config() if len(shapes) > 1 else None
    if config:
        new.build_from_config(config)


def take_over(layer: keras.layers.Layer, new: keras.layers.Layer) -> None:
    """The state that is in no variable, of a layer whose variables were assigned, and of all layers within it."""
    for old, other in _pairs(layer, new):
        if isinstance(other, keras.layers.Normalization):
            other.finalize_state()  # it computes with tensors that it makes of its variables
        elif isinstance(other, keras.layers.RNN) and old.stateful and old.states is not None:
            for state, new_state in zip(tree.flatten(old.states), tree.flatten(other.states), strict=True):
                new_state.assign(state)  # variables that Keras does not count among a layer's
        elif not type(other).__module__.startswith("keras."):
            _copy_own(old, other)


def copy_vocabularies(layer: keras.layers.Layer, new: keras.layers.Layer) -> None:
    """Vocabularies of lookup layers, also within others, before `new` is called: the shape of its outputs needs them.

    Those that a layer was constructed with are in its configuration.
    """
    for old, other in _pairs(layer, new):
        if isinstance(other, _LOOKUPS):
            _copy_vocabulary(old, other)


def _copy_vocabulary(old: keras.layers.Layer, new: keras.layers.Layer) -> None:
    if old.input_vocabulary is not None or old.vocabulary_size() <= old._token_start_index():
        return
    weights = old.idf_weights_const.numpy() if old.output_mode == "tf_idf" else None
    vocabulary = old.get_vocabulary()
    new.set_vocabulary(vocabulary, idf_weights=None if weights is None else weights[: len(vocabulary)])


def _copy_own(old: keras.layers.Layer, new: keras.layers.Layer) -> None:
    """What a user's layer writes into a model's file by methods of its own, variables aside."""
    plain = plain_type(new)
    if not plain.load_own_variables.__module__.startswith("keras.") and not isinstance(new, KernelMasks):
        store: dict = {}
        with without_masks(old), without_masks(new):
            if [one.shape for one in old.variables] == [one.shape for one in new.variables]:
                values = [variable.numpy() for variable in new.variables]
                plain.save_own_variables(old, store)
                plain.load_own_variables(new, store)
                for variable, value in zip(new.variables, values, strict=True):
                    variable.assign(value)
    if hasattr(new, "load_assets"):
        with temporary_folder() as folder:
            old.save_assets(str(folder))
            new.load_assets(str(folder))


def _pairs(layer: keras.layers.Layer, new: keras.layers.Layer) -> Iterator[tuple]:
    """(layer, its copy) of a layer and all within it; what one of them has not made yet is left out."""
    yield layer, new
    inner = (list(one._flatten_layers(include_self=False, recursive=True)) for one in (layer, new))
    yield from ((old, other) for old, other in zip(*inner, strict=False) if type(old) is type(other))


def _without_masks(layer: keras.layers.Layer) -> list[keras.Variable]:
    masks = masks_within(layer)
    return [variable for variable in layer.variables if id(variable) not in masks]
