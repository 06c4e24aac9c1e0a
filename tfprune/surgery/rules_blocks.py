"""Rules of KerasHub's blocks that cannot be looked into: what goes in and comes out stays as wide.

Their constructors take the width of the feed-forward part, so that the block without some of it is of the same class.
Heads are as wide as the block has features for each, so that they all stay.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import tree

from tfprune.surgery.activations import is_elementwise
from tfprune.surgery.channels import Signal
from tfprune.surgery.links import Opaque
from tfprune.surgery.trace import Trace, register_rule

_BLOCKS = (
    *("keras_hub.TransformerDecoder", "keras_hub.GPTNeoXDecoder", "keras_hub.BloomDecoder"),
    *("keras_hub.LlamaTransformerDecoder", "keras_hub.MistralTransformerDecoder", "keras_hub.QwenTransformerDecoder"),
    *("keras_hub.Qwen3TransformerDecoder", "keras_hub.Phi3Decoder", "keras_hub.GemmaDecoderBlock"),
    "keras_hub.T5TransformerLayer",
)
_WIDE = (
    *("_feedforward_intermediate_dense", "feedforward_intermediate_dense", "_mlp_intermediate_dense"),
    *("gating_ffw_2", "input_projector"),
)
_GATE = "_feedforward_gate_dense", "feedforward_gate_dense", "gating_ffw", "gate_projector"
_OUT = (
    *("_feedforward_output_dense", "feedforward_output_dense", "_mlp_output_dense"),
    *("ffw_linear", "output_projector"),
)


@register_rule(*_BLOCKS)
def _block(trace: Trace, layer, spec, *args, **kwargs):
    wide, gate, out = (
        next((found for name in names if (found := getattr(layer, name, None))), None) for names in (_WIDE, _GATE, _OUT)
    )
    activation = getattr(layer, "activation", keras.activations.gelu)
    if wide is None or out is None or not is_elementwise(activation):
        return trace.keep_whole(layer, spec, *args, **kwargs)
    given = [x for x in tree.flatten((args, kwargs)) if isinstance(x, Signal)]
    outputs = trace.keep(layer, spec, *args, **kwargs)
    output, *_ = tree.flatten(outputs)  # what else comes out knows nothing of the feed-forward part
    inside = trace.fixed(output.spec)
    trace.links.append(Opaque(given, [inside]))
    hidden = trace.call(wide, inside)
    if gate is not None:
        rests = _at_zero(activation) == 0
        hidden = trace.slotwise(
            [hidden, trace.call(gate, inside)],
            hidden.spec,
            lambda x, by: np.where((x == 0) | ((by == 0) & rests), 0.0, np.nan),
        )
    elif wide.activation is keras.activations.linear:  # the block applies one itself, which leaves 0 alone
        hidden = trace.slotwise([hidden], hidden.spec, lambda x: np.where(x == 0, 0.0, np.nan))
    end = trace.call(out, hidden)
    trace.channels.fix(end.channels)
    trace.links.append(Opaque([end], [output]))

    def edit(config, count, biased):
        times = config["intermediate_dim"] // len(hidden.channels)
        config["intermediate_dim"] = times * count(hidden.channels)

    trace.edit(layer, edit)
    return outputs


def _at_zero(activation) -> float:
    return float(keras.ops.convert_to_numpy(activation(keras.ops.zeros((1,))))[0])
