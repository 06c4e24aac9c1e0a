"""Convolutional LSTMs against the same written out step by step, of one convolution for each gate."""

import math

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops
from seen_weights import draw, seen

from tfprune.connectivity.reachability import Reachability
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable

pytestmark = pytest.mark.usefixtures("float64")
STEPS, FILTERS, GATES = 3, 2, range(4)
CONVOLUTIONS = {"ConvLSTM1D": L.Conv1D, "ConvLSTM2D": L.Conv2D, "ConvLSTM3D": L.Conv3D}


class WrittenOut:
    """Convolutions for the gates of a layer, and what it does with them."""

    def __init__(self, layer):
        kind, cell, self.layer = CONVOLUTIONS[type(layer).__name__], layer.cell, layer
        own = {"strides": cell.strides, "padding": cell.padding, "dilation_rate": cell.dilation_rate}
        size = cell.kernel_size
        self.inputs = [kind(FILTERS, size, use_bias=cell.use_bias, name=f"in{gate}", **own) for gate in GATES]
        again = {"padding": "same", "use_bias": False}
        self.back = [kind(FILTERS, size, name=f"back{gate}", **again) for gate in GATES]

    def __call__(self, x):
        x = x[:, ::-1] if self.layer.go_backwards else x
        h = c = ops.zeros_like(self.inputs[0](x[:, 0]))
        made, act, gate = [], self.layer.activation, self.layer.recurrent_activation
        for at in range(STEPS):
            i, f, g, o = (a(x[:, at]) + b(h) for a, b in zip(self.inputs, self.back, strict=True))
            c = gate(f) * c + gate(i) * act(g)
            h = gate(o) * act(c)
            made.append(h)
        return ops.stack(made, axis=1) if self.layer.return_sequences else h

    def give(self, layer):
        """The layer gets the weights of this one."""
        layer.cell.kernel.assign(np.concatenate([one.kernel.numpy() for one in self.inputs], axis=-1))
        layer.cell.recurrent_kernel.assign(np.concatenate([one.kernel.numpy() for one in self.back], axis=-1))
        if layer.use_bias:
            layer.cell.bias.assign(np.concatenate([one.bias.numpy() for one in self.inputs]))


CASES = {
    "strides": ((5, 2), lambda: L.ConvLSTM1D(FILTERS, 3, strides=2, padding="same", use_bias=False)),
    "dilation": ((5, 1), lambda: L.ConvLSTM1D(FILTERS, 2, dilation_rate=2, return_sequences=True)),
    "single": ((4, 3), lambda: L.ConvLSTM1D(FILTERS, 1, strides=2, go_backwards=True, return_sequences=True)),
    "images": ((3, 3, 1), lambda: L.ConvLSTM2D(FILTERS, 2, use_bias=False)),
    "volumes": ((2, 2, 2, 1), lambda: L.ConvLSTM3D(FILTERS, (1, 2, 1), padding="same", use_bias=False)),
}
FAST = "strides", "images"


@pytest.mark.parametrize(
    "case", [*FAST, *(pytest.param(case, marks=pytest.mark.slow) for case in CASES if case not in FAST)]
)
def test_agrees_with_what_is_seen(case):
    shape, build = CASES[case]
    layer = build()
    layer.name = "rnn"
    written = WrittenOut(layer)
    models = []
    for call in (layer, written):
        x = keras.Input((STEPS, *shape))
        y = call(x)
        # Of the last step one position alone is read.
        y = y[:, 1] if layer.return_sequences else y
        models.append(keras.Model(x, L.Dense(2, name="out")(L.Flatten()(y)[:, :FILTERS])))
    model, other = models
    reachability, rng, told_apart = Reachability(model), np.random.default_rng(0), False
    assert reachability.barriers == ()
    uses = STEPS * math.prod(written.back[0]._inbound_nodes[0].output_tensors[0].shape[1:-1])
    assert [reachability.uses[f"rnn/cell.{name}"] for name in ("kernel", "recurrent_kernel")] == [uses] * 2
    for density in (0.7, 0.3, 0.3, 0.2):
        masks = Masks({path: rng.random(kernel.shape) < density for path, kernel in prunable(model).items()})
        split = {name: part for path, mask in masks.items() for name, part in _as_gates(path, mask).items()}
        draw(other, split, rng)
        written.give(layer)
        model.get_layer("out").set_weights(other.get_layer("out").get_weights())
        numbers = rng.normal(size=(2, STEPS, *shape))
        np.testing.assert_allclose(model(numbers), other(numbers), rtol=1e-6, atol=1e-9)
        expected, effective = seen(other, split), reachability(masks)
        for path in masks:
            for name, part in _as_gates(path, effective[path]).items():
                np.testing.assert_array_equal(part, expected[name], f"{name}, {density}")
        told_apart |= 0 < effective.kept < masks.kept
    assert told_apart


def _as_gates(path, mask):
    """The masks of the written-out layer for one of the layer."""
    if not path.startswith("rnn/"):
        return {path: mask}
    name = "back" if "recurrent" in path else "in"
    return {f"{name}{gate}/kernel": part for gate, part in enumerate(np.split(mask, len(GATES), axis=-1))}
