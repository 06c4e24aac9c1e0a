"""Recurrent layers against the same layers written out step by step, of one dense layer for each gate.

That the two compute the same is asserted; which weights of the written-out network matter is seen in numbers.
"""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops
from seen_weights import draw, seen

from tfprune.connectivity import rules_recurrent
from tfprune.connectivity.reachability import Reachability
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable

pytestmark = pytest.mark.usefixtures("float64")
STEPS, FEATURES, UNITS = 3, 3, 2
GATES = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}


class WrittenOut:
    """Dense layers for the gates of a recurrent layer, and what it does with them."""

    def __init__(self, layer, name):
        self.kind, self.layer = type(layer).__name__, layer
        bias, after = layer.use_bias, getattr(layer, "reset_after", False)
        gates = range(GATES[self.kind])
        self.inputs = [L.Dense(UNITS, use_bias=bias, name=f"{name}_in{gate}") for gate in gates]
        self.back = [L.Dense(UNITS, use_bias=bias and after, name=f"{name}_back{gate}") for gate in gates]

    def __call__(self, x, state=None):
        steps = range(x.shape[1])
        x = x[:, ::-1] if self.layer.go_backwards else x
        zeros = ops.zeros_like(x[:, 0, :1]) + np.zeros(UNITS)
        states = [zeros, zeros] if state is None else state
        made = []
        for at in steps:
            states = getattr(self, self.kind)(x[:, at], *states[: 2 if self.kind == "LSTM" else 1])
            made.append(states[0])
        return ops.stack(made, axis=1) if self.layer.return_sequences else made[-1]

    def SimpleRNN(self, x, h):
        return [self.layer.activation(self.inputs[0](x) + self.back[0](h))]

    def LSTM(self, x, h, c):
        i, f, g, o = (a(x) + b(h) for a, b in zip(self.inputs, self.back, strict=True))
        act, gate = self.layer.activation, self.layer.recurrent_activation
        c = gate(f) * c + gate(i) * act(g)
        return [gate(o) * act(c), c]

    def GRU(self, x, h):
        act, gate = self.layer.activation, self.layer.recurrent_activation
        z, r = (gate(self.inputs[at](x) + self.back[at](h)) for at in (0, 1))
        recalled = r * self.back[2](h) if self.layer.reset_after else self.back[2](r * h)
        return [z * h + (1 - z) * act(self.inputs[2](x) + recalled)]

    def give(self, layer):
        """The recurrent layer gets the weights of this one."""
        layer.cell.kernel.assign(np.concatenate([one.kernel.numpy() for one in self.inputs], axis=1))
        layer.cell.recurrent_kernel.assign(np.concatenate([one.kernel.numpy() for one in self.back], axis=1))
        if layer.use_bias:
            biases = [np.concatenate([one.bias.numpy() for one in self.inputs])]
            if self.back[0].use_bias:
                biases.append(np.concatenate([one.bias.numpy() for one in self.back]))
            layer.cell.bias.assign(np.reshape(biases, layer.cell.bias.shape))


LAYERS = {
    "simple": lambda **more: L.SimpleRNN(UNITS, **more),
    "simple_without_bias": lambda **more: L.SimpleRNN(UNITS, use_bias=False, **more),
    "lstm": lambda **more: L.LSTM(UNITS, **more),
    "lstm_without_bias": lambda **more: L.LSTM(UNITS, use_bias=False, **more),
    "gru": lambda **more: L.GRU(UNITS, **more),
    "gru_without_bias": lambda **more: L.GRU(UNITS, use_bias=False, **more),
    "gru_before": lambda **more: L.GRU(UNITS, reset_after=False, use_bias=False, **more),
    "gru_before_with_bias": lambda **more: L.GRU(UNITS, reset_after=False, **more),
}
NETS = {
    "last": ({}, lambda x, rnn: L.Dense(2, name="out")(rnn(x))),
    "sequences": (
        {"return_sequences": True},
        lambda x, rnn: L.Dense(2, name="out")(rnn(L.Dense(FEATURES, name="first")(x))[:, 1:3]),
    ),
    "backwards": (
        {"go_backwards": True, "return_sequences": True},
        lambda x, rnn: L.Dense(1, name="out")(rnn(L.Dense(FEATURES, name="first", use_bias=False)(x))[:, 1]),
    ),
}


def _models(kind, net):
    options, build = NETS[net]
    models = []
    for written in (False, True):
        x = keras.Input((STEPS, FEATURES))
        layer = LAYERS[kind](name="rnn", **options)
        call = WrittenOut(layer, "rnn") if written else layer
        models.append((keras.Model(x, build(x, call)), call))
    return models


def _as_gates(path, mask):
    """The masks of the written-out layer for one of the recurrent layer."""
    if not path.startswith("rnn/"):
        return {path: mask}
    name = "back" if "recurrent" in path else "in"
    parts = np.split(mask, mask.shape[1] // UNITS, axis=1)
    return {f"rnn_{name}{gate}/kernel": part for gate, part in enumerate(parts)}


def _random_masks(model, densities=(0.5, 0.25, 0.12)):
    rng = np.random.default_rng(0)
    for density in densities:
        for _ in range(2):
            yield Masks({path: rng.random(kernel.shape) < density for path, kernel in prunable(model).items()})


CASES = [(kind, "sequences" if "bias" in kind else "last", False) for kind in LAYERS]
CASES += [(kind, "backwards", is_long) for kind in ("simple", "lstm", "gru") for is_long in (False, True)]


QUICK = [case for case in CASES if case[0].startswith("simple")]
QUICK += [("lstm", "last", False), ("lstm_without_bias", "sequences", False), ("gru_before", "last", False)]
QUICK += [("gru", "backwards", False), ("gru", "backwards", True)]


@pytest.mark.parametrize(
    ("kind", "net", "is_long"),
    [pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow) for case in CASES],
    ids=str,
)
def test_agrees_with_what_is_seen(kind, net, is_long, monkeypatch):
    if is_long:
        monkeypatch.setattr(rules_recurrent, "UNROLLED", 1)
    (model, layer), (written, gates) = _models(kind, net)
    reachability = Reachability(model)
    assert reachability.barriers == ()
    told_apart = False
    for masks in _random_masks(model):
        split = {name: part for path, mask in masks.items() for name, part in _as_gates(path, mask).items()}
        draw(written, split, np.random.default_rng(1))
        gates.give(layer)
        for name in ("first", "out"):
            if f"{name}/kernel" in masks:
                model.get_layer(name).set_weights(written.get_layer(name).get_weights())
        x = np.random.default_rng(2).normal(size=(2, STEPS, FEATURES))
        np.testing.assert_allclose(model(x), written(x), rtol=1e-6, atol=1e-9)
        expected, effective = seen(written, split), reachability(masks)
        for path in masks:
            for name, part in _as_gates(path, effective[path]).items():
                missed = expected[name] & ~part
                assert not missed.any(), (name, np.argwhere(missed))
                if not is_long:
                    np.testing.assert_array_equal(part, expected[name], f"{name}, {masks.density}")
        told_apart |= effective.kept < masks.kept
    assert told_apart or is_long
