"""From a plain Keras model to a masked one and back, and the masks of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np

from tfprune.errors import InputError
from tfprune.layers.by_class import like_by_class, masked_by_class, plain_by_class
from tfprune.layers.compiling import compile_alike
from tfprune.layers.copying import layer_like, masked_layer, plain_layer, remade
from tfprune.layers.files import take_plain_weights, unreadable
from tfprune.layers.flowing import let_flow
from tfprune.layers.kept import kept_like, with_masks
from tfprune.layers.kept_layers import KeptKernel, has_kept
from tfprune.layers.kernel_masks import masked_kernels
from tfprune.layers.lora import any_lora
from tfprune.layers.masks import Masks
from tfprune.layers.misread import warn_of_misread
from tfprune.layers.own_models import warn_of_lost_class
from tfprune.layers.prunable import prunable
from tfprune.layers.state import copy_state
from tfprune.layers.subclassed import as_graph, taken_out
from tfprune.layers.topology import named_layers, require_built
from tfprune.layers.verify import check_copy
from tfprune.records.arrays import check_archive


def masked(model: keras.Model, masks: Mapping[str, np.ndarray] | None = None, *, verify: bool = True) -> keras.Model:
    """A copy of a model whose prunable layers are masked ones.

    Topology, layer names and weights are those of `model`, which stays as it is. Activations, initializers,
    regularizers, constraints, functions of `Lambda` layers and losses are the same objects; a model that is compiled
    gives a copy that is, with a new optimizer and new metrics. The copy trains with `fit`, and `save` keeps its masks;
    `load_model` reads it back. Layers that `unsupported(model)` names are copied as they are and stay dense. Low-rank
    updates (LoRA) are merged into their kernels.

    A model of an own class is copied as one where that can be, see `tfprune.layers.own_models`. One whose class builds
    its graph itself is saved as the class says, not its layers: its file is read where the class is registered.

    `load_weights` of the copy takes files of the masked model, and those of the plain one, which leave the masks alone.

    Args:
        model: built Sequential or Functional model, of Keras's class or an own one; one that has masks keeps them
            unless others are given, and so does one whose layers hold kept weights only.
        masks: path -> bool array for every path of `prunable(model)`; None keeps all weights.
        verify: runs model and copy on a small made-up input, before masks are set, and compares the outputs; nothing is
            checked where no input can be made that the model takes.

    Warns:
        UserWarning: a saved copy would be read with another activation, because a function has the name of one of
            Keras's; the model is of an own class that trains in its own way, and the copy cannot be (see
            `tfprune.layers.own_models`).

    Raises:
        InputError: a model without weights, masks that do not fit, a layer that cannot be copied, or
            a copy that computes something else than the model.
    """
    copy = with_masks(model) if has_kept(model) else _copy(model, masked_layer, masked_by_class)
    take_plain_weights(copy)
    if verify:
        check_copy(copy, model)
    if masks is not None:
        set_masks(copy, masks)
    warn_of_misread(copy)
    return copy


def strip(model: keras.Model, *, compiled: bool = True, verify: bool = True) -> keras.Model:
    """A copy of a masked model without masks, in plain Keras: pruned weights are exactly 0.

    Low-rank updates (LoRA) are merged into their kernels, under the masks.

    Args:
        model: built Sequential or Functional model.
        compiled: whether the copy is compiled where `model` is.
        verify: as for `masked`.

    Raises:
        InputError: a masked layer that has no counterpart in plain Keras, a layer that cannot be
            copied, or a copy that computes something else than the model; names it.
    """
    copy = _copy(model, plain_layer, plain_by_class, compiled)
    if verify:
        check_copy(copy, model)
    return copy


def without_masks(model: keras.Model) -> keras.Model:
    """As `strip`, not compiled, but layers of kept weights stay what they are.

    Raises:
        InputError: as for `strip`.
    """

    def convert(layer: keras.Operation) -> keras.Operation:
        return kept_like(layer) if isinstance(layer, KeptKernel) else plain_layer(layer)

    return _copy(model, convert, plain_by_class, compiled=False, kept=True)


def rebuilt(model: keras.Model, change: Callable[[keras.layers.Layer, dict], dict]) -> keras.Model:
    """A copy of a model whose layers are made of changed configurations; weights and masks are those of `model`.

    Args:
        model: built Sequential or Functional model.
        change: gives the configuration of a layer's copy; may change the one it is handed.

    Raises:
        InputError: a model without weights, or a layer that cannot be copied.
    """
    copy = _copy(model, lambda layer: layer_like(layer, None, lambda config: change(layer, config)), lambda inner: None)
    take_plain_weights(copy)
    return copy


def without_lora(model: keras.Model) -> keras.Model:
    """The model itself; where layers have low-rank updates (LoRA), a copy with them merged, not compiled.

    Where layers hold kept weights only, the masked model of the same outputs.

    Raises:
        InputError: as for `rebuilt`, or a quantized layer with an update.
    """
    require_built(model)
    model = with_masks(model)
    if not any_lora(model):
        return model
    copy = _copy(model, layer_like, like_by_class, compiled=False)
    take_plain_weights(copy)
    return copy


def load_model(path: str | Path, **arguments) -> keras.Model:
    """Reads a saved model, masked or plain.

    It is `keras.saving.load_model`, except that the masked layers are certain to be known. Keras alone reads sparse
    models, too, in a program that has used `tfprune.layers.masked` before.

    Args:
        path: a `.keras` file.
        **arguments: those of `keras.saving.load_model`.

    Raises:
        InputError: a missing, damaged or foreign file, or a class or function that is not registered with Keras; names
            it.
    """
    try:
        check_archive(path)
        model = keras.saving.load_model(path, **arguments)
    except InputError:
        raise
    except Exception as error:  # damaged bytes make zipfile, json, h5py and Keras raise almost anything
        raise unreadable(path, error) from error
    take_plain_weights(model)
    return let_flow(model)


def masks_of(model: keras.Model) -> Masks:
    """The masks of a model; all True for kernels of layers that are not masked.

    Where a layer holds kept weights only, the mask says where these are.

    Raises:
        InputError: a model without weights.
    """
    require_built(model)
    model = with_masks(model)
    masks = {id(kernel): mask for kernel, mask in masked_kernels(model)}
    return Masks(
        {
            path: masks[id(kernel)].numpy() if id(kernel) in masks else np.ones(kernel.shape, bool)
            for path, kernel in prunable(model).items()
        }
    )


def set_masks(model: keras.Model, masks: Mapping[str, np.ndarray]) -> None:
    """Replaces the masks of a masked model in place; nothing is compiled anew.

    Args:
        model: a model that `masked` made, or one built from masked layers.
        masks: path -> bool array for every path of `prunable(model)`.

    Raises:
        InputError: they do not fit, or prune a layer that has no masks; names it. Or layers hold kept weights only, and
            these masks keep others.
    """
    require_built(model)
    sparse = with_masks(model)
    masks = _as_masks(masks).check(sparse)
    if sparse is not model:
        if masks == masks_of(sparse):
            return
        raise InputError(
            f"model {model.name!r} holds kept weights only, their places are fixed: set the masks of "
            "tfprune.masked(model) and accelerate that"
        )
    pairs = list(masked_kernels(model))
    known = {id(kernel) for kernel, _ in pairs}
    paths = {id(kernel): path for path, kernel in prunable(model).items()}
    for key, path in paths.items():
        if key not in known and not masks[path].all():
            layer = path.rpartition("/")[0]
            raise InputError(f"layer {layer!r} has no masks: give tfprune.masked(model), not the plain model")
    for kernel, mask in pairs:
        mask.assign(masks[paths[id(kernel)]])


def _as_masks(masks: Mapping[str, np.ndarray]) -> Masks:
    return masks if isinstance(masks, Masks) else Masks(masks)


def _copy(model: keras.Model, convert: Callable, whole: Callable, compiled: bool = True, kept=False) -> keras.Model:
    graph = as_graph(model if kept else with_masks(model))
    copy = remade(graph, convert, whole=whole)
    warn_of_lost_class(graph, copy)
    for (path, layer), (_, new) in zip(named_layers(graph), named_layers(copy), strict=True):
        copy_state(path, layer, new)
    copy = taken_out(copy, model)
    if compiled and model.compiled:
        compile_alike(copy, model)
    return copy
