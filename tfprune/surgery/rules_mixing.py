"""Rules of normalisations that mix features: they hold the channels, which their weights go along with."""

from __future__ import annotations

import numpy as np
from keras import layers

from tfprune.surgery.channels import Signal
from tfprune.surgery.links import Opaque
from tfprune.surgery.trace import Trace, register_rule


@register_rule(layers.LayerNormalization, layers.RMSNormalization, layers.UnitNormalization)
def _normalization(trace: Trace, layer, spec, inputs, **_):
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    return _normalized(trace, layer, spec, inputs, axes)


@register_rule(
    *("keras_hub.LlamaLayerNorm", "keras_hub.QwenLayerNorm", "keras_hub.QwenMoeLayerNorm", "keras_hub.Qwen3LayerNorm"),
    *("keras_hub.Qwen3MoeLayerNorm", "keras_hub.Phi3LayerNorm", "keras_hub.MistralLayerNormalization"),
    *("keras_hub.MixtralLayerNormalization", "keras_hub.GptOssLayerNormalization", "keras_hub.T5LayerNorm"),
    *("keras_hub.RMSNormalization", "keras_hub.EdRecRMSNormalization", "keras_hub.Gemma4VNorm"),
)
def _root_mean_square(trace: Trace, layer, spec, inputs, **_):
    if hasattr(layer, "input_dim"):  # KerasHub's class of the same name, whose width is not in its configuration
        return trace.keep(layer, spec, inputs)
    return _normalized(trace, layer, spec, inputs, [-1])


def _normalized(trace: Trace, layer, spec, x: Signal, axes) -> Signal:
    axes = {axis % len(x.spec.shape) for axis in axes}
    if x.axis is None or 0 in axes or (x.axis in axes and len(axes) > 1):
        return trace.keep(layer, spec, x)
    if x.axis in axes:
        return mixed(trace, layer, spec, x, "gamma", "beta", "scale", "weight")
    # Each channel by itself, over another axis along which the weights lie.
    return trace.slotwise([x], spec, lambda constants: np.full_like(constants, np.nan))


@register_rule(layers.GroupNormalization)
def _over_groups(trace: Trace, layer, spec, inputs, **_):
    if layer.axis % len(inputs.spec.shape) == 0:
        return trace.keep(layer, spec, inputs)
    x = trace.along(inputs, layer.axis)
    if x.axis is None or layer.groups not in (1, len(x.channels)):
        return trace.keep(layer, spec, x)
    if layer.groups < len(x.channels):
        return mixed(trace, layer, spec, x, "gamma", "beta")
    _bind(trace, layer, x, "gamma", "beta")

    def edit(config, count, biased):
        config["groups"] = count(x.channels)

    trace.edit(layer, edit)
    beta = trace.path(layer, "beta")
    # What is the same at all positions is its own mean.
    return trace.slotwise([x], spec, lambda constants: 0 * constants + trace.weights.get(beta, 0))


def mixed(trace: Trace, layer, spec, x: Signal, *names: str) -> Signal:
    """What an operation makes that reads all channels and writes the same ones, scaled by weights of these names."""
    _bind(trace, layer, x, *names)
    trace.channels.hold(x.channels)
    output = trace.signal(spec, x.axis, x.channels)
    trace.links.append(Opaque([x], [output]))
    return output


def _bind(trace: Trace, layer, x: Signal, *names: str) -> None:
    """Binds those weights that have an entry for each channel."""
    for name in names:
        if tuple(getattr(getattr(layer, name, None), "shape", ())) == (len(x.channels),):
            trace.bind(layer, name, 0, x.channels)
