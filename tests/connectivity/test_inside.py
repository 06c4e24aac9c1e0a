"""Layers that are made of others: the graph that their `call` runs takes their place, where it does the same."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops
from seen_weights import draw, inlined, same_weights, seen

from tfprune.connectivity.reachability import CONVENTIONS, Reachability
from tfprune.connectivity.report import sparsity
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.pruning.pruner import prune

pytestmark = pytest.mark.usefixtures("float64")


class Block(L.Layer):
    """Position by position, with weights of its own beside those of its layers."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.first, self.last = L.Dense(2 * width), L.Dense(width)
        self.norm = L.LayerNormalization()

    def build(self, shape):
        self.scale = [self.add_weight(shape=(shape[-1],), name=f"scale{at}", initializer="zeros") for at in range(2)]

    def call(self, x, training=None):
        return x * ops.tanh(self.scale[0]) + self.last(ops.tanh(self.first(self.norm(x)))) * self.scale[1]


class Gate(L.Layer):
    """Feature by feature, of two tensors to two; nothing in it mixes."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = L.BatchNormalization()

    def call(self, x, gate):
        return {"a": self.norm(x) * ops.tanh(gate), "b": x + gate}


class Stack(L.Layer):
    """Layers of layers, of which one attends; the second half of the positions is not looked at."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.block, self.attention = Block(3), L.MultiHeadAttention(1, 2)

    def call(self, x):
        x = self.block(x)
        return x + self.attention(x, x[:, :2])


class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inside = L.Dense(2)

    def call(self, x):
        return ops.concatenate([x, ops.tanh(self.inside(x[..., :2]))], axis=-1)


class Drawn(L.Layer):
    """Draws numbers in inference, too: no two runs are alike."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inside, self.seed = L.Dense(3), keras.random.SeedGenerator(0)

    def call(self, x):
        x = self.inside(x)
        return x + keras.random.normal(ops.shape(x), dtype=x.dtype, seed=self.seed)


class Counting(L.Layer):
    """Depends on what its author keeps in Python."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inside, self.calls = L.Dense(3), 0

    def call(self, x):
        self.calls += 1
        return self.inside(x[:, ::-1] if self.calls % 2 else x * 3)


class Cell(L.SimpleRNNCell):
    """No rule knows what it does."""

    def call(self, sequence, states, training=False):
        return super().call(sequence[..., ::-1], states, training)


class Recurrent(L.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inside, self.last = L.RNN(Cell(3), return_sequences=True), L.Dense(2)

    def call(self, x):
        return self.last(self.inside(x))


def block(x):
    return L.Dense(2)(Block(4)(L.Dense(4)(x)))[:, 1:]


def shared_block(x):
    block = Block(3)
    return L.Dense(1)(block(L.Dense(3)(block(L.Dense(3)(x)[:, :2]))))


def gates(x):
    found = Gate()(L.Dense(4, use_bias=False)(x), L.Dense(4, use_bias=False)(x))
    return [L.Dense(2)(found["a"][..., :3]), L.Dense(1)(found["b"][..., 1:])]


def stack(x):
    return L.Dense(2)(Stack()(L.Dense(3)(x))[:, 2:])


def subclassed(x):
    return L.Dense(2)(Subclassed()(L.Dense(4)(x)))


def nested(x):
    inner = keras.Input((4, 3))
    block = keras.Model(inner, Block(3)(inner), name="block")
    return L.Dense(2)(block(L.Dense(3)(x))[:, 1:])


OPENED = Block, Gate, Stack, Subclassed
NETS = [block, shared_block, gates, stack, subclassed, nested]


def _model(net):
    x = keras.Input((4, 3))
    return keras.Model(x, net(x))


def _random_masks(model):
    rng = np.random.default_rng(0)
    for density in (1.0, 0.5, 0.3, 0.2, 0.1):
        for _ in range(2):
            yield Masks({path: rng.random(kernel.shape) < density for path, kernel in prunable(model).items()})


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.__name__)
def test_agrees_with_what_is_seen(net):
    model = _model(net)
    nodes = {id(layer): len(layer._inbound_nodes) for layer in model._flatten_layers(recursive=True)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reachability = Reachability(model)  # before any weight is drawn: those of the blocks are 0
    assert reachability.barriers == ()
    assert nodes == {id(layer): len(layer._inbound_nodes) for layer in model._flatten_layers(recursive=True)}
    draw(model, Masks.dense(model), np.random.default_rng(1))  # the flat model has the scales of blocks as numbers
    told_apart, flat = False, inlined(model, OPENED)
    assert len(prunable(flat)) == len(prunable(model))
    for masks in _random_masks(model):
        outside = same_weights(masks, model, flat)
        draw(model, masks, np.random.default_rng(1))
        effective, expected = reachability(masks), seen(flat, outside, numbers=False)
        found = same_weights(effective, model, flat)
        for path in expected:
            np.testing.assert_array_equal(found[path], expected[path], path)
        told_apart |= effective.kept < masks.kept
    assert told_apart
    assert Reachability(model, convention="paper")(masks).kept <= effective.kept


@pytest.mark.parametrize(("layer", "barriers"), [(Drawn, "drawn"), (Counting, "counting"), (Recurrent, "rnn")])
def test_what_cannot_be_found_inside_is_a_barrier(layer, barriers):
    model = _model(lambda x: L.Dense(2)(layer()(L.Dense(3)(x))))
    for convention in CONVENTIONS:
        with pytest.warns(UserWarning, match="no rule knows 1 operation"):
            reachability = Reachability(model, convention=convention)
        (name,) = reachability.barriers
        assert name.startswith(barriers)
    for masks in _random_masks(model) if layer is not Drawn else ():  # what is drawn seems to vary with the input
        effective, expected = reachability(masks), seen(model, masks)
        assert not any((expected[path] & ~effective[path]).any() for path in expected)


def test_masks_that_tensors_carry_are_not_looked_for():
    """The layers inside take them, and no graph shows that."""
    x = keras.Input((4, 3))
    model = keras.Model(x, L.Dense(2)(Block(3)(L.Masking()(L.Dense(3)(x)))))
    with pytest.warns(UserWarning, match="'block.*Block"):
        assert len(Reachability(model).barriers) >= 1


@pytest.mark.slow_beyond(1)
@pytest.mark.parametrize("pruner", ["random/erk", "synflow"])
def test_effective_pruning(pruner):
    model = _model(stack)
    masks = prune(model, pruner, 0.5, "effective", verbose=False)
    assert 0.4 <= sparsity(model, masks).effective <= 0.5
