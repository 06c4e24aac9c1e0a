"""Rules of layers without kernels: normalisation, activations, pooling, what moves entries, what merges."""

from __future__ import annotations

import math

import numpy as np
from keras import layers

from tfprune.layers import kinds
from tfprune.layers.kinds import channel_axis
from tfprune.surgery.activations import is_elementwise, on_constants
from tfprune.surgery.channels import Signal
from tfprune.surgery.links import Join
from tfprune.surgery.trace import Trace, register_rule

# Each of these looks at several features at once, or has weights that this room doesn't cut: they keep all channels.
register_rule(
    layers.Normalization,
    layers.Masking,
    layers.Dot,
    layers.RNN,
    layers.SpectralNormalization,
    layers.RandomCrop,
    *kinds.AUGMENTATIONS,
    # These read the model's inputs, numbers or texts, entry by entry or as sentences.
    layers.StringLookup,
    layers.IntegerLookup,
    layers.TextVectorization,
    layers.Hashing,
    layers.HashedCrossing,
    layers.Discretization,
    layers.CategoryEncoding,
)(Trace.keep)


@register_rule(
    layers.Identity,
    layers.ActivityRegularization,
    *kinds.NOISE,
    # Pools of a constant are that constant: padding is no part of their windows.
    *kinds.POOLS,
    *kinds.ADAPTIVE_POOLS,
    *kinds.CROPPINGS,
    layers.UpSampling1D,
    layers.UpSampling2D,
    layers.UpSampling3D,
    # Whole examples are left out in training.
    *("keras.StochasticDepth", "keras_hub.DropPath", "keras_hub.DINOV2DropPath", "keras_hub.DINOV3DropPath"),
)
def _pass_on(trace: Trace, layer, spec, inputs, **_):
    x = trace.along(inputs, channel_axis(layer)) if hasattr(layer, "data_format") else inputs
    return trace.slotwise([x], spec, np.copy)


@register_rule(layers.Activation)
def _activation(trace: Trace, layer, spec, inputs, **_):
    if not is_elementwise(layer.activation):
        return trace.keep(layer, spec, inputs)
    return trace.slotwise([inputs], spec, on_constants(layer.activation))


@register_rule(layers.ReLU, layers.LeakyReLU, layers.ELU)
def _elementwise(trace: Trace, layer, spec, inputs, **_):
    return trace.slotwise([inputs], spec, on_constants(layer.call))


@register_rule("keras.LayerScale", "keras_hub.DINOV2LayerScale", "keras_hub.DINOV3LayerScale")
def _layer_scale(trace: Trace, layer, spec, inputs, **_):
    x = trace.along(inputs, -1)
    name = "gamma" if hasattr(layer, "gamma") else "lambda1"
    scales = trace.path(layer, name)
    channels = trace.bind(layer, name, 0, x.channels)
    width = "projection_dim" if hasattr(layer, "projection_dim") else "hidden_dim"
    trace.edit(layer, lambda config, count, biased: config.update({width: count(channels)}))

    def function(constants):
        return product(constants, trace.weights[scales])

    return trace.slotwise([x], spec, function, uses=lambda constants: (trace.weights[scales] != 0,))


@register_rule(layers.PReLU)
def _prelu(trace: Trace, layer, spec, inputs, **_):
    x = trace.along(inputs, -1)
    alpha = trace.path(layer, "alpha")
    rank = len(x.spec.shape) - 1
    if trace.weights[alpha].shape[-1] == len(x.channels):
        trace.bind(layer, "alpha", rank - 1, x.channels)

    def function(constants):
        slopes = trace.weights[alpha].reshape(-1, trace.weights[alpha].shape[-1])
        same = (slopes == slopes[0]).all(0)
        return np.where(constants >= 0, constants, np.where(same, constants * slopes[0], np.nan))

    return trace.slotwise([x], spec, function)


@register_rule(layers.Rescaling)
def _rescaling(trace: Trace, layer, spec, inputs, **_):
    if np.ndim(layer.scale) or np.ndim(layer.offset):
        return trace.keep(layer, spec, inputs)
    return trace.slotwise([inputs], spec, lambda constants: constants * layer.scale + layer.offset)


@register_rule(layers.BatchNormalization)
def _batch_normalization(trace: Trace, layer, spec, inputs, mask=None, **_):  # masks take part in training only
    x = trace.along(inputs, layer.axis)
    for name in kinds.CHANNEL_WISE[layers.BatchNormalization]:
        trace.bind(layer, name, 0, x.channels)

    def weight(name, default):
        return trace.weights.get(trace.path(layer, name), default)

    def function(constants):
        scale = weight("gamma", 1) / np.sqrt(weight("moving_variance", 1) + layer.epsilon)
        value = (constants - weight("moving_mean", 0)) * scale
        return np.where(scale == 0, 0, value) + weight("beta", 0)

    def uses(constants):
        return (np.broadcast_to(weight("gamma", 1), constants.shape) != 0,)

    return trace.slotwise([x], spec, function, uses=uses)


