"""Rules of layers with kernels: dense layers and convolutions."""

from __future__ import annotations

import numpy as np
from keras import KerasTensor, layers

from tfprune.layers.prunable import kernel_class
from tfprune.surgery.activations import is_elementwise, on_constants
from tfprune.surgery.channels import Signal, channel_axis
from tfprune.surgery.links import Filters, Product
from tfprune.surgery.trace import Trace, register_rule


@register_rule(layers.Dense)
def _dense(trace: Trace, layer, spec, inputs, **_):
    if kernel_class(layer) is None:
        return trace.keep(layer, spec, inputs)

    def edit(config, count, biased):
        config.update(units=count(trace.axes[trace.path(layer, "kernel")][1]), use_bias=biased)

    return _product(trace, layer, spec, inputs, (0, 1), -1, True, edit)


@register_rule(layers.EinsumDense)
def _einsum_dense(trace: Trace, layer, spec, inputs, **_):
    labels = _matrix(layer)
    if kernel_class(layer) is None or labels is None:
        return trace.keep(layer, spec, inputs)
    in_axis, out_axis, out_label = labels

    def edit(config, count, biased):
        shape = config["output_shape"]
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        config["output_shape"] = (*shape[:-1], count(trace.axes[trace.path(layer, "kernel")][out_axis]))
        config["bias_axes"] = out_label if biased else None

    return _product(trace, layer, spec, inputs, (in_axis, out_axis), -1, True, edit)


@register_rule(layers.Conv1D, layers.Conv2D, layers.Conv3D)
def _conv(trace: Trace, layer, spec, inputs, **_):
    if kernel_class(layer) is None or layer.groups > 1:
        return trace.keep(layer, spec, inputs)
    uniform = _adds_no_padding(layer, inputs.spec.shape)
    rank = len(layer.kernel_size)
    return _product(
        trace, layer, spec, inputs, (rank, rank + 1), channel_axis(layer), uniform, _filters_edit(trace, layer)
    )


@register_rule(layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
def _conv_transpose(trace: Trace, layer, spec, inputs, **_):
    if kernel_class(layer) is None:
        return trace.keep(layer, spec, inputs)
    rank = len(layer.kernel_size)
    # Different output positions see different parts of the kernel, also where the image is constant.
    uniform = all(size == 1 for size in (*layer.kernel_size, *_tuple(layer.strides, rank)))
    return _product(
        trace, layer, spec, inputs, (rank + 1, rank), channel_axis(layer), uniform, _filters_edit(trace, layer)
    )


@register_rule(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
def _depthwise_conv(trace: Trace, layer, spec, inputs, **_):
    if kernel_class(layer) is None:
        return trace.keep(layer, spec, inputs)
    output = _filtered(trace, layer, spec, inputs, "kernel", "bias")
    if layer.use_bias:
        trace.bind(layer, "bias", 0, output.channels)
    return _activated(trace, layer, output)


@register_rule(layers.SeparableConv1D, layers.SeparableConv2D)
def _separable_conv(trace: Trace, layer, spec, inputs, **_):
    if kernel_class(layer) is None:
        return trace.keep(layer, spec, inputs)
    between = list(spec.shape)
    between[channel_axis(layer)] = inputs.spec.shape[channel_axis(layer)] * layer.depth_multiplier
    middle = _filtered(trace, layer, KerasTensor(between, spec.dtype), inputs, "depthwise_kernel", None)
    axes = len(layer.kernel_size), len(layer.kernel_size) + 1
    edit = _filters_edit(trace, layer, "pointwise_kernel")
    return _product(trace, layer, spec, middle, axes, channel_axis(layer), True, edit, "pointwise_kernel")


def _product(trace: Trace, layer, spec, inputs: Signal, axes, axis: int, uniform: bool, edit, name="kernel") -> Signal:
    given = trace.along(inputs, axis)
    in_axis, out_axis = axes
    trace.bind(layer, name, in_axis, given.channels)
    channels = trace.outputs_of(layer, name, out_axis, spec.shape[axis])
    trace.bind(layer, "bias", 0, channels)
    output = trace.signal(spec, axis, channels)

    def make():
        return Product(trace.weights, trace.path(layer, name), trace.path(layer, "bias"), in_axis, out_axis)

    trace.links.append(trace.kernel(layer, name, make).use(given, output, uniform))
    trace.edit(layer, edit)
    return _activated(trace, layer, output)


def _filtered(trace: Trace, layer, spec, inputs: Signal, name: str, bias: str | None) -> Signal:
    given = trace.along(inputs, channel_axis(layer))
    axis = len(layer.kernel_size)
    channels = np.repeat(trace.bind(layer, name, axis, given.channels), layer.depth_multiplier)
    output = trace.signal(spec, channel_axis(layer), channels)

    def make():
        return Filters(trace.weights, trace.path(layer, name), None if bias is None else trace.path(layer, bias))

    uniform = _adds_no_padding(layer, given.spec.shape)
    trace.links.append(trace.kernel(layer, name, make).use(given, output, uniform))
    return output


def _activated(trace: Trace, layer, output: Signal) -> Signal:
    if layer.activation is None:
        return output
    if not is_elementwise(layer.activation):
        return trace.keep(layer, output.spec, output)
    return trace.slotwise([output], output.spec, on_constants(layer.activation))


def _filters_edit(trace: Trace, layer, name: str = "kernel"):
    def edit(config, count, biased):
        axes = trace.axes[trace.path(layer, name)]
        rank = len(layer.kernel_size)
        transposed = isinstance(layer, (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose))
        config.update(filters=count(axes[rank if transposed else rank + 1]), use_bias=biased)

    return edit


def _adds_no_padding(layer, shape) -> bool:
    """Whether every weight meets a real entry at every position, for inputs of this shape (with batch axis)."""
    rank = len(layer.kernel_size)
    spatial = shape[1:-1] if layer.data_format == "channels_last" else shape[2:]
    reaches = [(k - 1) * d + 1 for k, d in zip(layer.kernel_size, _tuple(layer.dilation_rate, rank), strict=True)]
    if layer.padding == "valid" or all(reach == 1 for reach in reaches):
        return True
    if layer.padding == "causal" or None in spatial:
        return False
    steps = _tuple(layer.strides, rank)
    needed = [((n - 1) // step * step + reach, n) for n, step, reach in zip(spatial, steps, reaches, strict=True)]
    return all(most <= n for most, n in needed)


def _tuple(value, rank: int) -> tuple:
    return (value,) * rank if isinstance(value, int) else tuple(value)


def _matrix(layer) -> tuple[int, int, str] | None:
    """(input axis of the kernel, its output axis, label of the output), if the layer is dense along the last axis."""
    left, output = layer.equation.replace(" ", "").split("->")
    given, kernel = left.split(",")
    label_in, label_out = given[-1], output[-1]
    dense = (
        sorted(kernel) == sorted({label_in, label_out})
        and label_in not in output
        and label_out not in given
        and given[:-1] == output[:-1]
        and layer.bias_axes in (None, "", label_out)
    )
    return (kernel.index(label_in), kernel.index(label_out), label_out) if dense else None
