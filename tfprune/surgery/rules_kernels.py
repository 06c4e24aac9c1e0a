"""The rule of layers with kernels: dense layers and convolutions, as `tfprune.layers.kinds` tells them."""

from __future__ import annotations

import numpy as np
from keras import KerasTensor

from tfprune.layers.kinds import (
    KINDS,
    TRANSPOSED,
    Kernel,
    channel_axis,
    channel_kernels,
    kind_of,
    plain_type,
    resize,
    spatial,
)
from tfprune.surgery.activations import is_elementwise, on_constants
from tfprune.surgery.channels import Signal
from tfprune.surgery.links import Filters, Product
from tfprune.surgery.trace import Trace, register_rule


@register_rule(*KINDS)
def _through_kernels(trace: Trace, layer, spec, inputs, **_):
    kernels = channel_kernels(layer)
    if not kernels and not _is_depthwise(layer):
        return trace.keep(layer, spec, inputs)
    output = trace.along(inputs, channel_axis(layer))
    if not kernels:
        output = _through_groups(trace, layer, output, spec)
    else:
        for kernel in kernels:
            output = _through(trace, layer, kernel, output, spec, is_last=kernel is kernels[-1])
        made = output.channels
        trace.edit(layer, lambda config, count, biased: resize(layer, config, count(made), biased))
    if layer.activation is None:
        return output
    if not is_elementwise(layer.activation):
        return trace.keep(layer, spec, output)
    return trace.slotwise([output], spec, on_constants(layer.activation))


class _FiltersOfGroups(Filters):
    """A grouped convolution's kernel (..., 1, outputs) with as many groups as inputs and outputs."""

    @property
    def kernel(self) -> np.ndarray:
        """View (..., inputs, 1)."""
        return super().kernel.swapaxes(-1, -2)


def _is_depthwise(layer) -> bool:
    """Whether a convolution has a group, of one channel, for each that it makes."""
    groups = getattr(layer, "groups", 1)
    return groups > 1 and kind_of(layer) is not None and layer.kernel.shape[-2:] == (1, groups)


def _through_groups(trace: Trace, layer, given: Signal, spec) -> Signal:
    path = trace.path(layer, "kernel")
    shape = trace.weights[path].shape
    channels = trace.bind(layer, "kernel", len(shape) - 1, given.channels)
    trace.bind(layer, "bias", 0, channels)

    def edit(config, count, biased):
        resize(layer, config, count(channels), biased)
        config["groups"] = count(channels)

    trace.edit(layer, edit)
    filters = trace.kernel(layer, "kernel", lambda: _FiltersOfGroups(trace.weights, path, trace.path(layer, "bias")))
    output = trace.signal(spec, channel_axis(layer), given.channels)
    trace.links.append(filters.use(given, output, _is_uniform(layer, shape[:-2], given.spec.shape)))
    return output


def _through(trace: Trace, layer, kernel: Kernel, given: Signal, spec, is_last: bool) -> Signal:
    path = trace.path(layer, kernel.name)
    shape = trace.weights[path].shape
    inputs, outputs = kernel.inputs % len(shape), kernel.outputs[-1] % len(shape)
    channels = trace.bind(layer, kernel.name, inputs, given.channels)
    if kernel.is_depthwise:
        channels = np.repeat(channels, shape[outputs])
    else:
        channels = trace.outputs_of(layer, kernel.name, outputs)
    bias = trace.path(layer, "bias") if is_last else None
    if is_last:
        trace.bind(layer, "bias", 0, channels)

    def make():
        if kernel.is_depthwise:
            return Filters(trace.weights, path, bias)
        return Product(trace.weights, path, bias, inputs, outputs)

    wide = list(spec.shape)
    wide[channel_axis(layer)] = len(channels)
    output = trace.signal(KerasTensor(wide, spec.dtype), channel_axis(layer), channels)
    uniform = trace.takes_bias(layer) and _is_uniform(layer, shape[:-2], given.spec.shape)
    trace.links.append(trace.kernel(layer, kernel.name, make).use(given, output, uniform))
    return output


def _is_uniform(layer, sizes, shape) -> bool:
    """Whether a constant input adds the same at every position of the outputs.

    Args:
        sizes: of the kernel along the positions; none in a dense layer.
        shape: of the inputs, with batch axis.
    """
    if plain_type(layer) in TRANSPOSED:
        # Different output positions see different parts of the kernel, also where the image is constant.
        return all(size == 1 for size in (*sizes, *_tuple(layer.strides, len(sizes))))
    if all(size == 1 for size in sizes) or layer.padding == "valid":
        return True
    if layer.padding == "causal" or None in spatial(layer, shape):
        return False
    steps, dilations = _tuple(layer.strides, len(sizes)), _tuple(layer.dilation_rate, len(sizes))
    axes = zip(spatial(layer, shape), sizes, steps, dilations, strict=True)
    # Every weight meets a real entry at every position.
    return all((n - 1) // step * step + (size - 1) * by + 1 <= n for n, size, step, by in axes)


def _tuple(value, rank: int) -> tuple:
    return (value,) * rank if isinstance(value, int) else tuple(value)
