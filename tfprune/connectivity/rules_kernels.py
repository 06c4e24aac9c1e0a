"""Rules of layers with prunable kernels: the layer's own product, then what bias and activation do."""

from __future__ import annotations

import math

from keras import layers, ops

from tfprune.connectivity.activations import activated
from tfprune.connectivity.graph import Walk, register_rule
from tfprune.layers.kinds import CONVOLUTIONS, DEPTHWISE, SEPARABLE, TRANSPOSED, spatial
from tfprune.layers.prunable import kernels_of


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
    geometry = _geometry(layer)
    if all(size == 1 for size in layer.kernel_size) and layer.data_format == "channels_last":
        # The same sums without strides: TensorFlow 2.21's gradient of a strided 1x1 kernel of few channels writes
        # past its memory on CPUs.
        inputs, geometry["strides"] = inputs[(slice(None), *(slice(None, None, by) for by in layer.strides))], 1
    outputs = ops.conv(inputs, walk.kernel(layer.kernel), padding=padding, **geometry)
    return _finished(walk, layer, outputs, _positions(layer, outputs))


@register_rule(*TRANSPOSED)
def _conv_transpose(walk: Walk, layer, inputs):
    padding = {"padding": layer.padding, "output_padding": layer.output_padding}
    outputs = ops.conv_transpose(inputs, walk.kernel(layer.kernel), **padding, **_geometry(layer))
    # Each weight carries every input position to one output position.
    return _finished(walk, layer, outputs, _positions(layer, inputs))


@register_rule(*DEPTHWISE)
def _depthwise_conv(walk: Walk, layer, inputs):
    outputs = ops.depthwise_conv(inputs, walk.kernel(layer.kernel), padding=layer.padding, **_geometry(layer))
    return _finished(walk, layer, outputs, _positions(layer, outputs))


@register_rule(*SEPARABLE)
def _separable_conv(walk: Walk, layer, inputs):
    # Two products without a step between them: sums of at most kernel area · channels, far below float32's limits.
    kernels = walk.kernel(layer.depthwise_kernel), walk.kernel(layer.pointwise_kernel)
    outputs = ops.separable_conv(inputs, *kernels, padding=layer.padding, **_geometry(layer))
    return _finished(walk, layer, outputs, _positions(layer, outputs))


def _finished(walk: Walk, layer, outputs, uses: int):
    """The outputs with bias and activation; each weight of the layer took part in as many multiply-adds as `uses`."""
    for kernel in kernels_of(layer).values():
        walk.use(kernel, uses)
    return activated(walk, layer.activation, outputs if layer.bias is None else walk.lift(outputs), layer)


def _geometry(layer) -> dict:
    return {
        "strides": layer.strides if isinstance(layer.strides, int) else tuple(layer.strides),
        "dilation_rate": layer.dilation_rate,
        "data_format": layer.data_format,
    }


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
