"""Attention against numbers: the projections are seen one by one once the layer is taken apart."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops
from seen_weights import inlined, same_weights, seen

from tfprune.connectivity.reachability import CONVENTIONS, Reachability, effective_masks
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable

pytestmark = pytest.mark.usefixtures("float64")
OPENED = L.MultiHeadAttention, L.GroupQueryAttention


def own(x, y, m):
    x = L.EinsumDense("btf,tfg->btg", (4, 4), bias_axes="tg")(x)
    return L.Dense(2)(L.MultiHeadAttention(2, 2, use_bias=False)(x, x)[:, 1:])


def across(x, y, m):
    return L.Dense(2)(
        L.MultiHeadAttention(2, 3, value_dim=2, use_bias=False)(L.Dense(4)(x), L.Dense(3, use_bias=False)(y))
    )


def causal(x, y, m):
    x = L.EinsumDense("btf,tfg->btg", (4, 4), bias_axes="tg")(x)
    return L.MultiHeadAttention(2, 2, use_bias=False)(x, x, use_causal_mask=True)[:, :2]


def causal_first(x, y, m):
    x = L.EinsumDense("btf,tfg->btg", (4, 4), bias_axes="tg")(x)
    return L.MultiHeadAttention(2, 2, use_bias=False)(x, x, use_causal_mask=True)[:, 0]


def softmax_with_a_mask(x, y, m):
    q, k, v = (L.EinsumDense("btf,tfg->btg", (4, 3))(x) for _ in range(3))
    scores = L.Softmax()(ops.einsum("bqd,bkd->bqk", q, k), mask=np.tri(4)[None] > 0)
    return L.Dense(1)(ops.matmul(scores, v)[:, :2])


def with_scores(x, y, m):
    y, scores = L.MultiHeadAttention(2, 2, use_bias=False)(x, y, return_attention_scores=True)
    return [L.Dense(2)(y), L.Dense(1)(scores[:, 0])]


def grouped(x, y, m):
    return L.Dense(2)(L.GroupQueryAttention(2, 4, 2, use_bias=False)(L.Dense(3)(x), y))


def with_a_given_mask(x, y, m):
    mask = ops.greater(m, 0)[:, None] * np.tri(4)
    return L.Dense(2)(L.MultiHeadAttention(1, 2, use_bias=False)(x, x, attention_mask=mask)[:, 1:3])


def with_biases(x, y, m):
    return L.Dense(2)(L.MultiHeadAttention(2, 2)(L.Dense(3)(x), L.Dense(3)(y)))


def plain_attention(x, y, m):
    return L.Dense(2)(L.Attention()([L.Dense(3, use_bias=False)(x), L.Dense(3, use_bias=False)(y)]))


def causal_attention(x, y, m):
    q, k, v = (L.EinsumDense("btf,tfg->btg", (4, 3))(x) for _ in range(3))
    return L.Dense(1)(L.Attention(use_scale=True)([q, v, k], use_causal_mask=True)[:, :2])


def additive_attention(x, y, m):
    return L.Dense(2)(L.AdditiveAttention()([L.Dense(3, use_bias=False)(x), L.Dense(3, use_bias=False)(y)]))


def attention_by_hand(x, y, m):
    q, k, v = (L.Dense(3, use_bias=False)(one) for one in (x, y, y))
    scores = ops.where(np.tri(4, 4, 1, dtype=bool), ops.einsum("bqd,bkd->bqk", q, k), -1e9)
    return ops.matmul(ops.softmax(scores), v)[:, :2]


EXACT = [own, across, causal, causal_first, softmax_with_a_mask, with_scores, grouped, plain_attention]
EXACT += [causal_attention]
BOUNDED = [with_biases, with_a_given_mask, additive_attention, attention_by_hand]


def _random_masks(model, densities=(0.7, 0.4, 0.25)):
    rng = np.random.default_rng(0)
    for density in densities:
        for _ in range(2):
            yield Masks({path: rng.random(kernel.shape) < density for path, kernel in prunable(model).items()})


@pytest.mark.parametrize("net", EXACT + BOUNDED, ids=lambda net: net.__name__)
def test_agrees_with_what_is_seen(net):
    x, y, m = keras.Input((4, 3)), keras.Input((4, 3)), keras.Input((4,))
    model = keras.Model([x, y, m], net(x, y, m))
    flat = inlined(model, OPENED)
    reachability, told_apart = Reachability(model), False
    assert reachability.barriers == ()
    for masks in _random_masks(model):
        expected = seen(flat, same_weights(masks, model, flat))
        effective = same_weights(reachability(masks), model, flat)
        assert set(expected) == set(effective)
        for path in expected:
            missed = expected[path] & ~effective[path]
            assert not missed.any(), (path, np.argwhere(missed))
            if net in EXACT:
                np.testing.assert_array_equal(effective[path], expected[path], path)
        told_apart |= sum(map(np.sum, effective.values())) < masks.kept
    assert told_apart


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_head_that_nobody_reads(convention):
    """Head 1's part of the output kernel is gone: half of the 3 x 4 entries of query, key and value kernel are left."""
    x = keras.Input((3, 3))
    model = keras.Model(x, L.MultiHeadAttention(2, 2, use_bias=False, name="look")(x, x))
    masks = {path: np.ones(kernel.shape, bool) for path, kernel in prunable(model).items()}
    masks["look/output_dense.kernel"][1] = False
    reachability = Reachability(model, convention=convention)
    assert reachability(masks).counts == {
        f"look/{part}_dense.kernel": 6 for part in ("query", "key", "value", "output")
    }
    assert reachability.uses == {f"look/{part}_dense.kernel": 3 for part in ("query", "key", "value", "output")}
    masks["look/value_dense.kernel"][:, 0] = False
    assert reachability(masks).kept == 0


def test_blocks_of_keras_hub():
    """With two heads of width 4, of which one is read, and two of ten units of the feed-forward part."""
    hub = pytest.importorskip("keras_hub")
    x = keras.Input((3, 8))
    for block in (hub.layers.TransformerEncoder(10, 2, name="b"), hub.layers.TransformerDecoder(10, 2, name="b")):
        model = keras.Model(x, block(x))
        masks = {path: np.ones(kernel.shape, bool) for path, kernel in prunable(model).items()}
        (output,) = (path for path in masks if path.endswith("output_dense.kernel") and masks[path].ndim == 3)
        masks[output][1] = False
        masks["b/feedforward_output_dense.kernel"][2:] = False
        reachability = Reachability(model)
        assert reachability.barriers == ()
        counts = sorted(reachability(masks).counts.values())
        assert counts == [16, 16, 32, 32, 32, 32]
        assert set(reachability.uses.values()) == {3}
        nothing = {path: np.zeros_like(mask) for path, mask in masks.items()}
        assert effective_masks(model, nothing).kept == 0
