"""The graph of a model built anew: its topology, and its layers one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar

import keras
from keras import ops, tree

from tfprune.errors import InputError
from tfprune.layers.kernel_masks import KernelMasks, MaskedKernels
from tfprune.layers.kinds import KINDS, is_kept, kind_of, plain_type
from tfprune.layers.live import held, live_copy
from tfprune.layers.lora import merged_config
from tfprune.layers.masked import MASKED
from tfprune.layers.masked_any import MaskedLayer, config_of, with_masks
from tfprune.layers.own_models import model_like
from tfprune.layers.prunable import has_kernels
from tfprune.layers.state import build_alike, copy_vocabularies
from tfprune.layers.topology import is_graph, is_nested, layers_of, named_layers, run
from tfprune.records.reading import cause_line

Change = Callable[[dict], dict]
# From a layer that the graph made anew has or shares to its copy; from any other to None.
_in_graph: ContextVar[Callable] = ContextVar("in graph", default=lambda layer: None)


def remade(
    model: keras.Model,
    convert: Callable,
    input_shape: Callable | None = None,
    inside: Callable = lambda layer: None,
    made: dict[int, keras.Operation] | None = None,
    whole: Callable = lambda model: None,
) -> keras.Model:
    """The graph of a model with other layers, which have initial weights.

    Args:
        model: built Sequential or Functional model.
        convert: from a layer or operation to the one in its place.
        input_shape: from an input tensor of the model or a nested one to the shape, with batch axis, in its place; None
            keeps all shapes.
        inside: from a layer to the Functional model of its parts that takes its place, or None.
        made: is filled with id of a layer or model -> the one in its place.
        whole: from the model or a nested one to the model in its place, of as many layers; None to go through them.

    Returns:
        Model of the same class where it can be kept, see `tfprune.layers.own_models`.
    """
    copies = {} if made is None else made  # shared layers and shared models stay shared
    own = {id(layer) for _, layer in named_layers(model)}
    # With other sizes each holder says how large its parts are.
    shared: dict[int, keras.layers.Layer | None] = dict.fromkeys(_held_by_several(model) if input_shape is None else ())
    inputs: dict[int, keras.KerasTensor] = {}  # and so do inputs, which a model may have in common with a nested one

    def input_like(tensor):
        if id(tensor) not in inputs:
            inputs[id(tensor)] = new_input(tensor)
        return inputs[id(tensor)]

    def new_input(tensor):
        shape = tensor.shape if input_shape is None else input_shape(tensor)
        layer = tensor._keras_history.operation
        optional = getattr(layer, "optional", False)
        new = keras.Input(
            batch_shape=shape, dtype=tensor.dtype, sparse=tensor.sparse, name=tensor.name, optional=optional
        )
        # An input without a name of its own has two, one for the tensor and one for the layer.
        new._keras_history.operation.name = layer.name
        return new

    def copy_whole(graph: keras.Model) -> None:
        layers = graph._flatten_layers()
        copy = None if any(id(layer) in copies for layer in layers) else whole(graph)
        if copy is not None:
            copies.update((id(layer), new) for layer, new in zip(layers, copy._flatten_layers(), strict=True))
            return
        for layer in layers_of(graph):
            if is_nested(layer):
                copy_whole(layer)

    def copy_of(operation: keras.Operation) -> keras.Operation:
        if id(operation) not in copies:
            graph = operation if is_nested(operation) else inside(operation)
            copies[id(operation)] = convert(operation) if graph is None else _copy_graph(graph, copy_of, input_like)
            if graph is None and input_shape is None:
                build_alike(operation, copies[id(operation)])
        return copies[id(operation)]

    def copy_of_held(layer: keras.layers.Layer) -> keras.layers.Layer | None:
        if id(layer) in own:
            return copy_of(layer)
        if id(layer) in shared and shared[id(layer)] is None:
            shared[id(layer)] = layer_like(layer)
        return shared.get(id(layer))

    copy_whole(model)  # before the graph around it meets a layer that it has in common with one
    token = _in_graph.set(copy_of_held)
    try:
        copy = copy_of(model)
    finally:
        _in_graph.reset(token)
    for layer in copies.values():
        for name, value in vars(layer).items():
            if isinstance(value, _NotDrawn):
                vars(layer)[name] = value.initializer
    return copy


class _NotDrawn:
    """Zeros in an initializer's place: weights are copied, drawing takes long and may fail for another shape."""

    def __init__(self, initializer: Callable):
        self.initializer = initializer

    def __call__(self, shape, dtype=None):
        return ops.zeros(shape, dtype)


def masked_layer(layer: keras.Operation) -> keras.Operation:
    """A new layer, masked; of the layer's own class where that has masks already, or no kernels."""
    if isinstance(layer, MaskedKernels):
        return layer_like(layer)
    if kind_of(layer) is not None:
        return layer_like(layer, MASKED[type(layer)])
    copy = layer_like(layer)
    return with_masks(copy) if has_kernels(layer) else copy


