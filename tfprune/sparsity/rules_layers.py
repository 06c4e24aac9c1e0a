"""Rules of layers without kernels: what passes each entry on, moves entries, pools, merges or multiplies.

Activations and normalisation count as passing each entry on by itself, as in the paper, also where they look at several
entries at once (softmax, layer normalisation): they scale, they connect nothing that was not connected.
"""

from __future__ import annotations

import math
from functools import reduce

from keras import layers, ops

from tfprune.errors import InputError
from tfprune.sparsity.graph import Walk, register_rule

# Far above the reciprocal of the smallest weight that bilinear interpolation gives to a pixel it uses.
_INTERPOLATION = 2.0**20


@register_rule(
    layers.Activation,
    layers.ReLU,
    layers.LeakyReLU,
    layers.ELU,
    layers.PReLU,
    layers.Softmax,
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.GroupNormalization,
    layers.RMSNormalization,
    layers.UnitNormalization,
    layers.Dropout,
    layers.AlphaDropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.ActivityRegularization,
    layers.Identity,
    layers.Masking,
    layers.Normalization,
    layers.Rescaling,
    # The following change images in training only, and keep their size.
    layers.RandomBrightness,
    layers.RandomContrast,
    layers.RandomFlip,
    layers.RandomRotation,
    layers.RandomTranslation,
    layers.RandomZoom,
    layers.RandomShear,
    layers.RandomHue,
    layers.RandomSaturation,
    layers.RandomColorJitter,
    layers.RandomGaussianBlur,
    layers.RandomErasing,
)
def _pass_on(walk: Walk, layer, inputs):
    return inputs


@register_rule(
    layers.Flatten,
    layers.Reshape,
    layers.Permute,
    layers.RepeatVector,
    layers.Concatenate,
    layers.ZeroPadding1D,
    layers.ZeroPadding2D,
    layers.ZeroPadding3D,
    layers.Cropping1D,
    layers.Cropping2D,
    layers.Cropping3D,
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
        raise InputError(f"{layer.name!r}: {interpolation} interpolation has no rule, only nearest and bilinear do")
    arguments = {"training": False} if isinstance(layer, layers.RandomCrop) else {}
    outputs = layer.call(inputs, **arguments)
    return outputs * _INTERPOLATION if walk.boolean else outputs


@register_rule(
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.MaxPooling3D,
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.AveragePooling3D,
)
def _pool(walk: Walk, layer, inputs):
    # With padding, Keras divides by the number of entries that are really in the window, so the product with the
    # window's area may exceed their sum: still ≥ 1 exactly where the window holds a reachable entry.
    outputs = ops.average_pool(inputs, layer.pool_size, layer.strides, layer.padding, layer.data_format)
    return outputs * math.prod(layer.pool_size) if walk.boolean else outputs


@register_rule(
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.GlobalMaxPooling3D,
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalAveragePooling3D,
)
def _global_pool(walk: Walk, layer, inputs):
    rank = len(inputs.shape)
    axes = list(range(1, rank - 1)) if layer.data_format == "channels_last" else list(range(2, rank))
    return (ops.sum if walk.boolean else ops.mean)(inputs, axis=axes, keepdims=layer.keepdims)


@register_rule(
    layers.AdaptiveMaxPooling1D,
    layers.AdaptiveMaxPooling2D,
    layers.AdaptiveMaxPooling3D,
    layers.AdaptiveAveragePooling1D,
    layers.AdaptiveAveragePooling2D,
    layers.AdaptiveAveragePooling3D,
)
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
    # Reachable where every factor is; the gradient passes to a factor where all the others are.
    return reduce(ops.multiply, inputs)


@register_rule(layers.Dot)
def _dot(walk: Walk, layer, inputs):
    # Normalisation is dropped here, too.
    return layers.Dot(axes=layer.axes, normalize=False).call(list(inputs))


@register_rule(layers.Embedding)
def _embedding(walk: Walk, layer, inputs):
    """A dense table: every feature of a token depends on the token."""
    return ops.repeat(ops.expand_dims(inputs, -1), layer.output_dim, axis=-1)


@register_rule(layers.MultiHeadAttention)
def _attention(walk: Walk, layer, query, value, key=None, **_):
    """Dense kernels: every feature at every position depends on every feature at every position of all inputs."""
    total = sum(ops.sum(given, axis=list(range(1, len(given.shape))), keepdims=True) for given in (query, value))
    if key is not None:
        total = total + ops.sum(key, axis=list(range(1, len(key.shape))), keepdims=True)
    return total + ops.zeros_like(query)
