"""Effective masks against numbers: which weights the input's influence on the outputs runs through.

The check is that of `seen_weights.py`. Where all is smooth, the two must be equal, not only one part of the other.
"""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops
from seen_weights import seen

from tfprune.connectivity import graph
from tfprune.connectivity.activations import behaviour_of
from tfprune.connectivity.graph import register_rule
from tfprune.connectivity.reachability import Reachability, effective_masks
from tfprune.connectivity.report import sparsity
from tfprune.errors import InputError
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable

NETWORKS = {}


def network(*shapes):
    def register(make):
        NETWORKS[make.__name__] = (make, shapes)
        return make

    return register


@pytest.fixture(autouse=True)
def _double():
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy("float32")


@network((5, 5, 3))
def squeeze_and_excite_by_operators(x):
    x = L.Conv2D(4, 3, padding="same")(x)
    gate = L.Dense(2)(ops.mean(x, axis=(1, 2), keepdims=True))
    gate = ops.sigmoid(L.Dense(4)(ops.tanh(gate)))
    return L.Dense(2)(L.GlobalAveragePooling2D()(L.Conv2D(3, 2)(x * gate)))


@network((8,))
def a_gate_that_has_lost_its_kernel(x):
    return L.Dense(1)(x * ops.sigmoid(L.Dense(8)(x)))


@network((6,))
def products_without_biases_need_all_their_factors(x):
    x = L.Dense(5, use_bias=False)(x)
    a, b, c = (L.Dense(5, use_bias=False)(x) for _ in range(3))
    open_gate = L.Dense(5, use_bias=False)(ops.tanh(x))
    return L.Dense(2)(L.Multiply()([a, b, c]) + a * ops.tanh(b) + b * ops.exp(open_gate))


@network((6, 5))
def mlp_mixer(x):
    for _ in range(2):
        y = ops.transpose(L.LayerNormalization()(x), (0, 2, 1))
        y = L.Dense(6)(ops.gelu(L.Dense(4)(y)))
        x = x + ops.transpose(y, (0, 2, 1))
        x = x + L.Dense(5)(ops.gelu(L.Dense(4)(L.LayerNormalization()(x))))
    return L.Dense(2)(L.GlobalAveragePooling1D()(x))


@network((4, 4, 2), (3,))
def diffusion_block_with_group_normalization(x, time):
    x = L.Conv2D(4, 3, padding="same")(x)
    shift = L.Dense(4)(L.Activation("silu")(L.Dense(3)(time)))
    y = L.Conv2D(4, 2, padding="same")(ops.silu(L.GroupNormalization(2)(x)))
    y = y * (1 + shift[:, None, None]) + x
    return L.Conv2D(2, 1)(ops.silu(L.GroupNormalization(4)(y)))


@network((5, 3))
def point_net(x):
    t = L.GlobalAveragePooling1D()(L.Activation("softplus")(L.BatchNormalization()(L.Conv1D(4, 1)(x))))
    transform = L.Reshape((3, 3))(L.Dense(9)(t))
    x = L.Dot(axes=(2, 1))([x, transform])
    x = L.Activation("tanh")(L.Conv1D(4, 1)(x))
    return L.Dense(2)(L.GlobalAveragePooling1D()(x))


@network((4,), (3,))
def dot_product_of_two_towers(x, y):
    return L.Dot(1)([L.Dense(3)(ops.tanh(L.Dense(4)(x))), L.Dense(3)(y)])


@network((4,), (3,))
def cosine_of_two_towers(x, y):
    return L.Dot(1, normalize=True)([L.Dense(3)(ops.tanh(L.Dense(4)(x))), L.Dense(3)(y)])


@network((4, 4))
def attention_by_operators(x):
    q, k, v = L.Dense(3)(x), L.Dense(3, use_bias=False)(x), L.Dense(3, use_bias=False)(x)
    scores = ops.softmax(ops.einsum("bqd,bkd->bqk", q, k) / np.sqrt(3.0), axis=-1)
    return L.Dense(2)(ops.matmul(scores, v)[:, 0])


@network((4, 3), (3, 3))
def attention_layers(x, y):
    x, y = L.Dense(4)(ops.tanh(L.Dense(4)(x))), L.Dense(4)(y)
    own = L.MultiHeadAttention(1, 3)(x, x, use_causal_mask=True)
    across = L.MultiHeadAttention(2, 2, output_shape=3)(own[:, :2], y)
    return L.Dense(1)(across[:, 0])


