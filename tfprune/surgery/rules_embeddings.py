"""Rules of embeddings: the columns of their tables are channels, with all that they are added to."""

from __future__ import annotations

import numpy as np
from keras import layers

from tfprune.surgery.channels import Signal
from tfprune.surgery.links import Product
from tfprune.surgery.tables import Table
from tfprune.surgery.trace import Trace, register_rule


@register_rule(layers.Embedding)
def _embedding(trace: Trace, layer, spec, inputs, **_):
    if _is_altered(layer):
        return trace.keep(layer, spec, inputs)
    columns = trace.outputs_of(layer, "embeddings", 1)
    trace.edit(layer, lambda config, count, biased: config.update(output_dim=count(columns)))
    return _looked_up(trace, layer, "embeddings", spec, columns, inputs)


@register_rule(layers.ReversibleEmbedding)
def _reversible(trace: Trace, layer, spec, inputs, reverse=False, **_):
    if _is_altered(layer):
        return trace.keep(layer, spec, inputs)
    columns = trace.outputs_of(layer, "embeddings", 1)
    trace.edit(layer, lambda config, count, biased: config.update(output_dim=count(columns)))
    if not layer.tie_weights:
        columns = trace.bind(layer, "reverse_embeddings", 0, columns)
    if not reverse:
        return _looked_up(trace, layer, "embeddings", spec, columns, inputs)
    x = trace.along(inputs, -1)
    trace.channels.couple(columns, x.channels)
    output = trace.fixed(spec)  # the vocabulary is not the layer's to cut
    if layer.tie_weights:
        trace.links.append(_table(trace, layer, "embeddings").use_reversed(x, output))
        return output
    path = trace.path(layer, "reverse_embeddings")
    product = trace.kernel(
        layer, "reverse_embeddings", lambda: Product(trace.weights, path, f"{path} has no bias", 0, 1)
    )
    trace.links.append(product.use(x, output, uniform=False))
    return output if layer.logit_soft_cap is None else trace.slotwise([output], spec, lambda x: np.full_like(x, np.nan))


@register_rule("keras_hub.PositionEmbedding")
def _position_embedding(trace: Trace, layer, spec, inputs, start_index=0, positions=None):
    if isinstance(positions, Signal) or isinstance(start_index, Signal):
        return trace.keep(layer, spec, inputs, start_index, positions)
    x = trace.along(inputs, -1)  # of its values nothing is used
    columns = trace.bind(layer, "position_embeddings", 1, x.channels)
    return _looked_up(trace, layer, "position_embeddings", spec, columns)


@register_rule("keras_hub.TokenAndPositionEmbedding")
def _token_and_position_embedding(trace: Trace, layer, spec, inputs, start_index=0, positions=None):
    if isinstance(positions, Signal) or isinstance(start_index, Signal) or _is_altered(layer.token_embedding):
        return trace.keep(layer, spec, inputs, start_index, positions)
    columns = trace.outputs_of(layer.token_embedding, "embeddings", 1)
    if not layer.token_embedding.tie_weights:
        trace.bind(layer.token_embedding, "reverse_embeddings", 0, columns)
    trace.bind(layer.position_embedding, "position_embeddings", 1, columns)
    trace.edit(layer, lambda config, count, biased: config.update(embedding_dim=count(columns)))
    tokens = _looked_up(trace, layer.token_embedding, "embeddings", spec, columns, inputs)
    places = _looked_up(trace, layer.position_embedding, "position_embeddings", spec, columns)
    return trace.slotwise([tokens, places], spec, np.add)


def _looked_up(trace: Trace, layer, name: str, spec, columns: np.ndarray, given: Signal | None = None) -> Signal:
    output = trace.signal(spec, -1, columns)
    trace.links.append(_table(trace, layer, name).use(given, output))
    return output


def _table(trace: Trace, layer, name: str) -> Table:
    return trace.kernel(layer, name, lambda: Table(trace.weights, trace.path(layer, name)))


def _is_altered(layer) -> bool:
    """Whether the table is not the variable that the layer reads: a low-rank update, or quantized."""
    return bool(layer.lora_enabled or layer.quantization_mode)
