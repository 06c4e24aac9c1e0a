"""Rules of layers without kernels: what passes entries on, normalises, moves, pools, merges or multiplies."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np
from keras import layers, ops

from tfprune.connectivity.activations import activated
from tfprune.connectivity.graph import Walk, register_rule
from tfprune.layers import kinds
from tfprune.layers.rule_table import NoRule

# Far above the reciprocal of the smallest weight that bilinear interpolation gives to a pixel it uses.
INTERPOLATION = 2.0**20


@register_rule(
    layers.LeakyReLU,
    layers.ELU,
    layers.PReLU,
    *kinds.NOISE,
    layers.ActivityRegularization,
    layers.Identity,
    layers.Masking,
    *kinds.AUGMENTATIONS,
    *("keras.LayerScale", "keras_hub.LayerScale"),
)
def _pass_on(walk: Walk, layer, inputs):
    return inputs


@register_rule(layers.Activation)
def _activation(walk: Walk, layer, inputs):
    return activated(walk, layer.activation, inputs, layer)


@register_rule(layers.ReLU)
def _relu(walk: Walk, layer, inputs):
    return walk.lift(inputs) if layer.threshold and layer.negative_slope else inputs


@register_rule(layers.Rescaling)
def _rescaling(walk: Walk, layer, inputs):
    offset = np.broadcast_to(np.asarray(layer.offset), inputs.shape[1:])
    return walk.lift(inputs, offset[None]) if offset.any() else inputs


@register_rule(layers.BatchNormalization, layers.Normalization)
def _standardise(walk: Walk, layer, inputs):
    # Once trained it scales entry by entry, and takes a mean off.
    return walk.lift(inputs)


@register_rule(layers.LayerNormalization)
def _layer_normalization(walk: Walk, layer, inputs):
    outputs = walk.mix(inputs, _axes(layer.axis, inputs), keeps_zero=layer.rms_scaling)
    return outputs if layer.beta is None or layer.rms_scaling else walk.lift(outputs)


@register_rule(layers.GroupNormalization)
def _group_normalization(walk: Walk, layer, inputs):
    (axis,) = _axes(layer.axis, inputs)
    shape = tuple(inputs.shape)
    grouped = ops.reshape(inputs, (*shape[:axis], layer.groups, shape[axis] // layer.groups, *shape[axis + 1 :]))
    mixed = walk.mix(grouped, [at for at in range(1, len(grouped.shape)) if at != axis])
    outputs = ops.reshape(mixed, shape)
    return outputs if layer.beta is None else walk.lift(outputs)


@register_rule(layers.RMSNormalization, layers.UnitNormalization)
def _root_mean_square(walk: Walk, layer, inputs):
    return walk.mix(inputs, _axes(layer.axis, inputs), keeps_zero=True)


@register_rule(
    layers.Flatten,
    layers.Reshape,
    layers.Permute,
    layers.RepeatVector,
    layers.Concatenate,
    *kinds.ZERO_PADDINGS,
    *kinds.CROPPINGS,
    layers.UpSampling1D,
    layers.UpSampling3D,
    layers.CenterCrop,
)
def _move(walk: Walk, layer, inputs):
    return layer.call(inputs)


@register_rule(layers.UpSampling2D, layers.Resizing, layers.RandomCrop)
def _resize(walk: Walk, layer, inputs):
    interpolation = getattr(layer, "interpolation", "bilinear")
    if interpolation not in ("nearest", "bilinear") or getattr(layer, "antialias", False):
        raise NoRule(f"{layer.name!r}: {interpolation} interpolation has no rule, only nearest and bilinear do")
    arguments = {"training": False} if isinstance(layer, layers.RandomCrop) else {}
    outputs = layer.call(inputs, **arguments)
    return outputs * INTERPOLATION if walk.boolean else outputs


@register_rule(*kinds.POOLS)
def _pool(walk: Walk, layer, inputs):
    # With padding, Keras divides by the number of entries that are really in the window, so the product with the
    # window's area may exceed their sum: still ≥ 1 exactly where the window holds a reachable entry.
    outputs = ops.average_pool(inputs, layer.pool_size, layer.strides, layer.padding, layer.data_format)
    return outputs * math.prod(layer.pool_size) if walk.boolean else outputs


@register_rule(*kinds.GLOBAL_POOLS)
def _global_pool(walk: Walk, layer, inputs):
    axes = kinds.spatial(layer, list(range(len(inputs.shape))))
    return (ops.sum if walk.boolean else ops.mean)(inputs, axis=axes, keepdims=layer.keepdims)


@register_rule(*kinds.ADAPTIVE_POOLS)
def _adaptive_pool(walk: Walk, layer, inputs):
    outputs = ops.adaptive_average_pool(inputs, layer.output_size, layer.data_format)
    return outputs * math.prod(inputs.shape[1:]) if walk.boolean else outputs


@register_rule(layers.Add, layers.Subtract)
def _add(walk: Walk, layer, inputs):
    # A difference is a sum here: two paths must not cancel.
    return reduce(ops.add, inputs)


@register_rule(layers.Average, layers.Maximum, layers.Minimum)
def _average(walk: Walk, layer, inputs):
    total = reduce(ops.add, inputs)
    return total if walk.boolean else total / len(inputs)


@register_rule(layers.Multiply)
def _multiply(walk: Walk, layer, inputs):
    return walk.product(lambda *factors: reduce(ops.multiply, factors), *inputs)


@register_rule(layers.Dot)
def _dot(walk: Walk, layer, inputs):
    if layer.normalize:
        axes = layer.axes if isinstance(layer.axes, (list, tuple)) else (layer.axes, layer.axes)
        inputs = [walk.mix(x, _axes(axis, x), keeps_zero=True) for x, axis in zip(inputs, axes, strict=True)]
    plain = layers.Dot(axes=layer.axes, normalize=False)
    return walk.product(lambda *factors: plain.call(list(factors)), *inputs)


@register_rule(
    *(layers.CategoryEncoding, layers.Hashing, layers.HashedCrossing, layers.Discretization),
    *(layers.StringLookup, layers.IntegerLookup),
)
def _encode(walk: Walk, layer, inputs, count_weights=None):
    """Entry by entry where the shape stays; a class of an entry, or of all entries of the last axis, otherwise."""
    given = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    if count_weights is not None:
        given = [*given, count_weights]
    summed = reduce(ops.add, given)
    shape = tuple(_encoded_shape(layer, given[0].shape, inputs))
    if shape != tuple(summed.shape):
        total = ops.sum if walk.boolean else ops.mean
        summed = summed[..., None] if len(shape) > len(summed.shape) else total(summed, axis=-1, keepdims=True)
        summed = ops.broadcast_to(summed, shape)
    return walk.lift(summed)


def _encoded_shape(layer, shape, inputs):
    if layer.output_mode == "int":
        return shape
    count = getattr(layer, "num_tokens", None) or getattr(layer, "num_bins", None) or layer.vocabulary_size()
    return (*shape, count) if layer.output_mode == "one_hot" and shape[-1] != 1 else (*shape[:-1], count)


def _axes(axis, x) -> list[int]:
    given = axis if isinstance(axis, (list, tuple)) else [axis]
    return [one % len(x.shape) for one in given]