@network((3, 4))
def causal_attention_whose_first_position_sees_itself_only(x):
    x = L.EinsumDense("btf,tfg->btg", (3, 4), bias_axes="tg")(x)
    return L.MultiHeadAttention(1, 3)(x, x, use_causal_mask=True)[:, 0]


@network((8,))
def gated_linear_unit(x):
    a, b = ops.split(L.Dense(8)(x), 2, axis=-1)
    return L.Dense(2)(L.Dense(3, use_bias=False)(a) * ops.sigmoid(L.Dense(3, use_bias=False)(b)))


@network((6,))
def normalisations_that_keep_zeros(x):
    a = L.RMSNormalization()(L.Dense(5, use_bias=False)(x))
    b = L.UnitNormalization()(L.Dense(5, use_bias=False)(x))
    c = ops.normalize(L.Dense(5, use_bias=False)(x), axis=-1)
    d = L.LayerNormalization(center=False)(L.Dense(5, use_bias=False)(x))
    return L.Dense(2, use_bias=False)(a[:, :2]), L.Dense(2)(b[:, :1] * c[:, 1:3]), d[:, :1]


@network((4, 3))
def normalisation_over_one_entry_leaves_a_constant(x):
    x = L.Dense(1)(x)
    return L.Dense(2)(L.LayerNormalization()(x)), L.Dense(2)(ops.softmax(x, axis=1)), L.Softmax()(L.Dense(1)(x))


@network((4,))
def arithmetic_with_constants(x):
    a, b = L.Dense(4, use_bias=False)(x), L.Dense(4, use_bias=False)(x)
    shifted = np.array([0.0, 1.0, -2.0, 0.0])
    left = (a + shifted) * b
    right = ops.divide(a, 2.0 + ops.exp(b)) + 1 / (3 + ops.square(L.Dense(4)(x)))
    padded = ops.pad(a[:, :2], ((0, 0), (1, 1)), constant_values=2.0) * L.Dense(4, use_bias=False)(x)
    return L.Dense(2)(left), L.Dense(1)(right), L.Dense(1)(padded), ops.std(a, axis=-1), ops.logsumexp(b, axis=-1)


@network((5, 4))
def softmax_over_positions(x):
    weights = L.Softmax(axis=1)(L.Dense(2)(x))
    return L.Dense(2)(L.Flatten()(weights)), ops.sum(weights[..., :1] * L.Dense(3, use_bias=False)(x), axis=1)


def random_graph(seed):
    """Operations on random earlier results, all of four features."""

    def net(x):
        rng = np.random.default_rng(seed)
        results = [x]
        for _ in range(9):
            a, b = (results[int(len(results) * np.sqrt(rng.random()))] for _ in range(2))
            bias = bool(rng.integers(2))
            kind = rng.choice(
                ["dense", "dense", "dense", "times", "times", "plus", "norm", "tanh", "sigmoid", "softmax"]
            )
            results.append(
                {
                    "dense": lambda a=a, bias=bias: L.Dense(4, use_bias=bias)(a),
                    "times": lambda a=a, b=b: L.Multiply()([a, b]),
                    "plus": lambda a=a, b=b: a + b,
                    "norm": lambda a=a, bias=bias: L.LayerNormalization(center=bias)(a),
                    "tanh": lambda a=a: ops.tanh(a),
                    "sigmoid": lambda a=a: ops.sigmoid(a),
                    "softmax": lambda a=a: ops.softmax(a),
                }[kind]()
            )
        return [L.Dense(2)(results[-1]), L.Dense(1, use_bias=False)(results[-2])]

    return net


for seed in range(10):
    NETWORKS[f"random_{seed}"] = (random_graph(seed), ((4,),))


@pytest.mark.parametrize("name", NETWORKS)
def test_agrees_with_what_is_seen(name):
    build, shapes = NETWORKS[name]
    inputs = [keras.Input(shape) for shape in shapes]
    model = keras.Model(inputs, build(*inputs))
    reachability = Reachability(model)
    rng = np.random.default_rng(0)
    told_apart = False
    for density in (1.0, 0.6, 0.35, 0.15):
        for _ in range(2):
            # Kernels within layers are looked at in tests of their own.
            share = {path: 1 if "." in path else density for path in prunable(model)}
            masks = Masks({path: rng.random(kernel.shape) < share[path] for path, kernel in prunable(model).items()})
            effective, expected = reachability(masks), seen(model, masks)
            for path in expected:
                np.testing.assert_array_equal(effective[path], expected[path], err_msg=f"{path} at {density}")
            told_apart |= 0 < effective.kept < masks.kept
    assert told_apart or name.startswith("random"), "no case told effective from kept"


