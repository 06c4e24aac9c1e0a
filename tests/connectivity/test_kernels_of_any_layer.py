"""Kernels of layers that are neither dense nor convolutions: tables, wrapped layers, matrices of a layer's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L
from keras import ops

from tfprune.connectivity.graph import evaluate
from tfprune.connectivity.reachability import CONVENTIONS, Reachability, effective_masks
from tfprune.layers.barriers import barriers
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.pruning.scores.synflow import flow


def _dense(model):
    return {path: np.ones(kernel.shape, bool) for path, kernel in prunable(model).items()}


def _random_masks(model, densities=(0.8, 0.5, 0.3, 0.15)):
    rng = np.random.default_rng(0)
    for density in densities:
        yield Masks({path: rng.random(kernel.shape) < density for path, kernel in prunable(model).items()})


def _same(one, other, densities=(0.8, 0.5, 0.3, 0.15)):
    """Two models whose kernels come in the same order and have the same shapes are called effective alike."""
    shapes = [[kernel.shape for kernel in prunable(model).values()] for model in (one, other)]
    assert shapes[0] == shapes[1]
    for convention in CONVENTIONS:
        first, second = Reachability(one, convention=convention), Reachability(other, convention=convention)
        assert list(first.uses.values()) == list(second.uses.values())
        for masks in _random_masks(one, densities):
            renamed = dict(zip(prunable(other), masks.values(), strict=True))
            for mine, theirs in zip(first(masks).values(), second(renamed).values(), strict=True):
                np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_table(convention):
    """Feature 0 is not read, feature 2 has no row: of the 5 x 3 entries the four kept ones of feature 1 count."""
    x = keras.Input((4,), dtype="int32")
    model = keras.Model(x, L.Dense(2, name="out")(L.Flatten()(L.Embedding(5, 3, name="table")(x))))
    masks = _dense(model)
    masks["table/embeddings"][:, 2] = False
    masks["table/embeddings"][3, 1] = False
    masks["out/kernel"].reshape(4, 3, 2)[:, 0] = False
    reachability = Reachability(model, convention=convention)
    assert reachability(masks).counts == {"table/embeddings": 4, "out/kernel": 4 * 1 * 2}
    assert reachability.uses == {"table/embeddings": 0, "out/kernel": 1}


def test_a_table_in_numbers():
    """An entry matters exactly if another value of it changes what some tokens give, and the table's other rows do."""
    rng = np.random.default_rng(0)
    x = keras.Input((2,), dtype="int32")
    model = keras.Model(x, L.Dense(2, name="out", use_bias=False)(L.Flatten()(L.Embedding(3, 3, name="table")(x))))
    tokens = np.array([(a, b) for a in range(3) for b in range(3)])
    for masks in _random_masks(model):
        for path, kernel in prunable(model).items():
            kernel.assign(rng.normal(size=kernel.shape) * masks[path])
        effective, table = effective_masks(model, masks), model.get_layer("table").embeddings
        before = model(tokens).numpy()
        for at in np.ndindex(3, 3):
            changed = table.numpy()
            if masks["table/embeddings"][at]:
                kept, changed[at] = changed.copy(), 2.0
                table.assign(changed)
                moves = np.abs(model(tokens).numpy() - before).max() > 1e-6
                table.assign(kept)
                assert effective["table/embeddings"][at] == moves


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_table_in_both_directions(tied, convention):
    """Feature 1 has no row in the way in, so only feature 0 reaches the logits; each of its rows is one of them."""
    x = keras.Input((4,), dtype="int32")
    table = L.ReversibleEmbedding(5, 2, tie_weights=tied, name="table")
    model = keras.Model(x, table(ops.tanh(table(x)), reverse=True))
    masks = _dense(model)
    masks["table/embeddings"][:, 1] = False
    masks["table/embeddings"][0, 0] = False
    reachability = Reachability(model, convention=convention)
    expected = {"table/embeddings": 4} | ({} if tied else {"table/reverse_embeddings": 5})
    assert reachability(masks).counts == expected
    assert list(reachability.uses.values()) == ([4] if tied else [0, 4])


