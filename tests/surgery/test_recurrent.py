"""Recurrent units are channels: by hand, and against models in which the removed weights are really 0."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfprune.layers.weights import weights_of
from tfprune.surgery.compact import compact
from tfprune.surgery.filter_sets import without
from tfprune.surgery.rebuild import rebuild
from tfprune.surgery.trace import Trace

X = np.random.default_rng(0).normal(size=(3, 6, 4))
LAYERS = {
    "simple": (L.SimpleRNN, {}, 1),
    "simple_relu": (L.SimpleRNN, {"activation": "relu", "use_bias": False}, 1),
    "lstm": (L.LSTM, {}, 4),
    "lstm_backwards": (L.LSTM, {"go_backwards": True, "use_bias": False}, 4),
    "gru": (L.GRU, {}, 3),
    "gru_before": (L.GRU, {"reset_after": False, "unroll": True}, 3),
}


def _drawn(model, seed=0):
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(rng.normal(0, 0.6, variable.shape))
    return model


def _trace(model):
    return Trace(model, weights_of(model))


def _assert_close(found, expected, scale=None):
    for one, other in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
        assert np.abs(one - other).max() <= 1e-5 * np.abs(other).max()


def _zero(variable, axis, indices):
    value = variable.numpy()
    np.moveaxis(value, axis, 0)[indices] = 0
    variable.assign(value)


def _columns(units, gates, width):
    return [gate * width + unit for gate in range(gates) for unit in units]


def _cut(cell, unit, readers):
    """Nobody reads a unit: neither the others nor what follows; it reads what it wants."""
    recurrent = cell.recurrent_kernel.numpy()
    others = [c for c in range(recurrent.shape[1]) if c % cell.units != unit]
    recurrent[unit, others] = 0
    cell.recurrent_kernel.assign(recurrent)
    for reader, row in readers:
        _zero(reader, 0, [row])


def _sequence(case, return_sequences=True):
    kind, options, gates = LAYERS[case]
    layer = kind(5, return_sequences=return_sequences, name="r", **options)
    first = L.Dense(6, name="in")
    model = keras.Sequential([keras.Input((6, 4)), first, layer, L.Dense(3, name="last")])
    return _drawn(model), layer, gates


@pytest.mark.parametrize("case", LAYERS)
def test_without_units(case):
    model, layer, gates = _sequence(case)
    trace = _trace(model)
    units = trace.axes[trace.path_of(layer.cell.recurrent_kernel)][0]
    small = rebuild(model, trace, without(trace, [trace.channels.classes[units[[1, 3]]]]))
    for unit in (1, 3):
        _cut(layer.cell, unit, [(model.get_layer("last").kernel, unit)])
    _assert_close(small(X), model(X))
    bias = 0 if not layer.cell.use_bias else 2 if case == "gru" else 1
    # in 4 x 6 + 6, r 6 x 3 gates + 3 x 3 gates + biases, last 3 x 3 + 3
    assert small.count_params() == 30 + 9 * 3 * gates + bias * 3 * gates + 12
    again = compact(model)
    assert again.get_layer("r").units == 3
    _assert_close(again(X), model(X))


@pytest.mark.parametrize("case", LAYERS)
def test_units_in_a_circle_that_nobody_reads(case):
    """Units 0 and 2 read each other and unit 4, nothing reads them."""
    model, layer, gates = _sequence(case, return_sequences=False)
    recurrent = layer.cell.recurrent_kernel.numpy()
    for unit in (0, 2):
        recurrent[unit, _columns([1, 3, 4], gates, 5)] = 0
        _zero(model.get_layer("last").kernel, 0, [unit])
    layer.cell.recurrent_kernel.assign(recurrent)
    small = compact(model)
    assert small.get_layer("r").units == 3
    _assert_close(small(X), model(X))


@pytest.mark.parametrize("case", LAYERS)
def test_units_that_stay_zero(case):
    """Unit 1 gets nothing new, and unit 3 only of unit 1; so they are 0 for ever, whatever their gates read."""
    model, layer, gates = _sequence(case)
    candidate = 0 if gates == 1 else 2
    kernel, recurrent = layer.cell.kernel.numpy(), layer.cell.recurrent_kernel.numpy()
    new = [candidate * 5 + 1, candidate * 5 + 3]
    kernel[:, new] = 0
    recurrent[[0, 2, 3, 4], new[0]] = 0
    recurrent[1, new[0]] = 0
    recurrent[[0, 2, 4], new[1]] = 0
    layer.cell.kernel.assign(kernel)
    layer.cell.recurrent_kernel.assign(recurrent)
    if layer.cell.use_bias:
        assert compact(model).get_layer("r").units == 5
        _zero(layer.cell.bias, -1, new)
    small = compact(model)
    assert small.get_layer("r").units == 3
    _assert_close(small(X), model(X))


@pytest.mark.parametrize("case", ["lstm", "gru", "simple"])
def test_inputs_that_no_gate_reads(case):
    model, layer, _ = _sequence(case)
    _zero(layer.cell.kernel, 0, [2, 5])
    small = compact(model)
    assert small.get_layer("in").units == 4
    _assert_close(small(X), model(X))


@pytest.mark.filterwarnings("ignore:nothing can leave")
def test_an_activation_that_makes_something_of_nothing():
    model, layer, _ = _sequence("simple")
    layer.cell.activation = keras.activations.sigmoid
    _zero(layer.cell.kernel, 1, [1])
    _zero(layer.cell.recurrent_kernel, 1, [1])
    _zero(layer.cell.bias, 0, [1])
    assert _trace(model).kernels[_trace(model).path_of(layer.cell.kernel)].rests(np.ones(6, bool)).sum() == 0


@pytest.mark.parametrize("case", ["lstm", "gru"])
def test_states_go_from_one_layer_to_another(case):
    kind = LAYERS[case][0]
    x = inputs = keras.Input((6, 4))
    encoder, decoder = kind(5, return_state=True, name="e"), kind(5, return_sequences=True, name="d")
    _, *states = encoder(x)
    model = _drawn(keras.Model(inputs, L.Dense(2, name="last")(decoder(L.Dense(3)(x), initial_state=states))))
    _cut(decoder.cell, 1, [(model.get_layer("last").kernel, 1)])
    assert compact(model).get_layer("d").units == 5  # unit 1 of the encoder is read by other units
    _cut(encoder.cell, 1, [])
    small = compact(model)
    assert small.get_layer("d").units == small.get_layer("e").units == 4
    _assert_close(small(X), model(X))


def test_units_that_start_with_something_do_not_stay_zero():
    x, start = keras.Input((6, 4)), keras.Input((4,))
    layer = L.SimpleRNN(5, name="r", return_sequences=True)
    out = L.Dense(2)(layer(x, initial_state=L.Dense(5, name="start")(start)))
    model = _drawn(keras.Model([x, start], out))
    _zero(layer.cell.kernel, 1, [1])
    _zero(layer.cell.recurrent_kernel, 1, [1])
    _zero(layer.cell.bias, 0, [1])
    given = [X, X[:, 0]]
    small = compact(model)
    _assert_close(small(given), model(given))


@pytest.mark.slow_beyond(4)
@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("sequences", [True, False])
def test_both_directions(mode, sequences):
    x = inputs = keras.Input((6, 4))
    layer = L.Bidirectional(L.LSTM(5, return_sequences=sequences), merge_mode=mode, name="b")
    out = layer(x)
    readers = [L.Dense(2) for _ in range(2 if mode is None else 1)]
    outs = [reader(one) for reader, one in zip(readers, out if mode is None else [out], strict=True)]
    model = _drawn(keras.Model(inputs, outs))
    trace = _trace(model)
    units = trace.axes[trace.path_of(layer.forward_layer.cell.recurrent_kernel)][0]
    small = rebuild(model, trace, without(trace, [trace.channels.classes[units[[1, 3]]]]))
    for unit in (1, 3):
        rows = [(reader.kernel, unit) for reader in readers]
        rows += [(readers[0].kernel, 5 + unit)] if mode == "concat" else []
        for one in (layer.forward_layer, layer.backward_layer):
            _cut(one.cell, unit, rows)
    _assert_close(small(X), model(X))
    # Two times 4 x 12 + 3 x 12 + 12, and what reads 3 or 6 units
    assert small.count_params() == 2 * 96 + {"concat": 14, None: 16}.get(mode, 8)
    again = compact(model)
    assert again.count_params() == small.count_params()
    _assert_close(again(X), model(X))


def test_a_masked_sequence():
    tokens = keras.Input((6,), dtype="int32")
    x = L.Embedding(7, 4, mask_zero=True, name="tokens")(tokens)
    layer = L.GRU(5, name="r", return_sequences=True)
    model = _drawn(keras.Model(tokens, L.Dense(2, name="last")(layer(x))))
    _cut(layer.cell, 2, [(model.get_layer("last").kernel, 2)])
    _zero(layer.cell.kernel, 0, [3])
    small = compact(model)
    given = np.random.default_rng(0).integers(0, 3, (4, 6))
    assert small.get_layer("r").units == 4 and small.get_layer("tokens").output_dim == 3
    _assert_close(small(given), model(given))


@pytest.mark.parametrize("inner", [L.Dense(5, "relu"), L.Conv1D(5, 3, padding="same"), L.LSTM(5)], ids=lambda x: x.name)
def test_step_by_step(inner):
    x = inputs = keras.Input((3, 6, 4))
    x = L.TimeDistributed(L.Dense(4, name="first"), name="t")(x)
    x = L.TimeDistributed(inner, name="u")(x)
    model = _drawn(keras.Model(inputs, L.Dense(2, name="last")(x)))
    last = model.get_layer("last").kernel
    if isinstance(inner, L.LSTM):
        _cut(inner.cell, 2, [(last, 2)])
        _zero(inner.cell.kernel, 0, [1])
    else:
        _zero(last, 0, [2])
        _zero(inner.kernel, -2, [1])
    small = compact(model)
    given = np.random.default_rng(0).normal(size=(2, 3, 6, 4))
    _assert_close(small(given), model(given))
    assert small.get_layer("t").layer.units == 3
    assert small.get_layer("last").kernel.shape == (4, 2)


def test_a_stateful_layer_keeps_all():
    layer = L.LSTM(5, stateful=True, name="r")
    model = _drawn(keras.Sequential([keras.Input(batch_shape=(3, 6, 4)), layer, L.Dense(2)]))
    assert not any(path.startswith("r/") for path in _trace(model).axes)
