"""Attention without heads and layer scales: channels that add nothing leave, outputs stay the same."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfprune.surgery.compact import compact

RNG = np.random.default_rng(0)
GIVEN = [RNG.normal(size=(2, 5, 3)), RNG.normal(size=(2, 7, 3)), RNG.random((2, 7)) < 0.6]


def _drawn(model, seed=0):
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(rng.normal(0, 0.6, variable.shape))
    return model


def _off(layer, filters):
    for variable in layer.weights:
        value = variable.numpy()
        value[..., filters] = 0
        variable.assign(value)


def _model(layer, separate=True, masked=False, scores=False):
    x, y, mask = keras.Input((5, 3)), keras.Input((7, 3)), keras.Input((7,), dtype="bool")
    query, value, key = L.Dense(6, name="q")(x), L.Dense(4, name="v")(y), L.Dense(6, name="k")(y)
    if not separate:
        value = key
    kwargs = {"return_attention_scores": True} if scores else {}
    if masked:
        kwargs["mask"] = [None, mask] + [None] * separate
    out = layer([query, value, key] if separate else [query, value], **kwargs)
    outs = [L.Dense(2, name="last")(out[0]), out[1]] if scores else [L.Dense(2, name="last")(out)]
    return _drawn(keras.Model([x, y, mask], outs))


def _assert_same(small, model):
    for one, other in zip(keras.tree.flatten(small(GIVEN)), keras.tree.flatten(model(GIVEN)), strict=True):
        assert np.abs(one.numpy() - other.numpy()).max() <= 1e-5 * np.abs(other.numpy()).max()


LAYERS = {
    "dot": (L.Attention, {}),
    "scaled": (L.Attention, {"use_scale": True, "dropout": 0.3}),
    "concat": (L.Attention, {"score_mode": "concat", "use_scale": True}),
    "additive": (L.AdditiveAttention, {}),
    "unscaled": (L.AdditiveAttention, {"use_scale": False}),
}


@pytest.mark.parametrize("options", [{}, {"scores": True}, {"masked": True}], ids=str)
@pytest.mark.parametrize("case", LAYERS)
def test_three_inputs(case, options):
    kind, config = LAYERS[case]
    model = _model(kind(name="a", **config), **options)
    _off(model.get_layer("q"), [1, 4])
    dead = [0, 2] if case in ("dot", "scaled") else []
    small = compact(model)
    # A sum of scores needs both to be 0, a product one.
    assert small.get_layer("q").units == (4 if dead else 6)
    _assert_same(small, model)
    _off(model.get_layer("k"), [1, 5])
    last = model.get_layer("last").kernel
    last.assign(last.numpy() * (np.arange(4) != 3)[:, None])
    _off(model.get_layer("v"), [0])
    small = compact(model)
    assert small.get_layer("q").units == small.get_layer("k").units == (3 if dead else 5)
    assert small.get_layer("v").units == 2
    _assert_same(small, model)


def test_a_scale_of_zero():
    layer = L.AdditiveAttention(name="a")
    model = _model(layer)
    layer.scale.assign(layer.scale.numpy() * (np.arange(6) != 2))
    small = compact(model)
    assert small.get_layer("q").units == 5 and small.get_layer("a").scale.shape == (5,)
    _assert_same(small, model)


@pytest.mark.filterwarnings("ignore:nothing can leave")
def test_keys_that_are_values_are_needed_for_both():
    model = _model(L.Attention(name="a"), separate=False)
    last = model.get_layer("last").kernel
    last.assign(last.numpy() * (np.arange(6) != 3)[:, None])
    assert compact(model).get_layer("k").units == 6
    _off(model.get_layer("q"), [3])
    small = compact(model)
    assert small.get_layer("k").units == 5
    _assert_same(small, model)


def test_a_masked_sequence_is_a_condition():
    tokens = keras.Input((7,), dtype="int32")
    x = L.Embedding(5, 6, mask_zero=True, name="tokens")(tokens)
    x = L.Attention(name="a")([L.Dense(6, name="q")(x), x, L.Dense(6, name="k")(x)])
    model = _drawn(keras.Model(tokens, L.Dense(2, name="last")(x)))
    _off(model.get_layer("q"), [3])
    small = compact(model)
    given = np.random.default_rng(0).integers(0, 3, (4, 7))
    assert small.get_layer("k").units == 5
    expected, found = model(given).numpy(), small(given).numpy()
    assert np.abs(expected - found).max() <= 1e-5 * np.abs(expected).max()


def test_layer_scale():
    from keras.src.applications.convnext import LayerScale, StochasticDepth

    x = inputs = keras.Input((5, 3))
    x = L.Dense(6, name="a")(x)
    scale = LayerScale(0.1, 6, name="scale")
    x = x + StochasticDepth(0.2)(scale(L.Dense(6, name="b")(x)))
    model = _drawn(keras.Model(inputs, L.Dense(2, name="last")(x)))
    scale.gamma.assign(scale.gamma.numpy() * (np.arange(6) != 2))
    _off(model.get_layer("a"), [2])
    small = compact(model)
    assert small.get_layer("a").units == small.get_layer("b").units == small.get_layer("scale").projection_dim == 5
    given = GIVEN[0]
    np.testing.assert_allclose(small(given), model(given), rtol=1e-5, atol=1e-6)
