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
_INTERPOLATION = 2.0**20


@register_rule(
    layers.LeakyReLU,
    layers.ELU,
    layers.PReLU,
    *kinds.NOISE,
    layers.ActivityRegularization,
    layers.Identity,
    layers.Masking,
    *kinds.AUGMENTATIONS,
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


@register_rule(layers.Softmax)
def _softmax(walk: Walk, layer, inputs):
    return walk.lift(walk.mix(inputs, _axes(layer.axis, inputs)))


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
    return outputs * _INTERPOLATION if walk.boolean else outputs


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


@register_rule(layers.Embedding)
def _embedding(walk: Walk, layer, inputs):
    """A dense table: every feature of a token depends on the token."""
    return walk.lift(ops.repeat(ops.expand_dims(inputs, -1), layer.output_dim, axis=-1))


@register_rule(layers.MultiHeadAttention)
def _attention(walk: Walk, layer, query, value, key=None, use_causal_mask=False, return_attention_scores=False, **_):
    """Dense kernels: every feature depends on all features of its query and of the keys and values it looks at."""
    if return_attention_scores:
        raise NoRule(f"{layer.name!r}: nothing says which attention scores depend on which inputs")
    given = (query, value) if key is None else (query, value, key)
    if not walk.boolean or len(query.shape) != 3:
        total = sum(ops.sum(x, axis=list(range(1, len(x.shape))), keepdims=True) for x in given)
        return total + ops.zeros_like(query)
    looks = np.ones((query.shape[1], value.shape[1]), np.float32)
    looks = np.tril(looks) if use_causal_mask else looks
    choice = np.float32(looks.sum(axis=1) > 1)[:, None]  # a softmax of one entry chooses nothing
    query, value, key = (ops.sum(x, axis=-1, keepdims=True) for x in (query, value, value if key is None else key))
    sums = ops.matmul(looks, value) + choice * (query + ops.matmul(looks, key))
    features = layer.compute_output_shape(given[0].shape, given[1].shape)[2:]
    sums = ops.reshape(sums, (1, sums.shape[1], *[1] * len(features)))
    outputs = ops.broadcast_to(sums, (1, sums.shape[1], *features))
    return walk.lift(outputs) if layer._use_bias else outputs


def _axes(axis, x) -> list[int]:
    given = axis if isinstance(axis, (list, tuple)) else [axis]
    return [one % len(x.shape) for one in given]