@pytest.mark.parametrize(
    "activation",
    [
        "softmax",
        "sigmoid",
        keras.activations.gelu,
        lambda x: ops.tanh(x) + ops.mean(x, axis=1, keepdims=True),
        L.Softmax(1),
    ],
)
def test_activation_of_a_kernel_layer_is_a_layer_of_its_own(activation):
    inputs = keras.Input((4, 3))
    inside = L.Dense(3, use_bias=False, activation=activation, name="first")(inputs)
    outside = L.Dense(3, use_bias=False, name="first")(inputs)
    outside = activation(outside) if isinstance(activation, L.Layer) else L.Activation(activation)(outside)
    both = [
        keras.Model(inputs, L.Dense(2, name="head")(x[:, 1] * L.Dense(3, use_bias=False, name="b")(inputs[:, 0])))
        for x in (inside, outside)
    ]
    rng = np.random.default_rng(0)
    for density in (0.6, 0.3, 0.3, 0.15):
        masks = Masks({path: rng.random(kernel.shape) < density for path, kernel in prunable(both[0]).items()})
        assert effective_masks(both[0], masks) == effective_masks(both[1], masks)
        assert effective_masks(both[1], masks) == Masks(seen(both[1], masks)) or isinstance(activation, L.Layer)


def test_a_custom_factor_is_open():
    """Nothing says that the output of a user's layer is 0 where no path leads to it."""
    inputs = keras.Input((3,))
    gate = Shifted()(L.Dense(2, use_bias=False, name="gate")(inputs))
    model = keras.Model(inputs, L.Dense(2, use_bias=False, name="main")(inputs) * gate)
    register_rule(Shifted)(lambda walk, layer, inputs: inputs)
    try:
        masks = {"main/kernel": np.ones((3, 2), bool), "gate/kernel": np.zeros((3, 2), bool)}
        assert effective_masks(model, masks).counts == {"gate/kernel": 0, "main/kernel": 6}
    finally:
        del graph._RULES._layers[Shifted]


class Shifted(L.Layer):
    def call(self, inputs):
        return inputs + 1.0


def test_conventions():
    inputs = keras.Input((3,))
    gate = ops.sigmoid(L.Dense(2, name="gate")(inputs))
    model = keras.Model(inputs, L.Dense(2, name="main")(inputs) * gate)
    masks = {"main/kernel": np.ones((3, 2), bool), "gate/kernel": np.zeros((3, 2), bool)}
    assert sparsity(model, masks).weights.effective == 6
    assert sparsity(model, masks, convention="paper").weights.effective == 0
    with pytest.raises(InputError, match=r"influence, paper\. Received: 'original'"):
        Reachability(model, convention="original")


def test_an_activation_that_changes_the_shape_is_refused():
    model = keras.Sequential([keras.Input((3,)), L.Dense(4, activation="glu", name="gated"), L.Dense(2)])
    with pytest.raises(InputError, match=r"'gated'.*glu.*shape"):
        Reachability(model, unknown="refuse")


@pytest.mark.parametrize(
    ("activation", "axes", "keeps_zero"),
    [
        (keras.activations.relu, None, True),
        (keras.activations.sigmoid, None, False),
        (keras.activations.softmax, (2,), False),
        (lambda x: keras.activations.softmax(x, axis=1), (1,), False),
        (lambda x: x - ops.mean(x, axis=(1, 2), keepdims=True), (1, 2), True),
        (lambda x: 0 * x + 1, (), False),
        (lambda x: x * np.arange(50.0), None, True),  # wants its own number of features
        (lambda x: x.no_such_attribute, (1, 2), False),
    ],
)
def test_what_an_activation_does(activation, axes, keeps_zero):
    found = behaviour_of(activation, (7, 50), L.Activation("relu"))
    assert (found.axes, found.keeps_zero) == (axes, keeps_zero)