def test_positions_of_keras_hub():
    """Rows that no position looks up, and features that nobody reads, do nothing; the others do if tokens arrive."""
    hub = pytest.importorskip("keras_hub")
    x = keras.Input((3,), dtype="int32")
    y = hub.layers.TokenAndPositionEmbedding(5, 4, 2, name="both")(x)
    model = keras.Model(x, L.Dense(1, name="out")(y))
    reachability, masks = Reachability(model), _dense(model)
    assert reachability.barriers == ()
    tokens, positions = (path for path in masks if path.startswith("both"))
    assert reachability(masks).counts == {tokens: 10, positions: 3 * 2, "out/kernel": 2}
    masks["out/kernel"][1] = False
    assert reachability(masks).counts == {tokens: 5, positions: 3, "out/kernel": 1}
    assert reachability({**masks, tokens: np.zeros((5, 2), bool)}).counts[tokens] == 0


def test_distributed_is_the_layer_at_every_step():
    models = []
    for wrap in (L.TimeDistributed, lambda layer: layer):
        x = keras.Input((3, 4))
        y = wrap(L.Dense(3))(L.Dense(4)(x))
        models.append(keras.Model(x, L.Dense(2)(y[:, 1:])))
    _same(*models)


def test_a_distributed_convolution_is_one_in_one_dimension_more():
    x = keras.Input((2, 5, 5, 2))
    y = L.TimeDistributed(L.Conv2D(3, 3, strides=2))(x)
    one = keras.Model(x, L.Dense(2)(L.Flatten()(y)))
    y = L.Conv3D(3, (1, 3, 3), strides=(1, 2, 2))(x)
    other = keras.Model(x, L.Dense(2)(L.Flatten()(y)))
    for masks in _random_masks(one):
        renamed = {
            path: mask.reshape(prunable(other)[path].shape)
            for path, mask in zip(prunable(other), masks.values(), strict=True)
        }
        counts = [effective_masks(model, given).counts for model, given in ((one, masks), (other, renamed))]
        assert list(counts[0].values()) == list(counts[1].values())


@pytest.mark.slow_beyond(2)
@pytest.mark.parametrize("merge", ["concat", "mul", "sum", "ave"])
def test_both_directions(merge):
    models = []
    for together in (True, False):
        x = keras.Input((3, 2))
        if together:
            y = L.Bidirectional(L.SimpleRNN(2, return_sequences=True), merge_mode=merge)(x)
        else:
            a = ops.flip(ops.flip(L.SimpleRNN(2, return_sequences=True)(x), axis=1), axis=1)  # in network order
            b = ops.flip(L.SimpleRNN(2, return_sequences=True, go_backwards=True)(x), axis=1)
            y = {"concat": L.Concatenate(), "sum": L.Add(), "mul": L.Multiply(), "ave": L.Average()}[merge]([a, b])
        models.append(keras.Model(x, L.Dense(2)(y[:, 1])))
    _same(*models, densities=(0.6, 0.3))


def test_spectral_normalization_is_the_layer_it_holds():
    models = []
    for wrap in (L.SpectralNormalization, lambda layer: layer):
        x = keras.Input((5, 4))
        models.append(keras.Model(x, L.Dense(2)(wrap(L.Conv1D(3, 2))(x)[:, :2])))
    _same(*models)


class OwnMatrix(L.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], self.units), name="w")
        self.b = self.add_weight(shape=(self.units,), name="b")

    def call(self, x):
        return ops.matmul(x, self.w) + self.b


class OwnTable(L.Layer):
    def build(self, shape):
        self.rows = self.add_weight(shape=(7, 3), name="rows")

    def call(self, tokens):
        return ops.take(self.rows, tokens, axis=0)


class OwnPositions(L.Layer):
    def build(self, shape):
        self.rows = self.add_weight(shape=shape[1:], name="rows")

    def call(self, x):
        return x + self.rows


class Turned(L.Layer):
    """Uses its matrix in a way that no graph shows."""

    def build(self, shape):
        self.w = self.add_weight(shape=(4, shape[-1]), name="w")

    def call(self, x):
        return ops.matmul(x, ops.transpose(self.w))


