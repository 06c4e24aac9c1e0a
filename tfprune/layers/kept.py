"""Copies of models in which layers hold kept weights only, the way back, and weights that go from one to the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import InputError
from tfprune.layers.compiling import compile_alike
from tfprune.layers.copying import layer_like, masked_layer, remade
from tfprune.layers.inner import inner_variables
from tfprune.layers.kept_layers import KeptKernel, has_kept, kept_class_of, why_not_kept
from tfprune.layers.kernel_masks import masks_of_layer
from tfprune.layers.kinds import is_kept
from tfprune.layers.masked import MASKED
from tfprune.layers.state import copy_state
from tfprune.layers.subclassed import as_graph, taken_out
from tfprune.layers.topology import named_layers

_DENSE_ONLY = {"kernel", "kernel_mask"}
_KEPT_ONLY = {"kernel_values", "kernel_indices"}


def kept_copy(
    model: keras.Model, chosen: Callable[[keras.layers.Layer, np.ndarray], bool], other: Callable = layer_like
) -> keras.Model:
    """A copy of a model in which some layers hold kept weights only, not compiled.

    The others are as in `model`, masked or plain, unless `other` makes them otherwise.

    Args:
        model: built, plain or masked.
        chosen: (layer, bool array: mask of its kernel, all True of a plain layer) -> whether the layer's copy is one of
            kept weights; asked of layers only that can be, see `tfprune.layers.kept_layers.why_not_kept`.
        other: gives the copy of any other layer or operation, with initial weights.

    Raises:
        InputError: a model without weights, or a layer that cannot be copied.
    """
    graph = as_graph(with_masks(model))

    def convert(layer: keras.Operation) -> keras.Operation:
        if isinstance(layer, keras.layers.Layer) and why_not_kept(layer) is None:
            mask = _mask(layer)
            if chosen(layer, mask):
                return _kept_layer(layer, np.flatnonzero(mask))
        return other(layer)

    copy = remade(graph, convert)
    for (path, layer), (_, new) in zip(named_layers(graph), named_layers(copy), strict=True):
        if isinstance(new, KeptKernel):
            _read_layer(new, layer)
            for old, other in _others(layer, new):
                other.assign(old)
        else:
            copy_state(path, layer, new)
    return taken_out(copy, model)


def with_masks(model: keras.Model) -> keras.Model:
    """A masked model that computes what one with layers of kept weights does, compiled like it; any other model itself.

    Pruned weights of the masked layers are 0.

    Raises:
        InputError: a model without weights, a layer of kept weights within another one, or a layer that cannot be
            copied; names it.
    """
    if not has_kept(model):
        return model
    graph = as_graph(model)
    for path, layer in named_layers(graph):
        if any(map(is_kept, layer._flatten_layers(include_self=False))):
            raise InputError(
                f"layer {path!r} ({type(layer).__name__}) consists of layers that hold kept weights only: masks can be "
                "made of such layers in the graph of a Functional or Sequential model alone"
            )
    copy = remade(graph, lambda layer: _masked_layer(layer) if isinstance(layer, KeptKernel) else masked_layer(layer))
    for (path, layer), (_, new) in zip(named_layers(graph), named_layers(copy), strict=True):
        if isinstance(layer, KeptKernel):
            _write_layer(layer, new)
            for old, other in _others(layer, new):
                other.assign(old)
            mask = np.zeros(layer.kernel_shape, bool)
            mask.reshape(-1)[layer.kernel_indices.numpy()] = True
            masks_of_layer(new)["kernel"].assign(mask)
        else:
            copy_state(path, layer, new)
    copy = taken_out(copy, model)
    if model.compiled:
        compile_alike(copy, model)
    return copy


def kept_like(layer: KeptKernel) -> KeptKernel:
    """A new layer that keeps the same weights, with initial ones."""
    copy = layer_like(layer)
    copy.connect(layer.kernel_indices.numpy())
    return copy


def write_back(fast: keras.Model, model: keras.Model) -> None:
    """Gives a model the weights of the copy that `kept_copy` made of it, in place; pruned weights stay as they are.

    Raises:
        InputError: they are not copy and model; names the layer.
    """
    for layer, new in _layers(fast, model):
        if isinstance(layer, KeptKernel):
            _write_layer(layer, new)
        for old, other in _others(layer, new):
            other.assign(old)


def take_from(fast: keras.Model, model: keras.Model) -> None:
    """The other way: gives a copy that `kept_copy` made of a model the model's weights of now.

    Args:
        fast: the copy.
        model: it, or a plain model of the same weights, which has no masks that could be others.

    Raises:
        InputError: they are not copy and model, or the model's masks are others by now; names the layer.
    """
    both = list(_layers(fast, model))
    for layer, source in both:
        if isinstance(layer, KeptKernel) and masks_of_layer(source) and not _keeps(layer, _mask(source)):
            raise InputError(f"layer {layer.name!r}: the kept weights of the copy are not those of the model's mask")
    for layer, source in both:
        if isinstance(layer, KeptKernel):
            _read_layer(layer, source)
        for old, other in _others(source, layer):
            other.assign(old)


def pairs(fast: keras.Model, model: keras.Model) -> list[tuple[keras.Variable, keras.Variable]]:
    """(variable of the model, variable of its copy) of all that training changes, in the order of the model's.

    A kernel stands beside the values of its kept weights.

    Raises:
        InputError: they are not copy and model; names the layer.
    """
    twins: dict[int, keras.Variable] = {}
    for layer, source in _layers(fast, model):
        if isinstance(layer, KeptKernel):
            twins[id(source.kernel)] = layer.kernel_values
        twins |= {id(old): other for old, other in _others(source, layer)}
    return [(variable, twins[id(variable)]) for variable in model.trainable_variables]


def _mask(layer: keras.layers.Layer) -> np.ndarray:
    mask = masks_of_layer(layer).get("kernel")
    return np.ones(layer.kernel.shape, bool) if mask is None else mask.numpy()


def _kept_layer(layer: keras.layers.Layer, indices: np.ndarray) -> KeptKernel:
    def kept(config: dict) -> dict:
        config.pop("product_dtype", None)
        return {**config, "kept": len(indices), "mask_seed": 0}

    copy = layer_like(layer, kept_class_of(layer), kept)
    copy.connect(indices)
    return copy


def _masked_layer(layer: KeptKernel) -> keras.layers.Layer:
    def dense(config: dict) -> dict:
        return {key: value for key, value in config.items() if key not in ("kept", "density", "mask_seed")}

    return layer_like(layer, layer.masked_class or MASKED[layer.dense_class], dense)


def _write_layer(layer: KeptKernel, new: keras.layers.Layer) -> None:
    new.kernel.value.scatter_nd_update(_places(layer), layer.kernel_values.value)


def _read_layer(layer: KeptKernel, source: keras.layers.Layer) -> None:
    layer.kernel_values.assign(tf.gather_nd(source.kernel.value, _places(layer)))


def _places(layer: KeptKernel) -> np.ndarray:
    """(n, rank): where the kept weights are in the kernel."""
    return np.stack(np.unravel_index(layer.kernel_indices.numpy(), layer.kernel_shape), axis=-1)


def _keeps(layer: KeptKernel, mask: np.ndarray) -> bool:
    """Whether the layer's kept weights are those of a mask."""
    indices = layer.kernel_indices.numpy()
    return np.count_nonzero(mask) == len(indices) and bool(mask.reshape(-1)[indices].all())


def _layers(fast: keras.Model, model: keras.Model) -> Iterator[tuple]:
    """(layer of the copy, layer of the model)."""
    layers, others = dict(named_layers(fast)), dict(named_layers(model))
    if list(layers) != list(others):
        raise InputError(f"model {fast.name!r} is no copy of model {model.name!r}: it has other layers")
    return zip(layers.values(), others.values(), strict=True)


def _others(layer: keras.layers.Layer, new: keras.layers.Layer) -> Iterator[tuple[keras.Variable, keras.Variable]]:
    """(variable, variable of the other layer) of all but the kernels and masks of which one has the kept weights."""
    old, other = inner_variables(layer), inner_variables(new)
    if isinstance(layer, KeptKernel) != isinstance(new, KeptKernel):
        old, other = (
            {name: one for name, one in found.items() if name not in _DENSE_ONLY | _KEPT_ONLY} for found in (old, other)
        )
    if old.keys() != other.keys():
        raise InputError(f"layer {layer.name!r} is no copy of layer {new.name!r}: it has other variables")
    yield from ((old[name], other[name]) for name in old)
