"""Rules of layers that look rows of a table up, by tokens or by positions."""

from __future__ import annotations

import math

import tensorflow as tf
from keras import layers, ops

from tfprune.connectivity.graph import Walk, register_rule


@register_rule(layers.Embedding)
def _embedding(walk: Walk, layer, inputs):
    """Any token may come: a feature depends on its token where any row has it. To look up is no multiplication.

    In the linear network it is the mean row.
    """
    return looked_up(walk, walk.kernel(layer.embeddings), inputs)


@register_rule(layers.ReversibleEmbedding)
def _reversible_embedding(walk: Walk, layer, inputs, reverse=False):
    if not reverse:
        return looked_up(walk, walk.kernel(layer.embeddings), inputs)
    variable = layer.embeddings if layer.tie_weights else layer.reverse_embeddings
    kernel = walk.kernel(variable)
    walk.use(variable, math.prod(inputs.shape[1:-1]))
    return walk.linear(lambda x: ops.matmul(x, tf.transpose(kernel) if layer.tie_weights else kernel), inputs)


@register_rule("keras_hub.PositionEmbedding")
def _position_embedding(walk: Walk, layer, inputs, start_index=0, positions=None):
    """A row for each position, whatever the inputs are: it depends on none of them, and may be other than 0.

    Its weights are effective where they are needed, if any input comes this far.
    """
    length, width = inputs.shape[-2:]
    kernel = walk.kernel(layer.position_embeddings)
    if positions is not None or not isinstance(start_index, int):  # from which any row may come
        rows = ops.broadcast_to(ops.sum(kernel, axis=0), (length, width))
        return constant_rows(walk, ops.broadcast_to(rows, inputs.shape), [inputs, positions, start_index])
    return constant_rows(walk, ops.broadcast_to(kernel[start_index : start_index + length], inputs.shape), [inputs])


def looked_up(walk: Walk, kernel, tokens):
    """Rows of a kernel, for tokens (1, ...)."""
    reduce = ops.sum if walk.boolean else ops.mean
    tokens = walk.lift(walk.linear(tf.identity, tokens))  # token 0 has a row, too
    return walk.linear(lambda x: x[..., None] * reduce(kernel, axis=0), tokens)


def constant_rows(walk: Walk, rows, given):
    """What comes of kernel entries that no input multiplies; they are effective if something of `given` arrives."""
    if not walk.boolean:
        return rows
    arrived = ops.max(ops.stack([ops.max(x) for x in given if tf.is_tensor(x)]))
    read = rows * tf.stop_gradient(arrived)
    return walk.lift(read - tf.stop_gradient(read))