def plain_layer(layer: keras.Operation, change: Change = lambda config: config) -> keras.Operation:
    """A new layer of the plain class of a masked one, or of a plain layer's own class.

    Args:
        layer: anything in a model's graph; a Keras operation that is no layer is given back.
        change: from the layer's configuration to that of the new one.

    Raises:
        InputError: a masked layer that has no counterpart in plain Keras, or a layer that cannot be copied; names it.
    """
    target = None
    if isinstance(layer, MaskedKernels):
        if isinstance(layer, KernelMasks) and type(layer) is not MASKED[layer.plain_class]:
            raise InputError(f"layer {layer.name!r}: {type(layer).__name__} has no counterpart in plain Keras")
        target = layer.plain_class

    def plain(config: dict) -> dict:
        if target is not None:
            config.pop("product_dtype", None)
        return change({name: "zeros" if _is_own(name, held(value)) else value for name, value in config.items()})

    copy = layer_like(layer, target, plain)
    for name, value in vars(copy).items():
        if isinstance(value, _NotDrawn) and _is_own(name, value.initializer):
            vars(copy)[name] = keras.initializers.Zeros()
    return copy


def layer_like(
    layer: keras.Operation, target: type | None = None, change: Change = lambda config: config
) -> keras.Operation:
    """A new layer with the configuration of another, and its functions themselves; its weights are initial ones.

    Low-rank updates (LoRA) are left out: `copy_state` merges them into the kernels.

    Args:
        layer: anything in a model's graph; a Keras operation that is no layer is given back.
        target: class of the new one; None for that of `layer`.
        change: from the layer's configuration (of the plain layer, where it is a `MaskedLayer`) to that of the new one;
            a callable is a dict there, see `tfprune.layers.live`.

    Raises:
        InputError: a layer that cannot be copied; names it.
    """
    if not isinstance(layer, keras.layers.Layer):
        return layer  # a Keras operation has no state and may stand in two graphs
    if isinstance(layer, MaskedLayer) and target is None:
        return with_masks(layer_like(layer, layer.plain_class, change))

    def changed(config: dict) -> dict:
        return change(merged_config(layer, config))

    try:
        try:
            copy = live_copy(layer, target, changed, _copy_of_part)
        except Exception:  # code of the layer's author that does not take what stands in a callable's place
            copy = (target or type(layer)).from_config(changed(config_of(layer)))
    except Exception as error:
        raise InputError(
            f"layer {layer.name!r} ({type(layer).__name__}) cannot be copied: {cause_line(error)}; its get_config has "
            "to give what its constructor takes"
        ) from error
    if plain_type(layer) in KINDS or is_kept(layer):  # a class that says which attributes are initializers
        for name, value in vars(layer).items():
            if name.endswith("_initializer") and name in vars(copy):
                vars(copy)[name] = _NotDrawn(value)
    copy_vocabularies(layer, copy)
    copy.name = layer.name  # a constructor that takes no name gives another one
    copy.supports_masking = layer.supports_masking
    return copy


def _held_by_several(model: keras.Model) -> set[int]:
    """Ids of layers, models aside, that are within several layers of the graph."""
    layers = [layer._flatten_layers(include_self=False) for _, layer in named_layers(model)]
    counts = Counter(id(part) for parts in layers for part in parts if not isinstance(part, keras.Model))
    return {key for key, count in counts.items() if count > 1}


def _copy_of_part(layer: keras.layers.Layer) -> keras.layers.Layer | None:
    """What stands in a copy for a layer that another one holds; None where that may be made anew.

    It is the copy of the layer, where that is in the graph itself, or within several layers of it. What is in a model
    is not masked.
    """
    copy = _in_graph.get()(layer)
    if copy is None and isinstance(layer, keras.Model) and is_graph(layer) and layer.built:
        return remade(layer, layer_like)
    return copy


def _copy_graph(model: keras.Model, copy_of: Callable, input_like: Callable) -> keras.Model:
    if isinstance(model, keras.Sequential):
        # Not the model's layers alone: what came before its first layer says the input's shape and type.
        return model_like(model, [input_like(model.inputs[0]), *map(copy_of, layers_of(model))])
    inputs = tree.map_structure(input_like, model.input)

    def call(operation: keras.Operation, *args, **kwargs):
        if kwargs.get("mask", args) is None:  # what stands in a layer's place may know of no masks
            del kwargs["mask"]
        copy = copy_of(operation)
        if is_nested(copy) and not is_nested(operation):  # its parts take its tensors in order
            given = [x for x in tree.flatten((args, kwargs)) if isinstance(x, keras.KerasTensor)]
            return copy(given[0] if len(given) == 1 else given)
        return copy(*args, **kwargs)

    outputs = run(model, tree.flatten(inputs), call)
    return model_like(model, inputs, tree.pack_sequence_as(model.output, outputs))


def _is_own(name: str, value) -> bool:
    """Whether it is an initializer that a program without `tfprune` could not read; the weights are copied anyway."""
    return name.endswith("_initializer") and type(value).__module__.split(".")[0] == "tfprune"
