"""Rules of attention with heads: the heads are channels, and so are the numbers that each of them averages."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import numpy as np
from keras import KerasTensor, layers

from tfprune.layers.kinds import plain_type
from tfprune.surgery.blocks import Attending, Projection, Scores, product_is_empty
from tfprune.surgery.channels import Signal
from tfprune.surgery.links import Product
from tfprune.surgery.trace import Trace, register_rule


@register_rule(layers.MultiHeadAttention)
def _multi_head(trace: Trace, layer, spec, *args, **kwargs):
    call = _call_of(layer, args, kwargs)
    if call is None or (layer._output_shape is not None and len(layer._output_shape) > 1):
        return trace.keep_whole(layer, spec, *args, **kwargs)
    return _multi_head_of(trace, layer, spec, call)


@register_rule("keras_hub.CachedMultiHeadAttention")
def _cached(trace: Trace, layer, spec, *args, **kwargs):
    call = _call_of(layer, args, kwargs)
    if call is None or layer._output_shape is not None:
        return trace.keep_whole(layer, spec, *args, **kwargs)
    # Keys and values stand in one cache, so that both are as wide.
    for dense in (layer.key_dense, layer.value_dense):
        trace.channels.fix(trace.outputs_of(layer, dense.kernel, 2))
    return _multi_head_of(trace, layer, spec, call)


def _multi_head_of(trace: Trace, layer, spec, call: _Call):
    heads = trace.outputs_of(layer, layer.query_dense.kernel, 1)
    parts = _Attention(trace, layer, call, heads, heads)
    widths, values = parts.key_width(), parts.value_width()
    outputs = trace.outputs_of(layer, layer.output_dense.kernel, 2)

    def edit(config, count, biased):
        config.update(num_heads=count(heads), key_dim=count(widths), value_dim=count(values))
        if config["output_shape"] is not None or count(outputs) != count(parts.query.channels):
            config["output_shape"] = (count(outputs),)

    trace.edit(layer, edit)
    return parts.link(spec, outputs)


@register_rule(layers.GroupQueryAttention)
def _grouped(trace: Trace, layer, spec, *args, **kwargs):
    call = _call_of(layer, args, kwargs)
    if call is None:
        return trace.keep_whole(layer, spec, *args, **kwargs)
    heads = trace.outputs_of(layer, layer._key_dense.kernel, 1)
    repeated = np.repeat(heads, layer.num_repeats)
    parts = _Attention(trace, layer, call, heads, repeated)
    widths = parts.key_width()
    trace.channels.couple(widths, parts.value_width())
    outputs = trace.outputs_of(layer, layer._output_dense.kernel, 2)
    for x in (parts.key, parts.value):  # the layer wants all to be as wide, and makes as many features as it gets
        if len(x.channels) != len(outputs):
            return trace.keep_whole(layer, spec, *args, **kwargs)
        trace.channels.couple(outputs, x.channels)
    trace.channels.couple(outputs, parts.query.channels)
    trace.edit(
        layer,
        lambda config, count, biased: config.update(
            num_key_value_heads=count(heads), num_query_heads=count(repeated), head_dim=count(widths)
        ),
    )
    return parts.link(spec, outputs)


@dataclass(frozen=True)
class _Call:
    """What a layer is called with: signals, and whether the weights of the average come out, too."""

    query: Signal
    key: Signal
    value: Signal
    masks: tuple[Signal, ...]
    scores: bool


def _call_of(layer, args, kwargs) -> _Call | None:
    """None where something takes part that may depend on single heads, or that is not what Keras says."""
    denses = layer._query_dense, layer._key_dense, layer._value_dense, layer._output_dense
    if plain_type(layer).__module__.split(".")[0] not in ("keras", "keras_hub"):  # a subclass of somebody else
        return None
    if any(dense.quantization_mode or dense.lora_enabled for dense in denses):
        return None
    given = inspect.signature(plain_type(layer).call).bind(layer, *args, **kwargs).arguments
    given.pop("self")
    query, value, mask = given.pop("query"), given.pop("value"), given.pop("attention_mask", None)
    key = given.pop("key", None)
    key = value if key is None else key
    rank = len(query.spec.shape)
    shape = getattr(mask.spec if isinstance(mask, Signal) else mask, "shape", ())
    masks = [mask, *(given.pop(f"{name}_mask", None) for name in ("query", "value", "key"))]
    if any(isinstance(x, Signal) for x in given.values()) or len(shape) > rank:
        return None
    masks = tuple(x for x in masks if isinstance(x, Signal))
    return _Call(query, key, value, masks, bool(given.get("return_attention_scores")))


class _Attention:
    """The channels of one use of a layer, bound to its variables.

    Args:
        heads: channels of the heads of keys and values.
        repeated: of those of queries, each as often as it has any.
    """

    def __init__(self, trace: Trace, layer, call: _Call, heads: np.ndarray, repeated: np.ndarray):
        self._trace, self._layer, self._call = trace, layer, call
        self._heads, self._repeated = heads, repeated
        self.query, self.key, self.value = (trace.along(x, -1) for x in (call.query, call.key, call.value))
        self._denses = {"query": layer._query_dense, "key": layer._key_dense, "value": layer._value_dense}
        if getattr(layer, "_use_gate", getattr(layer, "use_gate", False)):
            self._denses["gate"] = layer._gate_dense
        given = {"query": self.query, "gate": self.query, "key": self.key, "value": self.value}
        for name, dense in self._denses.items():
            trace.bind(layer, dense.kernel, 0, given[name].channels)
            self._along(dense, 1, repeated if name in ("query", "gate") else heads)
        trace.bind(layer, layer._output_dense.kernel, 0, repeated)

    def key_width(self) -> np.ndarray:
        """Channels of the numbers of which scores are made, n⁻¹ᐟ² times the sum of n: fewer are multiplied by more."""
        trace, query = self._trace, self._denses["query"]
        widths = trace.outputs_of(self._layer, query.kernel, 2)
        self._along(query, 2, widths)
        self._along(self._denses["key"], 2, widths)
        if self._layer._flash_attention:  # which takes some widths only
            trace.channels.fix(widths)
        for variable in (query.kernel, query.bias):
            if variable is not None:
                trace.factors[trace.path_of(variable)] = lambda stays: float(np.sqrt(stays[widths].mean()))
        return widths

    def value_width(self) -> np.ndarray:
        """Channels of the numbers that are averaged."""
        widths = self._trace.outputs_of(self._layer, self._denses["value"].kernel, 2)
        for name in {"value", "gate"} & self._denses.keys():
            self._along(self._denses[name], 2, widths)
        self._trace.bind(self._layer, self._layer._output_dense.kernel, 1, widths)
        return widths

    def link(self, spec, outputs: np.ndarray):
        """Links the inputs to the outputs, of whose channels these are the numbers."""
        trace, layer, call = self._trace, self._layer, self._call
        dense = layer._output_dense
        if dense.bias is not None:
            trace.bind(layer, dense.bias, 0, outputs)
        output = trace.signal(spec[0] if call.scores else spec, -1, outputs)
        scores = ()
        if call.scores:
            axis = len(spec[1].shape) - 2 * len(getattr(layer, "_attention_axes", [1])) - 1
            scores = (trace.signal(spec[1], axis, self._repeated),)
        index = np.arange(len(self._repeated)) // (len(self._repeated) // len(self._heads))
        same = np.arange(len(self._repeated))
        values = self._made("value", 1, self.value)
        others = [(self._made("query", 1, self.query), same), (self._made("key", 1, self.key), index)]
        if "gate" in self._denses:
            others.append((self._made("gate", 1, self.query), same))
        heads = self._signal(self._repeated)
        trace.links.append(Attending(values, index, others, heads, *scores))
        parts = [self._made(name, 2, given) for name, given in (("query", self.query), ("key", self.key))]
        trace.links.append(Scores(parts, [heads, *scores], product_is_empty))
        numbers = self._averaged()
        for axis, x in ((1, numbers), (0, heads)):
            trace.links.append(self._reader(dense, axis).use(x, output, uniform=False))
        trace.depend([output, *scores], *call.masks)
        return (output, *scores) if scores else output

    def _averaged(self) -> Signal:
        values = self._made("value", 2, self.value)
        numbers = self._signal(values.channels)
        index = np.arange(len(values.channels))
        others = [(self._made("gate", 2, self.query), index)] if "gate" in self._denses else []
        self._trace.links.append(Attending(values, index, others, numbers))
        return numbers

    def _made(self, name: str, axis: int, given: Signal) -> Signal:
        """The blocks that a projection makes along an axis of its kernel."""
        trace, dense = self._trace, self._denses[name]
        path = trace.path_of(dense.kernel)

        def make():
            return Projection(trace.weights, path, trace.path(dense, "bias"), 0, axis, axis - 1)

        if axis == 1:
            projection = trace.kernel(self._layer, dense.kernel, make)
        else:
            projection = trace.second(dense.kernel, axis, make)
        output = self._signal(trace.axes[path][axis])
        trace.links.append(projection.use(given, output, uniform=False))
        return output

    def _reader(self, dense, axis: int) -> Product:
        trace = self._trace
        path = trace.path_of(dense.kernel)

        def make():
            return Product(trace.weights, path, trace.path(dense, "bias"), axis, 2)

        if axis == 0:
            return trace.kernel(self._layer, dense.kernel, make)
        return trace.second(dense.kernel, axis, make, reads=True)

    def _along(self, dense, axis: int, channels: np.ndarray) -> None:
        self._trace.bind(self._layer, dense.kernel, axis, channels)
        if dense.bias is not None:
            self._trace.bind(self._layer, dense.bias, axis - 1, channels)

    def _signal(self, channels: np.ndarray) -> Signal:
        return self._trace.signal(KerasTensor((None, len(channels)), "float32"), 1, channels)
