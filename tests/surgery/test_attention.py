"""Heads and their widths are channels: by hand, and against models in which the removed weights are really 0."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfprune.layers.barriers import barriers
from tfprune.layers.weights import set_weights, weights_of
from tfprune.surgery.compact import compact
from tfprune.surgery.filter_sets import without
from tfprune.surgery.rebuild import rebuild
from tfprune.surgery.trace import Trace

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(2, 5, 8)), RNG.normal(size=(2, 7, 6))
MASK = RNG.random((2, 5, 7)) < 0.7


def _drawn(model, seed=0):
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(rng.normal(0, 0.6, variable.shape))
    return model


def _without(model, path, indices):
    """The model without channels of an axis of a variable, given as (path, axis)."""
    with barriers(model):
        trace = Trace(model, weights_of(model))
    gone = trace.channels.classes[trace.axes[path[0]][path[1]][indices]]
    assert not trace.channels.fixed[gone].any()
    return rebuild(model, trace, without(trace, [gone]))


def _zeroed(model, variables):
    """A model with other values of some variables, put back afterwards."""
    old = weights_of(model)
    for variable, value in variables:
        variable.assign(value)
    return old


def _outputs(model, given):
    return [np.asarray(x, float) for x in keras.tree.flatten(model(given))]


def _assert_close(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() <= 1e-5 * np.abs(other).max()


def _off(variable, axis, indices):
    value = variable.numpy()
    np.moveaxis(value, axis, 0)[indices] = 0
    return variable, value


def _path(model, variable):
    return Trace(model, weights_of(model)).path_of(variable)


def _cross(layer, causal=False, masked=False, dense=True, widths=(9, 7)):
    x, y = keras.Input((5, 8), name="x"), keras.Input((7, 6), name="y")
    inputs, given = [x, y], [X, Y]
    kwargs = {"use_causal_mask": True} if causal else {}
    if masked:
        mask = keras.Input((5, 7), dtype="bool", name="mask")
        inputs, given, kwargs = [*inputs, mask], [*given, MASK], {**kwargs, "attention_mask": mask}
    query, value = (L.Dense(widths[0], name="q")(x), L.Dense(widths[1], name="v")(y)) if dense else (x, y)
    out = layer(query, value, **kwargs)
    return _drawn(keras.Model(inputs, L.Dense(3, name="last")(out))), given


MHA = {
    "plain": {},
    "value_dim": {"value_dim": 5},
    "no_bias": {"use_bias": False},
    "dropout": {"dropout": 0.3},
    "output_shape": {"output_shape": 4},
    "gate": {"use_gate": True, "value_dim": 5},
}
CALLS = {"plain": {}, "causal": {"causal": True}, "masked": {"masked": True}}


@pytest.mark.slow_beyond(6)
@pytest.mark.parametrize("case", MHA)
@pytest.mark.parametrize("call", CALLS)
def test_without_heads(case, call):
    layer = L.MultiHeadAttention(4, 3, name="a", **MHA[case])
    model, given = _cross(layer, **CALLS[call])
    small = _without(model, (_path(model, layer.query_dense.kernel), 1), [0, 2])
    assert small.get_layer("a").num_heads == 2
    old = _zeroed(model, [_off(layer.output_dense.kernel, 0, [0, 2])])
    expected = _outputs(model, given)
    _assert_close(_outputs(small, given), expected)
    with_rows = compact(model)
    assert with_rows.get_layer("a").num_heads == 2
    _assert_close(_outputs(with_rows, given), expected)
    # A head is dead as well where its values are all 0.
    set_weights(model, old)
    _zeroed(model, [_off(layer.value_dense.kernel, 1, [0, 2])])
    if layer.use_bias:
        _assert_close(_outputs(compact(model), given), _outputs(model, given))
        assert compact(model).get_layer("a").num_heads == 4
        _zeroed(model, [_off(layer.value_dense.bias, 0, [0, 2])])
    small = compact(model)
    assert small.get_layer("a").num_heads == 2
    _assert_close(_outputs(small, given), _outputs(model, given))


def test_counts_by_hand():
    layer = L.MultiHeadAttention(4, 3, value_dim=5, name="a")
    model, _ = _cross(layer, dense=False)
    small = _without(model, (_path(model, layer.query_dense.kernel), 1), [1])
    # 3 heads: query 8 x 9 + 9, key 6 x 9 + 9, value 6 x 15 + 15, output 15 x 8 + 8; last 8 x 3 + 3
    assert small.count_params() == 81 + 63 + 105 + 128 + 27
    small = _without(model, (_path(model, layer.value_dense.kernel), 2), [1, 4])
    # values 3 wide: query 8 x 12 + 12, key 6 x 12 + 12, value 6 x 12 + 12, output 12 x 8 + 8
    assert small.count_params() == 108 + 84 + 84 + 104 + 27


@pytest.mark.parametrize("case", ["value_dim", "gate", "no_bias"])
def test_without_a_part_of_the_values(case):
    layer = L.MultiHeadAttention(4, 3, name="a", **MHA[case])
    model, given = _cross(layer)
    width = layer.value_dim
    small = _without(model, (_path(model, layer.value_dense.kernel), 2), [1])
    assert small.get_layer("a").value_dim == width - 1 and small.get_layer("a").key_dim == 3
    old = _zeroed(model, [_off(layer.output_dense.kernel, 1, [1])])
    _assert_close(_outputs(small, given), _outputs(model, given))
    small = compact(model)
    assert small.get_layer("a").value_dim == width - 1
    _assert_close(_outputs(small, given), _outputs(model, given))
    set_weights(model, old)
    _zeroed(model, [_off(layer.value_dense.kernel, 2, [1])])
    if layer.use_bias:
        _zeroed(model, [_off(layer.value_dense.bias, 1, [1])])
    small = compact(model)
    assert small.get_layer("a").value_dim == width - 1
    _assert_close(_outputs(small, given), _outputs(model, given))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("case", ["value_dim", "dropout", "no_bias"])
def test_without_a_part_of_queries_and_keys(case, call):
    """The scale of the scores, which is that of the width, stays what it was."""
    layer = L.MultiHeadAttention(4, 3, name="a", **MHA[case])
    model, given = _cross(layer, **CALLS[call])
    small = _without(model, (_path(model, layer.query_dense.kernel), 2), [1])
    assert small.get_layer("a").key_dim == 2 and small.get_layer("a").value_dim == layer.value_dim
    old = _zeroed(model, [_off(layer.query_dense.kernel, 2, [1])])
    if layer.use_bias:
        _zeroed(model, [_off(layer.query_dense.bias, 1, [1])])
    _assert_close(_outputs(small, given), _outputs(model, given))
    small = compact(model)
    assert small.get_layer("a").key_dim == 2
    _assert_close(_outputs(small, given), _outputs(model, given))
    assert compact(small).get_layer("a").key_dim == 2
    _assert_close(_outputs(compact(small), given), _outputs(model, given))
    set_weights(model, old)
    _zeroed(model, [_off(layer.key_dense.kernel, 2, [1])])
    assert compact(model).get_layer("a").key_dim == (3 if layer.use_bias else 2)
    _assert_close(_outputs(compact(model), given), _outputs(model, given))


def test_features_that_no_head_reads_and_that_nobody_needs():
    layer = L.MultiHeadAttention(4, 3, name="a")
    model, given = _cross(layer)
    changes = [_off(layer.query_dense.kernel, 0, [3]), _off(layer.key_dense.kernel, 0, [2])]
    changes += [_off(layer.value_dense.kernel, 0, [2, 5]), _off(model.get_layer("last").kernel, 0, [0, 1])]
    _zeroed(model, changes)
    small = compact(model)
    _assert_close(_outputs(small, given), _outputs(model, given))
    # Feature 5 of the values is read by the keys. The output has 7 of 9, the queries 8 of 9.
    assert [small.get_layer(name).units for name in "qv"] == [8, 6]
    assert small.get_layer("a").get_config()["output_shape"] == (7,)


def test_self_attention_in_a_residual_stream():
    x = inputs = keras.Input((5, 4), name="x")
    x = L.Dense(8, name="in")(x)
    layer = L.MultiHeadAttention(2, 4, name="a")
    x = x + layer(x, x)
    model = _drawn(keras.Model(inputs, L.Dense(3, name="last")(x)))
    given = RNG.normal(size=(2, 5, 4))
    small = _without(model, ("in/kernel", 1), [0, 6])
    made = [_off(model.get_layer("in").kernel, 1, [0, 6]), _off(model.get_layer("in").bias, 0, [0, 6])]
    made += [_off(layer.output_dense.kernel, 2, [0, 6]), _off(layer.output_dense.bias, 0, [0, 6])]
    _zeroed(model, made)
    _assert_close(_outputs(small, given), _outputs(model, given))
    # in 4 x 6 + 6, three projections 6 x 8 + 8, output 8 x 6 + 6, last 6 x 3 + 3
    assert small.count_params() == 30 + 3 * 56 + 54 + 21
    _assert_close(_outputs(compact(model), given), _outputs(model, given))
    assert compact(model).count_params() == small.count_params()


@pytest.mark.filterwarnings("ignore:nothing can leave")
def test_scores_that_come_out_keep_all_heads():
    x = inputs = keras.Input((5, 8))
    layer = L.MultiHeadAttention(4, 3, name="a")
    out, scores = layer(x, x, return_attention_scores=True)
    model = _drawn(keras.Model(inputs, [L.Dense(2)(out), scores]))
    _zeroed(model, [_off(layer.output_dense.kernel, 0, [0, 2])])
    small = compact(model)
    assert small.get_layer("a").num_heads == 4
    _assert_close(_outputs(small, X), _outputs(model, X))


def test_scores_that_are_averaged_over_positions_keep_those_heads_that_are_read():
    x = inputs = keras.Input((5, 8))
    layer = L.MultiHeadAttention(4, 3, name="a")
    out, scores = layer(x, x, return_attention_scores=True)
    scores = L.Dense(2, name="read")(keras.ops.max(scores, axis=(2, 3)))
    model = _drawn(keras.Model(inputs, [L.Dense(2)(out), scores]))
    _zeroed(model, [_off(layer.output_dense.kernel, 0, [0, 2]), _off(model.get_layer("read").kernel, 0, [1, 2])])
    small = compact(model)
    assert small.get_layer("a").num_heads == 3
    _assert_close(_outputs(small, X), _outputs(model, X))


def test_attention_over_two_axes():
    x = inputs = keras.Input((3, 4, 8))
    layer = L.MultiHeadAttention(4, 3, attention_axes=(1, 2), name="a")
    model = _drawn(keras.Model(inputs, L.Dense(2)(layer(x, x))))
    given = RNG.normal(size=(2, 3, 4, 8))
    _zeroed(model, [_off(layer.output_dense.kernel, 0, [1])])
    small = compact(model)
    assert small.get_layer("a").num_heads == 3
    _assert_close(_outputs(small, given), _outputs(model, given))


@pytest.mark.filterwarnings("ignore:nothing can leave")
def test_a_mask_for_each_head_keeps_all():
    x, mask = keras.Input((5, 8), name="x"), keras.Input((4, 5, 5), dtype="bool", name="mask")
    layer = L.MultiHeadAttention(4, 3, name="a")
    model = _drawn(keras.Model([x, mask], L.Dense(2)(layer(x, x, attention_mask=mask))))
    _zeroed(model, [_off(layer.output_dense.kernel, 0, [1])])
    small = compact(model)
    assert small.get_layer("a").num_heads == 4
    given = [X, RNG.random((2, 4, 5, 5)) < 0.6]
    _assert_close(_outputs(small, given), _outputs(model, given))


def test_one_layer_with_and_without_a_mask_for_each_head():
    x, mask = keras.Input((5, 8), name="x"), keras.Input((4, 5, 5), dtype="bool", name="mask")
    layer = L.MultiHeadAttention(4, 3, name="a")
    model = _drawn(keras.Model([x, mask], L.Dense(2)(layer(layer(x, x), x, attention_mask=mask))))
    _zeroed(model, [_off(layer.output_dense.kernel, 0, [1])])
    small = compact(model)
    given = [X, RNG.random((2, 4, 5, 5)) < 0.6]
    _assert_close(_outputs(small, given), _outputs(model, given))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("gate", [False, True])
def test_groups_of_queries(call, gate):
    layer = L.GroupQueryAttention(3, 6, 3, use_gate=gate, name="a")
    model, given = _cross(layer, **CALLS[call], widths=(8, 8))
    # The second of three heads of keys and values has the queries 2 and 3.
    small = _without(model, (_path(model, layer._key_dense.kernel), 1), [1])
    assert (small.get_layer("a").num_query_heads, small.get_layer("a").num_key_value_heads) == (4, 2)
    old = _zeroed(model, [_off(layer._output_dense.kernel, 0, [2, 3])])
    expected = _outputs(model, given)
    _assert_close(_outputs(small, given), expected)
    small = compact(model)
    assert (small.get_layer("a").num_query_heads, small.get_layer("a").num_key_value_heads) == (4, 2)
    _assert_close(_outputs(small, given), expected)
    # The width is one for all three.
    set_weights(model, old)
    small = _without(model, (_path(model, layer._key_dense.kernel), 2), [0])
    assert small.get_layer("a").head_dim == 2
    narrow = [_off(layer._query_dense.kernel, 2, [0]), _off(layer._query_dense.bias, 1, [0])]
    _zeroed(model, [*narrow, _off(layer._output_dense.kernel, 1, [0])])
    _assert_close(_outputs(small, given), _outputs(model, given))
    _assert_close(_outputs(compact(model), given), _outputs(model, given))
    assert compact(model).get_layer("a").head_dim == 2
    set_weights(model, old)
    _zeroed(model, [_off(layer._output_dense.kernel, 0, [2])])  # one of the two is alive
    small = compact(model)
    assert small.get_layer("a").num_query_heads == 6
    _assert_close(_outputs(small, given), _outputs(model, given))


def test_keras_hub():
    hub = pytest.importorskip("keras_hub")
    layer = hub.layers.CachedMultiHeadAttention(4, 3, name="a")
    model, given = _cross(layer, masked=True)
    small = _without(model, (_path(model, layer.query_dense.kernel), 1), [0])
    assert small.get_layer("a").num_heads == 3
    _zeroed(model, [_off(layer.output_dense.kernel, 0, [0])])
    _assert_close(_outputs(small, given), _outputs(model, given))
    small = compact(model)
    assert small.get_layer("a").num_heads == 3 and small.get_layer("a").value_dim == 3
    _assert_close(_outputs(small, given), _outputs(model, given))


def test_a_subclass_of_others_keeps_all():
    class Own(L.MultiHeadAttention):
        def _compute_attention(self, query, key, value, *args, **kwargs):
            out, scores = super()._compute_attention(query, key, value, *args, **kwargs)
            return keras.ops.flip(out, axis=2), scores

    x = inputs = keras.Input((5, 8))
    layer = Own(4, 3, name="a")
    model = _drawn(keras.Model(inputs, L.Dense(2)(layer(x, x))))
    _zeroed(model, [_off(layer.output_dense.kernel, 0, [0])])
    trace = Trace(model, weights_of(model))
    assert not any(path.startswith("a/") for path in trace.axes)
