"""Rules of attention between queries, keys and values, once their kernels are done, and of softmax with a mask.

A softmax is its numerators over their sum: none is 0 but by the mask, each is the product of its mask and what its
score makes, and each output of a group depends on all of the group that are not 0. A constant mask is known entry by
entry: causal attention leads from no later position, and where one entry alone is left it is the constant 1.
In the linear network softmax is dropped and masks that are no constants are open.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from keras import layers, ops

from tfprune.connectivity.graph import Walk, register_rule
from tfprune.layers.rule_table import NoRule


@register_rule(layers.Softmax)
def _softmax(walk: Walk, layer, inputs, mask=None):
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    return weights_of(walk, inputs, mask, [axis % len(inputs.shape) for axis in axes])


@register_rule("DotProductAttention")
def _dot_product_attention(walk: Walk, operation, query, key, value, bias=None, mask=None, scale=None):
    """(1, T, N, H), (1, S, K, H), (1, S, K, H): head n of N looks at head n // (N / K)."""
    if bias is not None and tf.is_tensor(bias):
        raise NoRule(f"{operation.name!r}: nothing says what attention by a bias that is computed depends on")
    if operation.is_causal:
        causal = np.tril(np.ones((query.shape[1], key.shape[1]), bool))
        mask = causal if mask is None else _both(walk, mask, causal)
    return attention(walk, _repeated(walk, query, key), _repeated(walk, query, value), mask, query)


def attention(walk: Walk, key, value, mask, query):
    scores = walk.linear(tf.identity, walk.product(lambda q, k: ops.einsum("bqnh,bknh->bnqk", q, k), query, key))
    weights = weights_of(walk, scores, mask, [3])
    return walk.product(lambda w, v: ops.einsum("bnqk,bknh->bqnh", w, v), weights, value)


@register_rule(layers.Attention)
def _attention(walk: Walk, layer, inputs, return_attention_scores=False, use_causal_mask=False):
    """Query (1, T, H), value (1, S, H), key as value if none is given. The linear network takes no sums of both."""
    query, value, key = inputs if len(inputs) == 3 else (*inputs, inputs[1])
    if layer.score_mode == "dot":
        scores = walk.product(lambda q, k: ops.einsum("bqh,bkh->bqk", q, k), query, key)
    else:
        scores = _concatenated(walk, query, key)
    return _looked_at(walk, scores, value, use_causal_mask, return_attention_scores)


@register_rule(layers.AdditiveAttention)
def _additive_attention(walk: Walk, layer, inputs, return_attention_scores=False, use_causal_mask=False):
    query, value, key = inputs if len(inputs) == 3 else (*inputs, inputs[1])
    return _looked_at(walk, _concatenated(walk, query, key), value, use_causal_mask, return_attention_scores)


def _concatenated(walk: Walk, query, key):
    if not walk.boolean:  # a product, so that it is linear in each
        return ops.einsum("bqh,bkh->bqk", query, key)
    return walk.linear(lambda q, k: ops.sum(q[:, :, None] + k[:, None], axis=-1), query, key)


def _looked_at(walk: Walk, scores, value, causal: bool, with_scores: bool):
    if not walk.boolean:
        outputs = ops.matmul(scores, value)
        return (outputs, scores) if with_scores else outputs
    scores = walk.linear(tf.identity, scores)
    mask = np.tril(np.ones(scores.shape[1:], bool))[None] if causal else None
    weights = weights_of(walk, scores, mask, [2])
    outputs = walk.product(lambda w, v: ops.matmul(w, v), weights, value)
    return (outputs, weights) if with_scores else outputs


def weights_of(walk: Walk, scores, mask, axes: Sequence[int]):
    """A softmax along some axes, where the mask is not 0.

    Args:
        scores: tensor (1, ...).
        mask: None, an array, or a tensor of the walk, that can be broadcast to `scores`.
        axes: of one group.
    """
    if mask is None or not walk.boolean:
        return walk.lift(walk.mix(scores, axes))
    if not tf.is_tensor(mask):
        open_at = np.broadcast_to(np.asarray(mask) != 0, scores.shape).astype(np.float32)
        several = np.float32(open_at.sum(axis=tuple(axes), keepdims=True) > 1)
        summed = walk.linear(
            lambda x: tf.reduce_sum(x * open_at, list(axes), keepdims=True) * open_at * several, scores
        )
        return walk.lift(summed, open_at)
    numerators = walk.product(ops.multiply, walk.lift(walk.linear(tf.identity, scores)), mask)
    return walk.mix(walk.linear(tf.identity, numerators), axes, keeps_zero=True)


def _both(walk: Walk, mask, causal: np.ndarray):
    if not tf.is_tensor(mask):
        return np.logical_and(mask, causal)
    return walk.linear(lambda x: x * causal.astype(np.float32), mask)


def _repeated(walk: Walk, query, x):
    times = query.shape[2] // x.shape[2]
    return x if times == 1 else walk.linear(lambda x: ops.repeat(x, times, axis=2), x, cut=False)
