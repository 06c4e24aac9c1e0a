"""Recurrent layers around cells, one or stacked, against Keras's own recurrent layers of the same cells.

What those depend on is seen in numbers elsewhere; that both compute the same is asserted here.
"""

import keras
import numpy as np
import pytest
from keras import layers as L
from seen_weights import draw

from tfprune.connectivity import rules_recurrent
from tfprune.connectivity.reachability import CONVENTIONS, Reachability
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.pruning.scores.synflow import flow

pytestmark = pytest.mark.usefixtures("float64")


def _lstm_and_gru():
    return [L.LSTMCell(3), L.GRUCell(2)]


STACKS = {
    "one": (lambda: L.SimpleRNNCell(3), lambda **last: [L.SimpleRNN(3, **last)]),
    "list": (_lstm_and_gru, lambda **last: [L.LSTM(3, return_sequences=True), L.GRU(2, **last)]),
    "nested": (
        lambda: L.StackedRNNCells([L.StackedRNNCells(_lstm_and_gru()), L.SimpleRNNCell(2)]),
        lambda **last: [
            L.LSTM(3, return_sequences=True),
            L.GRU(2, return_sequences=True),
            L.SimpleRNN(2, **last),
        ],
    ),
}


def _models(stack, options):
    cells, built = STACKS[stack]
    x = keras.Input((3, 4))
    layers = built(**{key: value for key, value in options.items() if key != "go_backwards"})
    if options.get("go_backwards"):
        layers[0].go_backwards = True
    one = L.RNN(cells(), **options)(x)
    other = x
    for layer in layers:
        other = layer(other)
    return [keras.Model(x, L.Dense(2)(y[:, 1] if options.get("return_sequences") else y)) for y in (one, other)]


CASES = [
    ("one", {}, False),
    pytest.param("list", {"return_sequences": True}, False, marks=pytest.mark.slow),
    ("nested", {"go_backwards": True}, False),
    ("list", {"go_backwards": True}, True),
]


@pytest.mark.parametrize(("stack", "options", "is_long"), CASES)
def test_cells_are_layers_on_top_of_each_other(stack, options, is_long, monkeypatch):
    if is_long:
        monkeypatch.setattr(rules_recurrent, "UNROLLED", 1)
    cells, layers = _models(stack, options)
    assert [kernel.shape for kernel in prunable(cells).values()] == [k.shape for k in prunable(layers).values()]
    rng, told_apart = np.random.default_rng(0), False
    for convention in CONVENTIONS if stack == "one" else CONVENTIONS[:1]:
        mine, theirs = (Reachability(model, convention=convention) for model in (cells, layers))
        assert mine.barriers == () and list(mine.uses.values()) == list(theirs.uses.values())
        for density in (0.7, 0.4, 0.3, 0.2):
            masks = Masks({path: rng.random(kernel.shape) < density for path, kernel in prunable(cells).items()})
            renamed = Masks(dict(zip(prunable(layers), masks.values(), strict=True)))
            draw(layers, renamed, rng)
            cells.set_weights(layers.get_weights())
            numbers = rng.normal(size=(2, 3, 4))
            np.testing.assert_allclose(cells(numbers), layers(numbers), rtol=1e-9)
            effective = mine(masks)
            for one, other in zip(effective.values(), theirs(renamed).values(), strict=True):
                np.testing.assert_array_equal(one, other)
            told_apart |= 0 < effective.kept < masks.kept
    (own, own_exponent), (theirs, exponent) = flow(cells, Masks.dense(cells)), flow(layers, Masks.dense(layers))
    for one, other in zip(own.values(), theirs.values(), strict=True):
        np.testing.assert_allclose(one, other * 2.0 ** (exponent - own_exponent), rtol=1e-4)
    assert told_apart or is_long


@pytest.mark.parametrize(("read", "gates", "second"), [(2, [1, 0, 1, 0], False), (3, [1, 0, 1, 1], True)])
def test_states_by_hand(read, gates, second):
    """After one step from zeros no carry is kept, and only what is shown reaches the second cell, which has a state."""
    x, start = keras.Input((1, 3)), keras.Input((2,))
    cells = [L.LSTMCell(2, use_bias=False), L.SimpleRNNCell(2, use_bias=False)]
    zeros = keras.ops.zeros_like(start)
    given = [[zeros, zeros], [L.Dense(2, name="start", use_bias=False)(start)]]
    states = keras.tree.flatten(L.RNN(cells, return_state=True, name="rnn")(x, initial_state=given))
    model = keras.Model([x, start], L.Dense(1, name="out")(states[read]))
    found = Reachability(model)(Masks.dense(model))
    expected = {
        "start/kernel": np.full((2, 2), second),
        "rnn/cell.cells.0.kernel": np.repeat([gates] * 3, 2, axis=1),
        "rnn/cell.cells.0.recurrent_kernel": np.zeros((2, 8)),
        "rnn/cell.cells.1.kernel": np.full((2, 2), second),
        "rnn/cell.cells.1.recurrent_kernel": np.full((2, 2), second),
        "out/kernel": np.ones((2, 1)),
    }
    assert set(found) == set(expected)
    for path, array in found.items():
        np.testing.assert_array_equal(array, expected[path] > 0, path)
