"""Rules of layers with prunable kernels: the layer's own product, then what bias and activation do."""

from __future__ import annotations

import math

import keras
from keras import layers, ops

from tfprune.connectivity.activations import activated
from tfprune.connectivity.graph import Walk, register_rule
from tfprune.layers.kinds import CONVOLUTIONS, DEPTHWISE, SEPARABLE, TRANSPOSED, spatial
from tfprune.layers.prunable import kernels_of
from tfprune.layers.rule_table import NoRule


@register_rule(layers.Dense)
def _dense(walk: Walk, layer, inputs):
    outputs = ops.matmul(inputs, walk.kernel(layer.kernel))
    return _finished(walk, layer, outputs, math.prod(inputs.shape[1:-1]))


@register_rule(layers.EinsumDense)
def _einsum_dense(walk: Walk, layer, inputs):
    kernel = walk.kernel(layer.kernel)
    outputs = ops.einsum(layer.equation, inputs, kernel)
    return _finished(walk, layer, outputs, _einsum_uses(layer.equation, inputs.shape, kernel.shape))


@register_rule(*CONVOLUTIONS)
def _conv(walk: Walk, layer, inputs):
    padding = layer.padding
    if padding == "causal":
        inputs, padding = ops.pad(inputs, layer._compute_causal_padding()), "valid"
    outputs = convolved(inputs, walk.kernel(layer.kernel), padding=padding, **geometry(layer))
    return _finished(walk, layer, outputs, _positions(layer, outputs))


@register_rule(*TRANSPOSED)
def _conv_transpose(walk: Walk, layer, inputs):
    padding = {"padding": layer.padding, "output_padding": layer.output_padding}
    outputs = ops.conv_transpose(inputs, walk.kernel(layer.kernel), **padding, **geometry(layer))
    # Each weight carries every input position to one output position.
    return _finished(walk, layer, outputs, _positions(layer, inputs))


@register_rule(*DEPTHWISE)
def _depthwise_conv(walk: Walk, layer, inputs):
    outputs = ops.depthwise_conv(inputs, walk.kernel(layer.kernel), padding=layer.padding, **geometry(layer))
    return _finished(walk, layer, outputs, _positions(layer, outputs))


@register_rule(*SEPARABLE)
def _separable_conv(walk: Walk, layer, inputs):
    # Two products without a step between them: sums of at most kernel area · channels, far below float32's limits.
    kernels = walk.kernel(layer.depthwise_kernel), walk.kernel(layer.pointwise_kernel)
    outputs = ops.separable_conv(inputs, *kernels, padding=layer.padding, **geometry(layer))
    return _finished(walk, layer, outputs, _positions(layer, outputs))


def _finished(walk: Walk, layer, outputs, uses: int):
    """The outputs with bias and activation; each weight of the layer took part in as many multiply-adds as `uses`."""
    for kernel in kernels_of(layer).values():
        walk.use(kernel, uses)
    return activated(walk, layer.activation, outputs if layer.bias is None else walk.lift(outputs), layer)


def geometry(layer) -> dict:
    """Strides, dilation and the order of axes of a convolution, a layer or an operation."""
    return {
        "strides": layer.strides if isinstance(layer.strides, int) else tuple(layer.strides),
        "dilation_rate": layer.dilation_rate,
        "data_format": layer.data_format,
    }


def convolved(inputs, kernel, strides, data_format, **others):
    """`keras.ops.conv`.

    Args:
        others: `padding` and `dilation_rate`.
    """
    sizes = kernel.shape[:-2]
    if all(size == 1 for size in sizes) and data_format == "channels_last":
        # The same sums without strides: TensorFlow 2.21's gradient of a strided 1x1 kernel of few channels writes
        # past its memory on CPUs.
        steps = (strides,) * len(sizes) if isinstance(strides, int) else strides
        inputs, strides = inputs[(slice(None), *(slice(None, None, by) for by in steps))], 1
    return ops.conv(inputs, kernel, strides=strides, data_format=data_format, **others)


# Keras 3.15 cannot run a graph with a `ConvTranspose`, so no rule for it can be tried.
@register_rule("Conv", "DepthwiseConv", "SeparableConv")
def _convolution(walk: Walk, operation, inputs, *kernels):
    if walk.is_kernel(inputs) or not all(map(walk.is_kernel, kernels)):
        raise NoRule(f"{operation.name!r}: nothing says what a convolution with kernels depends on that are computed")
    data_format = operation.data_format or keras.config.image_data_format()

    def call(inputs, *kernels):
        if type(operation).__name__ != "Conv":
            return operation.call(inputs, *kernels)
        own = {**geometry(operation), "data_format": data_format, "padding": operation.padding}
        return convolved(inputs, *kernels, **own)

    outputs = walk.product(call, inputs, *kernels)
    for kernel in kernels:
        shape = outputs.shape[2:] if data_format == "channels_first" else outputs.shape[1:-1]
        walk.use(walk.kernel_of(kernel), math.prod(shape))
    return outputs


def _positions(layer, images) -> int:
    return math.prod(spatial(layer, images.shape))


def _einsum_uses(equation: str, input_shape, kernel_shape) -> int:
    """Multiply-adds of an example per weight: the sizes of the input's axes that the kernel has not.

    An ellipsis stands for input axes that the kernel never has.
    """
    operands = equation.replace(" ", "").split("->")[0].split(",")
    given, kernel = operands
    head, dots, tail = given.partition("...")
    broadcast = len(input_shape) - len(head) - len(tail) if dots else 0
    labels = [*head, *[None] * broadcast, *tail]
    sizes = [size for label, size in zip(labels, input_shape, strict=True) if label is None or label not in kernel]
    # The batch axis has size 1 here: one example is evaluated.
    return math.prod(sizes)