@register_rule(*kinds.ZERO_PADDINGS)
def _zero_padding(trace: Trace, layer, spec, inputs, **_):
    x = trace.along(inputs, channel_axis(layer))
    return trace.slotwise([x], spec, lambda constants: np.where(constants == 0, 0.0, np.nan))


@register_rule(*kinds.GLOBAL_POOLS)
def _global_pool(trace: Trace, layer, spec, inputs, mask=None, **_):
    x = trace.along(inputs, channel_axis(layer))
    output = trace.slotwise([x], spec, np.copy, axis=channel_axis(layer) if layer.keepdims else 1)
    trace.depend([output], mask)
    return output


@register_rule(layers.Flatten)
def _flatten(trace: Trace, layer, spec, inputs, **_):
    shape = inputs.spec.shape
    if len(shape) < 2 or None in shape[1:]:
        return trace.keep(layer, spec, inputs)
    x = trace.along(inputs, channel_axis(layer))
    width = shape[x.axis]
    index = np.tile(np.arange(width), math.prod(shape[1:]) // width)
    return trace.slotwise([x], spec, np.copy, axis=1, index=index)


@register_rule(layers.Permute)
def _permute(trace: Trace, layer, spec, inputs, **_):
    if inputs.axis is None:
        return trace.keep(layer, spec, inputs)
    return trace.slotwise([inputs], spec, np.copy, axis=layer.dims.index(inputs.axis) + 1)


@register_rule(layers.RepeatVector)
def _repeat_vector(trace: Trace, layer, spec, inputs, **_):
    return trace.slotwise([trace.along(inputs, 1)], spec, np.copy, axis=2)


@register_rule(layers.Concatenate)
def _concatenate(trace: Trace, layer, spec, inputs, **_):
    return concatenated(trace, layer, spec, inputs, layer.axis)


@register_rule(layers.Add)
def _add(trace: Trace, layer, spec, inputs, **_):
    return merged(trace, layer, spec, inputs, lambda *constants: np.sum(constants, axis=0))


@register_rule(layers.Subtract)
def _subtract(trace: Trace, layer, spec, inputs, **_):
    return merged(trace, layer, spec, inputs, np.subtract)


@register_rule(layers.Average)
def _average(trace: Trace, layer, spec, inputs, **_):
    return merged(trace, layer, spec, inputs, lambda *constants: np.mean(constants, axis=0))


@register_rule(layers.Maximum)
def _maximum(trace: Trace, layer, spec, inputs, **_):
    return merged(trace, layer, spec, inputs, lambda *constants: np.max(constants, axis=0))


@register_rule(layers.Minimum)
def _minimum(trace: Trace, layer, spec, inputs, **_):
    return merged(trace, layer, spec, inputs, lambda *constants: np.min(constants, axis=0))


@register_rule(layers.Multiply)
def _multiply(trace: Trace, layer, spec, inputs, **_):
    return merged(trace, layer, spec, inputs, product, product_uses)


def merged(trace: Trace, operation, spec, inputs, function, uses=None) -> Signal:
    """Entry by entry, with broadcasting: the last axes lie on each other."""
    inputs = list(inputs)
    if len({(len(x.spec.shape), x.axis) for x in inputs}) > 1:
        inputs = [trace.along(x, -1) for x in inputs]
    widths = {len(x.channels) for x in inputs}
    if 0 in widths or any(x.axis is None for x in inputs) or len(widths - {1}) > 1:
        return trace.keep(operation, spec, inputs)
    return trace.slotwise(inputs, spec, function, uses=uses)


def product(*constants: np.ndarray) -> np.ndarray:
    """Constants of a product: a factor that is always 0 is enough."""
    return np.where(np.any(np.equal(constants, 0), axis=0), 0.0, np.prod(constants, axis=0))


def product_uses(*constants: np.ndarray) -> list[np.ndarray]:
    """Where one factor is always 0, the first such factor says the whole product."""
    zero = np.equal(constants, 0)
    first = np.cumsum(zero, axis=0) == 1
    return list(np.where(zero.any(0), zero & first, True))


def concatenated(trace: Trace, operation, spec, inputs, axis: int) -> Signal:
    """Side by side: along the channels each keeps its own; along another axis they are coupled."""
    axis = axis % len(spec.shape)
    if any(x.axis is None for x in inputs) or axis == 0:
        return trace.keep(operation, spec, inputs)
    if any(x.axis == axis for x in inputs):
        inputs = [trace.along(x, axis) for x in inputs]
        output = trace.signal(spec, axis, np.concatenate([x.channels for x in inputs]))
        trace.links.append(Join(inputs, output))
        return output
    inputs = [trace.along(x, inputs[0].axis) for x in inputs]
    return trace.slotwise(inputs, spec, common)


def common(first: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """What all constants are, NaN where they differ."""
    return np.where(np.all([first == other for other in (first, *others)], axis=0), first, np.nan)