def test_a_matrix_of_a_layers_own():
    models = []
    for kind in (OwnMatrix, L.Dense):
        x = keras.Input((3, 4))
        models.append(keras.Model(x, L.Dense(2)(kind(3)(L.Dense(4)(x))[:, 1:])))
    _same(*models)
    x = keras.Input((2,), dtype="int32")
    models = [keras.Model(x, L.Dense(2)(kind(x))) for kind in (OwnTable(), L.Embedding(7, 3))]
    _same(*models)


def test_what_is_added_counts_where_it_is_read():
    """Feature 1 of two is read at two of three positions; nothing counts where no input comes."""
    x = keras.Input((3, 2))
    y = OwnPositions(name="add")(L.Dense(2, name="first")(x))
    model = keras.Model(x, L.Dense(1, name="out")(y[:, 1:]))
    masks = _dense(model)
    masks["out/kernel"][0] = False
    reachability = Reachability(model)
    assert reachability(masks).counts == {"first/kernel": 2, "add/rows": 2, "out/kernel": 1}
    assert reachability({**masks, "first/kernel": np.zeros((2, 2), bool)}).kept == 0


@pytest.mark.filterwarnings("ignore:no rule knows")
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_kernels_that_no_graph_shows(convention):
    """All that are kept, where the layer is reached and needed; also without any it passes influence on."""
    x = keras.Input((3,))
    model = keras.Model(x, L.Dense(2, name="out")(Turned(name="turned")(L.Dense(3, name="first")(x))))
    masks = _dense(model)
    masks["turned/w"][1:] = False
    reachability = Reachability(model, convention=convention)
    assert reachability(masks).counts == {"first/kernel": 9, "turned/w": 3, "out/kernel": 8}
    nothing = {**masks, "turned/w": np.zeros((4, 3), bool)}
    assert reachability(nothing).counts["first/kernel"] == 9
    for path in ("first/kernel", "out/kernel"):
        assert reachability({**masks, path: np.zeros_like(masks[path])}).kept == 0
    assert reachability.uses["turned/w"] == 0


class Hidden(L.Layer):
    """x |W| by an operation of TensorFlow: nobody can look inside."""

    def __init__(self, function=lambda y: y, **kwargs):
        super().__init__(**kwargs)
        self.function = function

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], 3), name="w")

    def call(self, x):
        return self.function(tf.linalg.matmul(x, self.w.value))

    def compute_output_shape(self, shape):
        return (*shape[:-1], 3)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_synflow_runs_what_nobody_knows(sign):
    keras.utils.set_random_seed(0)
    x = keras.Input((4,))
    hidden = Hidden(lambda y: sign * y, name="hidden")
    model = keras.Model(x, L.Dense(2, name="out")(hidden(L.Dense(5, name="first")(x))))
    a, w, b = (np.abs(kernel.numpy()).astype(float) for kernel in prunable(model).values())
    with barriers(model):
        scores, exponent = flow(model, Masks.dense(model))
    expected = {
        "first/kernel": a * np.outer(np.ones(4), w @ b @ np.ones(2)),
        "hidden/w": w * np.outer(np.ones(4) @ a, b @ np.ones(2)),
        "out/kernel": b * np.outer(np.ones(4) @ a @ w, np.ones(2)),
    }
    for path, score in expected.items():
        np.testing.assert_allclose(scores[path] * 2.0**exponent, score, rtol=1e-5)


@pytest.mark.parametrize("function", [lambda y: y / 0.0, lambda y: y * 0.0, lambda y: y - tf.reduce_sum(y / 0.0)])
def test_synflow_where_the_own_call_tells_nothing(function):
    """The mean of the inputs, with the mean of the kernel, goes on instead."""
    x = keras.Input((4,))
    model = keras.Model(x, L.Dense(2)(Hidden(function)(L.Dense(5)(x))))
    with barriers(model):
        scores, _ = flow(model, Masks.dense(model))
    first, inside, last = scores.values()
    assert (first > 0).all() and np.isfinite(np.concatenate([one.ravel() for one in scores.values()])).all()
    assert (inside >= 0).all() and (last >= 0).all()


