"""From a plain Keras model to a masked one and back, and the masks of a model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np
from keras import ops, tree

from tfprune.errors import InputError
from tfprune.layers.kernel_masks import KernelMasks, masks_of_layer
from tfprune.layers.lora import any_lora, merged_config, merged_values
from tfprune.layers.masked import MASKED
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import KERNELS, kernel_class, kernels_of
from tfprune.layers.topology import named_layers, require_graph, run


def masked(model: keras.Model, masks: Mapping[str, np.ndarray] | None = None) -> keras.Model:
    """A copy of a model whose prunable layers are masked ones.

    Topology, layer names and weights are those of `model`, which stays as it is, and so are the arguments of `compile`
    where Keras can serialise them. The copy trains with `compile` and `fit`, and `save` keeps its masks; `load_model`
    reads it back. Layers that `unsupported(model)` names are copied as they are and stay dense. Low-rank updates (LoRA)
    are merged into their kernels.

    Args:
        model: built Sequential or Functional model; one that has masks keeps them unless others are given.
        masks: path -> bool array for every path of `prunable(model)`; None keeps all weights.

    Raises:
        InputError: a subclassed model or one without weights, masks that do not fit, or a layer that cannot be copied.
    """
    require_graph(model)
    copy = _copy(model, _masked_layer)
    if masks is not None:
        set_masks(copy, masks)
    return copy


def strip(model: keras.Model, *, compiled: bool = True) -> keras.Model:
    """A copy of a masked model without masks, in plain Keras: pruned weights are exactly 0.

    Low-rank updates (LoRA) are merged into their kernels, under the masks.

    Args:
        model: built Sequential or Functional model.
        compiled: whether the copy is compiled where `model` is.

    Raises:
        InputError: a subclassed model, or a masked layer that has no counterpart in plain Keras; names it.
    """
    require_graph(model)
    return _copy(model, plain_layer, compiled)


def rebuilt(model: keras.Model, change: Callable[[keras.layers.Layer, dict], dict]) -> keras.Model:
    """A copy of a model whose layers are made of changed configurations; weights and masks are those of `model`.

    Args:
        model: built Sequential or Functional model.
        change: gives the configuration of a layer's copy; may change the one it is handed.

    Raises:
        InputError: a subclassed model or one without weights, or a layer that cannot be copied.
    """
    require_graph(model)
    return _copy(model, lambda layer: _from_config(layer, type(layer), lambda: change(layer, layer.get_config())))


def without_lora(model: keras.Model) -> keras.Model:
    """The model itself; where layers have low-rank updates (LoRA), a copy with them merged, not compiled.

    Raises:
        InputError: as for `rebuilt`, or a quantized layer with an update.
    """
    require_graph(model)
    if not any_lora(model):
        return model
    return _copy(model, lambda layer: _from_config(layer, type(layer), layer.get_config), compiled=False)


def load_model(path: str | Path, **arguments) -> keras.Model:
    """Reads a saved model, masked or plain.

    It is `keras.saving.load_model`, except that the masked layers are certain to be known. Keras alone reads sparse
    models, too, in a program that has used `tfprune.layers.masked` before.

    Args:
        path: a `.keras` file.
        **arguments: those of `keras.saving.load_model`.

    Raises:
        InputError: a missing, damaged or foreign file, or a layer that is not registered with Keras.
    """
    try:
        return keras.saving.load_model(path, **arguments)
    except Exception as error:  # damaged bytes make zipfile, json, h5py and Keras raise almost anything
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(f"cannot read {path}: not a Keras model, or a damaged one ({reason[:200]})") from error


def masks_of(model: keras.Model) -> Masks:
    """The masks of a model; all True for kernels of layers that are not masked.

    Raises:
        InputError: a subclassed model or one without weights.
    """
    require_graph(model)
    found = {}
    for path, layer in named_layers(model):
        variables = masks_of_layer(layer)
        for name, kernel in kernels_of(layer).items():
            array = np.ones(kernel.shape, bool) if name not in variables else variables[name].numpy() != 0
            found[f"{path}/{name}"] = array
    return Masks(found)


def set_masks(model: keras.Model, masks: Mapping[str, np.ndarray]) -> None:
    """Replaces the masks of a masked model in place; nothing is compiled anew.

    Args:
        model: a model that `masked` made, or one built from masked layers.
        masks: path -> bool array for every path of `prunable(model)`.

    Raises:
        InputError: they do not fit, or prune a layer that has no masks; names it.
    """
    masks = _as_masks(masks).check(model)
    for path, layer in named_layers(model):
        variables = masks_of_layer(layer)
        for name in kernels_of(layer):
            mask = masks[f"{path}/{name}"]
            if name in variables:
                variables[name].assign(mask.astype(np.float32))
            elif not mask.all():
                raise InputError(f"layer {path!r} has no masks: give tfprune.masked(model), not the plain model")


def _as_masks(masks: Mapping[str, np.ndarray]) -> Masks:
    return masks if isinstance(masks, Masks) else Masks(masks)


def remade(model: keras.Model, convert: Callable, input_shape: Callable | None = None) -> keras.Model:
    """The graph of a model with other layers, which have initial weights.

    Args:
        model: built Sequential or Functional model.
        convert: from a layer or operation to the one in its place.
        input_shape: from an input tensor of the model or a nested one to the shape, with batch axis, in its place; None
            keeps all shapes.
    """
    copies: dict[int, keras.Operation] = {}  # shared layers and shared models stay shared

    def input_like(tensor):
        shape = tensor.shape if input_shape is None else input_shape(tensor)
        return keras.Input(batch_shape=shape, dtype=tensor.dtype, sparse=tensor.sparse, name=tensor.name)

    def copy_of(operation: keras.Operation) -> keras.Operation:
        if id(operation) not in copies:
            inner = isinstance(operation, keras.Model)
            copies[id(operation)] = _copy_graph(operation, copy_of, input_like) if inner else convert(operation)
        return copies[id(operation)]

    return copy_of(model)


def plain_layer(layer: keras.Operation, change: Callable[[dict], dict] = lambda config: config) -> keras.Operation:
    """A new layer of the plain class of a masked one, or of a plain layer's own class.

    Args:
        layer: anything in a model's graph; a Keras operation that is no layer is given back.
        change: from the layer's configuration to that of the new one.

    Raises:
        InputError: a masked layer that has no counterpart in plain Keras, or a layer that cannot be copied; names it.
    """
    if not isinstance(layer, KernelMasks):
        return _from_config(layer, type(layer), lambda: change(_plain_config(layer)))
    if type(layer) is not MASKED[layer.plain_class]:
        raise InputError(f"layer {layer.name!r}: {type(layer).__name__} has no counterpart in plain Keras")
    return _from_config(layer, layer.plain_class, lambda: change(_plain_config(layer)))


def _copy(model: keras.Model, convert: Callable, compiled: bool = True) -> keras.Model:
    copy = remade(model, convert)
    for (path, layer), (_, new) in zip(named_layers(model), named_layers(copy), strict=True):
        _copy_values(path, layer, new)
    if compiled and model.compiled:
        _compile_alike(copy, model)
    return copy


def _compile_alike(copy: keras.Model, model: keras.Model) -> None:
    try:
        copy.compile_from_config(model.get_compile_config())
    except (TypeError, ValueError, NotImplementedError) as error:
        # A loss that is a plain function of the user's, for example; the model itself is fine.
        reason = str(error).strip().splitlines()[0]
        warnings.warn(f"the copy of {model.name!r} is not compiled, call compile yourself: {reason}", stacklevel=4)


def _copy_graph(model: keras.Model, copy_of: Callable, input_like: Callable) -> keras.Model:
    if isinstance(model, keras.Sequential):
        # Not the model's layers alone: what came before its first layer says the input's shape and type.
        return _same_kind(model, [input_like(model.inputs[0]), *(copy_of(layer) for layer in model.layers)])
    inputs = tree.map_structure(input_like, model.input)

    def call(operation: keras.Operation, *args, **kwargs):
        if kwargs.get("mask", args) is None:  # what stands in a layer's place may know of no masks
            del kwargs["mask"]
        return copy_of(operation)(*args, **kwargs)

    outputs = run(model, tree.flatten(inputs), call)
    return _same_kind(model, inputs, tree.pack_sequence_as(model.output, outputs))


def _same_kind(model: keras.Model, *arguments) -> keras.Model:
    try:
        copy = type(model)(*arguments, name=model.name)
    except TypeError as error:
        raise InputError(f"model {model.name!r}: {type(model).__name__} cannot be copied ({error})") from error
    copy.trainable = model.trainable
    return copy


def _plain_config(layer: keras.layers.Layer) -> dict:
    """The configuration without what a program that does not know `tfprune` could not read."""
    config = layer.get_config()
    if isinstance(layer, KernelMasks):
        config.pop("product_dtype", None)
    for key, value in config.items():
        if isinstance(value, dict) and str(value.get("registered_name")).startswith("tfprune>Binary"):
            config[key] = "zeros"  # the weights are copied
    return config


def _masked_layer(layer: keras.Operation) -> keras.Operation:
    base = None if isinstance(layer, KernelMasks) else kernel_class(layer)
    return _from_config(layer, type(layer) if base is None else MASKED[base], layer.get_config)


def _from_config(layer: keras.Operation, target: type, config: Callable[[], dict]) -> keras.Operation:
    if not isinstance(layer, keras.layers.Layer):
        return layer  # a Keras operation has no state and may stand in two graphs
    try:
        return target.from_config(merged_config(layer, config()))
    except (TypeError, ValueError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"layer {layer.name!r} ({type(layer).__name__}) cannot be copied: {reason}") from error


def _copy_values(path: str, layer: keras.layers.Layer, new: keras.layers.Layer) -> None:
    """All variables but masks, which one of the two may lack; pruned weights become 0 where the new layer has none."""
    masks, new_masks = masks_of_layer(layer), masks_of_layer(new)
    old_variables = merged_values(layer, _without(layer.variables, masks.values()))
    new_variables = _without(new.variables, new_masks.values())
    if [variable.shape for variable in old_variables] != [variable.shape for variable in new_variables]:
        raise InputError(f"layer {path!r} ({type(layer).__name__}) cannot be copied: its copy has other variables")
    for old, variable in zip(old_variables, new_variables, strict=True):
        variable.assign(old)
    refresh(new)
    for name, mask in masks.items():
        if name in new_masks:
            new_masks[name].assign(mask)
        else:
            kernel = getattr(new, name)
            kernel.assign(ops.where(ops.not_equal(mask, 0), kernel, ops.zeros_like(kernel)))


def refresh(layer: keras.layers.Layer) -> None:
    """Lets a layer take over variables that were assigned."""
    if isinstance(layer, keras.layers.Normalization):
        layer.finalize_state()  # it computes with tensors that it makes of its variables


def _without(variables, excluded) -> list[keras.Variable]:
    names = {id(variable) for variable in excluded}
    return [variable for variable in variables if id(variable) not in names]


assert set(MASKED) == set(KERNELS), "every class with prunable kernels needs a masked counterpart"
