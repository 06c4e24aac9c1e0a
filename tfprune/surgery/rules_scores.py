"""Rules of attention without heads: scores sum over the channels of queries and keys, averages keep those of values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from keras import layers, tree

from tfprune.layers.kinds import plain_type
from tfprune.surgery.blocks import Scores, product_is_empty
from tfprune.surgery.channels import Signal
from tfprune.surgery.trace import Trace, register_rule


@register_rule(layers.Attention)
def _attention(trace: Trace, layer, spec, inputs, mask=None, return_attention_scores=False, **_):
    # A channel of a concatenated score is tanh(query + key), which is 0 where both are.
    is_empty = product_is_empty if layer.score_mode == "dot" else _sum_is_empty
    return _averages(trace, layer, spec, inputs, mask, return_attention_scores, is_empty)


@register_rule(layers.AdditiveAttention)
def _additive_attention(trace: Trace, layer, spec, inputs, mask=None, return_attention_scores=False, **_):
    scale = None if layer.scale is None else trace.path_of(layer.scale)

    def is_empty(query, key):
        unread = False if scale is None else trace.weights[scale] == 0
        return _sum_is_empty(query, key) | unread

    return _averages(trace, layer, spec, inputs, mask, return_attention_scores, is_empty, layer.scale)


def _averages(trace: Trace, layer, spec, inputs, mask, with_scores: bool, is_empty: Callable, scale=None):
    masks = [one for one in tree.flatten(mask) if isinstance(one, Signal)]
    own = plain_type(layer).__module__.split(".")[0] == "keras"  # of a subclass nobody knows which part is another
    given = [trace.along(x, -1) for x in inputs] if own else inputs
    query, value, key = (*given, given[1])[:3]
    if not own or any(x.axis is None for x in given) or len(query.channels) != len(key.channels):
        return trace.keep_whole(layer, spec, *inputs, *masks)
    trace.channels.couple(query.channels, key.channels)
    if scale is not None:
        trace.bind(layer, scale, 0, query.channels)
    first = spec[0] if with_scores else spec
    # Steps of the queries that are masked give 0.
    constants = np.copy if not masks else lambda x: np.where(x == 0, x, np.nan)
    outputs = [trace.slotwise([value], first, constants, axis=-1)]
    if with_scores:
        outputs.append(trace.fixed(spec[1]))
    trace.links.append(Scores([query, key], outputs, is_empty))
    trace.depend(outputs, *masks)
    return tuple(outputs) if with_scores else outputs[0]


def _sum_is_empty(query: np.ndarray, key: np.ndarray) -> np.ndarray:
    return (query == 0) & (key == 0)