def test_linear_network_of_recurrent_layers():
    """What the state is the mean of goes through the recurrent kernel once, gates summed up."""
    rng = np.random.default_rng(0)
    for layer, gates in ((L.SimpleRNN(2), 1), (L.LSTM(2), 4), (L.GRU(2), 3)):
        model = keras.Sequential([keras.Input((3, 4)), layer])
        given = {
            path: np.abs(rng.normal(size=kernel.shape)).astype("float32") for path, kernel in prunable(model).items()
        }
        x = rng.random((1, 3, 4)).astype("float32")
        (found,) = evaluate(model, {path: tf.constant(kernel) for path, kernel in given.items()}, [tf.constant(x)])
        k, r = (kernel.reshape(-1, gates, 2).sum(1) for kernel in given.values())
        state = x.mean(1) @ k
        np.testing.assert_allclose(found, state + state @ r, rtol=1e-5)


def test_a_chain_of_units_over_many_steps():
    """Units 0 -> 1 -> 2 -> 3; the input enters at 0 and the output reads 3. Unit 4 is reached and not read."""
    x = keras.Input((40, 2))
    model = keras.Model(x, L.Dense(1, name="out")(L.SimpleRNN(5, name="rnn")(x)))
    masks = {path: np.zeros(kernel.shape, bool) for path, kernel in prunable(model).items()}
    masks["rnn/cell.kernel"][0, 0] = True
    for at in range(4):
        masks["rnn/cell.recurrent_kernel"][at, at + 1] = True
    masks["out/kernel"][3] = True
    reachability = Reachability(model)
    assert reachability(masks).counts == {"rnn/cell.kernel": 1, "rnn/cell.recurrent_kernel": 3, "out/kernel": 1}
    assert reachability.uses == {"rnn/cell.kernel": 40, "rnn/cell.recurrent_kernel": 40, "out/kernel": 1}
    masks["rnn/cell.recurrent_kernel"][1, 2] = False
    assert reachability(masks).kept == 0


@pytest.mark.parametrize("bias", [True, False])
def test_an_lstm_by_hand(bias):
    """Two steps, feature 0, unit 0 is read, and unit 1 leads to it.

    Feature 0 leads to the four gates of unit 0, and to three of unit 1, which counts after the first step only: then
    there is nothing yet to keep.
    """
    x = keras.Input((2, 2))
    model = keras.Model(x, L.Dense(1, name="out")(L.LSTM(2, use_bias=bias, name="rnn")(x)))
    masks = _dense(model)
    masks["rnn/cell.kernel"][1] = False
    masks["rnn/cell.recurrent_kernel"][:] = [[0] * 8, [1, 0] * 4]
    masks["out/kernel"][1] = False
    counts = effective_masks(model, masks).counts
    assert counts == {"rnn/cell.kernel": 4 + 3, "rnn/cell.recurrent_kernel": 4, "out/kernel": 1}


def test_states_that_are_given_and_returned():
    """A decoder starts from the state of an encoder: its input is cut off, and yet all of both count."""
    x, y = keras.Input((3, 2)), keras.Input((2, 2))
    _, h, c = L.LSTM(2, return_state=True, name="encoder")(x)
    z = L.LSTM(2, return_sequences=True, name="decoder")(y, initial_state=[h, c])
    model = keras.Model([x, y], L.Dense(1, name="out")(z))
    masks = _dense(model)
    masks["decoder/cell.kernel"][:] = False
    assert effective_masks(model, masks).counts == {
        "encoder/cell.kernel": 16,
        "encoder/cell.recurrent_kernel": 16,
        "decoder/cell.kernel": 0,
        "decoder/cell.recurrent_kernel": 16,
        "out/kernel": 2,
    }
    model = keras.Sequential([keras.Input(batch_shape=(1, 1, 2)), L.LSTM(2, stateful=True)])
    assert effective_masks(model, _dense(model)).kept == 32  # the step before is that of an earlier call
