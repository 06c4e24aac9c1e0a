"""Columns of embeddings are channels: by hand, and against models in which the removed weights are really 0."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfprune.layers.weights import set_weights, weights_of
from tfprune.surgery.compact import compact
from tfprune.surgery.filter_sets import filter_sets, without
from tfprune.surgery.rebuild import rebuild
from tfprune.surgery.trace import Trace

TOKENS = np.random.default_rng(0).integers(0, 11, (3, 5))


def _drawn(model, seed=0):
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(rng.normal(0, 0.5, variable.shape))
    return model


def _summed():
    """Tokens and places, a feed-forward part around which they go, and a head."""
    x = inputs = keras.Input((5,), dtype="int32")
    places = L.Embedding(5, 6, name="places")(keras.ops.arange(5)[None] + 0 * x)
    x = L.Embedding(11, 6, name="tokens")(x) + places
    x = L.Add()([x, L.Dense(6, name="down")(L.Dense(4, "relu", name="up")(x))])
    return _drawn(keras.Model(inputs, L.Dense(2, name="last")(L.GlobalAveragePooling1D()(x))))


def _removed(model, trace, path, columns):
    """The model without channels that columns of a kernel make."""
    gone = trace.channels.classes[trace.kernels[path].made[columns]]
    return rebuild(model, trace, without(trace, [gone]))


def _zeroed(model, zeros):
    """A copy whose weights are 0 at (path, index)."""
    copy, weights = keras.models.clone_model(model), weights_of(model)
    for path, index in zeros:
        weights[path][index] = 0
    set_weights(copy, weights)
    return copy


def _assert_same(small, model, given=TOKENS):
    expected, found = model(given).numpy(), small(given).numpy()
    assert np.abs(expected - found).max() <= 1e-5 * np.abs(expected).max()


def test_the_residual_width_is_one_group():
    model = _summed()
    trace = Trace(model, weights_of(model))
    width = next(one for one in filter_sets(trace) if "tokens/embeddings" in one.members)
    assert sorted(width.members) == ["down/kernel", "places/embeddings", "tokens/embeddings"]
    assert len(width.channels) == 6 and not width.fixed and not width.held


def test_without_two_columns():
    model = _summed()
    small = _removed(model, Trace(model, weights_of(model)), "tokens/embeddings", [1, 4])
    both = (slice(None), [1, 4])
    made = [("tokens/embeddings", both), ("places/embeddings", both), ("down/kernel", both), ("down/bias", [1, 4])]
    _assert_same(small, _zeroed(model, made))
    # 11 + 5 rows of 4, 4 x 4 + 4 up, 4 x 4 + 4 down, 4 x 2 + 2
    assert small.count_params() == 64 + 20 + 20 + 10


def test_compact_drops_columns_that_nothing_reads():
    model = _summed()
    masks = {"up/kernel": [2], "last/kernel": [2]}
    for path, rows in masks.items():
        layer = model.get_layer(path.split("/")[0])
        kernel = layer.kernel.numpy()
        kernel[rows] = 0
        layer.kernel.assign(kernel)
    small = compact(model)
    _assert_same(small, model)
    assert small.get_layer("tokens").output_dim == small.get_layer("places").output_dim == 5
    assert small.count_params() == 16 * 5 + (5 * 4 + 4) + (4 * 5 + 5) + (5 * 2 + 2)


def test_compact_folds_a_column_that_is_the_same_in_all_rows():
    x = inputs = keras.Input((5,), dtype="int32")
    x = L.Dense(2, name="last")(L.Embedding(11, 3, name="tokens")(x))
    model = _drawn(keras.Model(inputs, x))
    table = model.get_layer("tokens").embeddings.numpy()
    table[:, 1] = 0.7
    model.get_layer("tokens").embeddings.assign(table)
    small = compact(model)
    _assert_same(small, model)
    assert small.get_layer("tokens").output_dim == 2


@pytest.mark.parametrize("tied", [True, False])
def test_reversible(tied):
    """The way back reads the channels that the way in makes; the vocabulary stays."""
    inputs = keras.Input((5,), dtype="int32")
    embedding = L.ReversibleEmbedding(11, 6, tie_weights=tied, name="tokens")
    x = embedding(inputs)
    x = x + L.Dense(6, name="down")(L.Dense(4, "relu", name="up")(x))
    model = _drawn(keras.Model(inputs, embedding(x, reverse=True)))
    small = _removed(model, Trace(model, weights_of(model)), "tokens/embeddings", [0, 5])
    both = (slice(None), [0, 5])
    zeros = [("tokens/embeddings", both), ("down/kernel", both), ("down/bias", [0, 5])]
    _assert_same(small, _zeroed(model, zeros))
    assert small.count_params() == (11 * 4) * (1 if tied else 2) + (4 * 4 + 4) * 2
    assert small.output_shape == (None, 5, 11)


def test_compact_of_a_tied_embedding_drops_a_column_only_where_both_ways_are_empty():
    inputs = keras.Input((5,), dtype="int32")
    embedding = L.ReversibleEmbedding(11, 6, name="tokens")
    x = L.Dense(6, name="other")(embedding(inputs))
    model = _drawn(keras.Model(inputs, embedding(x, reverse=True)))
    model.get_layer("other").kernel.assign(model.get_layer("other").kernel.numpy() * (np.arange(6) != 3)[:, None])
    _assert_same(compact(model), model)
    assert compact(model).get_layer("tokens").output_dim == 6
    table = model.get_layer("tokens").embeddings.numpy()
    table[:, 3] = 0
    model.get_layer("tokens").embeddings.assign(table)
    _assert_same(compact(model), model)
    assert compact(model).get_layer("tokens").output_dim == 5


def test_a_layer_that_nobody_knows_keeps_the_table_that_it_shares(recwarn):
    class Reader(L.Layer):
        def __init__(self, embedding, **kwargs):
            super().__init__(**kwargs)
            self.embedding = embedding

        def call(self, x):
            return keras.ops.matmul(x, keras.ops.transpose(self.embedding.embeddings))

    inputs = keras.Input((5,), dtype="int32")
    embedding = L.Embedding(11, 6, name="tokens")
    x = embedding(inputs)
    model = keras.Model(inputs, Reader(embedding, name="reader")(L.Dense(6, name="a")(L.Dense(4, name="b")(x))))
    from tfprune.layers.barriers import barriers

    with barriers(model):
        trace = Trace(model, weights_of(model))
    assert trace.channels.fixed[trace.axes["tokens/embeddings"][1]].all()


def test_keras_hub():
    hub = pytest.importorskip("keras_hub")
    inputs = keras.Input((5,), dtype="int32")
    embedding = hub.layers.TokenAndPositionEmbedding(11, 8, 6, name="both")
    x = embedding(inputs)
    x = x + L.Dense(6, name="down")(L.Dense(4, "relu", name="up")(x))
    x = x + hub.layers.PositionEmbedding(8, name="places")(x)
    model = _drawn(keras.Model(inputs, L.Dense(2, name="last")(x)))
    trace = Trace(model, weights_of(model))
    path = trace.path_of(embedding.token_embedding.embeddings)
    small = _removed(model, trace, path, [1, 2])
    both = (slice(None), [1, 2])
    tables = [trace.path_of(embedding.position_embedding.position_embeddings), path]
    tables.append(trace.path_of(model.get_layer("places").position_embeddings))
    zeros = [*((table, both) for table in tables), ("down/kernel", both), ("down/bias", [1, 2])]
    _assert_same(small, _zeroed(model, zeros))
    assert small.count_params() == (11 + 8 + 8) * 4 + (4 * 4 + 4) * 2 + (4 * 2 + 2)
    model.get_layer("up").kernel.assign(model.get_layer("up").kernel.numpy() * (np.arange(6) != 3)[:, None])
    model.get_layer("last").kernel.assign(model.get_layer("last").kernel.numpy() * (np.arange(6) != 3)[:, None])
    small = compact(model)
    _assert_same(small, model)
    assert small.count_params() == (11 + 8 + 8) * 5 + (5 * 4 + 4) + (4 * 5 + 5) + (5 * 2 + 2)
