"""Paths through kernels, the paper's convention, against the brute-force graph of single numbers.

Networks without products have the same effective weights by either convention.
"""

import numpy as np
import pytest
from keras import layers as L

from tfprune.connectivity.reachability import Reachability
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable

NETWORKS = {}


def network(*shapes):
    def register(make):
        NETWORKS[make.__name__] = (make, shapes)
        return make

    return register


@network((7,))
def dense_chain():
    chain = [L.Dense(6, activation="sigmoid"), L.BatchNormalization(), L.Dense(5, activation="relu"), L.Dense(3)]

    def net(go, x):
        for layer in chain:
            x = go(layer, x)
        return x

    return net


@network((6, 5, 2))
def convolutions_strides_padding_and_pools():
    chain = [
        L.Conv2D(3, 3, padding="same", activation="softplus"),
        L.MaxPooling2D(2, padding="same"),
        L.Conv2D(4, (3, 2), strides=(2, 1), padding="same"),
        L.ZeroPadding2D(((1, 0), (0, 2))),
        L.Conv2D(3, 2, dilation_rate=(1, 2)),
        L.AveragePooling2D(2, strides=1, padding="same"),
        L.Flatten(),
        L.Dense(3),
    ]

    def net(go, x):
        for layer in chain:
            x = go(layer, x)
        return x

    return net


@network((4, 4, 2))
def windows_far_larger_than_the_image():
    """Most weights of the first kernel meet padding only, some meet it always."""
    first, second = L.Conv2D(2, 7, padding="same", strides=3), L.Conv2D(2, 5, padding="same")

    def net(go, x):
        return go(second, go(first, x))

    return net


@network((5, 5, 2))
def residual_and_concatenated():
    stem, left, right, short, join = (
        L.Conv2D(3, 3, padding="same"),
        L.Conv2D(3, 3, strides=2, padding="same"),
        L.Conv2D(2, 1),
        L.Conv2D(3, 1, strides=2),
        L.Conv2D(3, 2, padding="same"),
    )
    minus, concatenate, pool, head = L.Subtract(), L.Concatenate(), L.GlobalMaxPooling2D(), L.Dense(2)

    def net(go, x):
        x = go(stem, x)
        y = go(minus, [go(left, x), go(short, x)])
        y = go(concatenate, [y, go(right, y)])
        return go(head, go(pool, go(join, y)))

    return net


@network((5, 4, 3))
def squeeze_and_excite():
    """A branch that is dead closes the paths of the branch that it multiplies."""
    stem, squeeze, excite, head = L.Conv2D(4, 3), L.Dense(2, activation="relu"), L.Dense(4, "sigmoid"), L.Dense(2)
    pool, multiply, last = L.GlobalAveragePooling2D(keepdims=True), L.Multiply(), L.GlobalAveragePooling2D()

    def net(go, x):
        x = go(stem, x)
        return go(head, go(last, go(multiply, [x, go(excite, go(squeeze, go(pool, x)))])))

    return net


@network((5, 6, 2))
def depthwise_separable_and_transposed():
    chain = [
        L.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
        L.SeparableConv2D(3, 2, depth_multiplier=2),
        L.Conv2DTranspose(2, 3, strides=2, padding="same"),
        L.Cropping2D(((1, 0), (2, 1))),
        L.UpSampling2D((1, 2)),
        L.Conv2DTranspose(2, 2, strides=3),
        L.Conv2D(2, 3, strides=3),
    ]

    def net(go, x):
        for layer in chain:
            x = go(layer, x)
        return x

    return net


@network((5, 4, 4))
def grouped():
    first, second = L.Conv2D(6, 3, groups=2, padding="same"), L.Conv2D(4, 2, groups=2)

    def net(go, x):
        return go(second, go(first, x))

    return net


@network((9, 3))
def sequences():
    chain = [
        L.Conv1D(3, 3, padding="causal", dilation_rate=2),
        L.MaxPooling1D(2),
        L.Permute((2, 1)),
        L.Dense(4),
        L.Reshape((2, 6)),
        L.Dense(2),
        L.Flatten(),
        L.RepeatVector(2),
        L.Conv1D(2, 2),
    ]

    def net(go, x):
        for layer in chain:
            x = go(layer, x)
        return x

    return net


@network((4, 3, 3, 2))
def volumes():
    first, second = L.Conv3D(2, 2, padding="same", strides=(2, 1, 1)), L.Conv3D(2, (2, 3, 2))

    def net(go, x):
        return go(second, go(first, x))

    return net


@network((5, 5, 2))
def shared_and_nested():
    shared, inner, narrow, add = L.Conv2D(2, 2, padding="same"), L.Conv2D(2, 2, padding="same"), L.Dense(2), L.Add()
    flatten, head = L.Flatten(), L.Dense(2)

    def block(go, x):
        return go(add, [go(inner, x), go(narrow, x)])

    def deep(go, x):
        return go.nested("block", block, go(shared, x))

    def net(go, x):
        x = go.nested("block", block, go(shared, go.nested("block", block, x)))
        return go(head, go(flatten, go.nested("deep", deep, x)))

    return net


@network((4,), (3, 2))
def several_inputs_and_outputs():
    left, right, flatten, both, one, two = L.Dense(3), L.Dense(3), L.Flatten(), L.Concatenate(), L.Dense(2), L.Dense(1)
    gate = L.Dense(3)

    def net(go, x, y):
        x, y = go(left, x), go(right, go(flatten, y))
        z = go.plus(go.times(x, go(gate, y)), y)
        return [go(one, go(both, [z, x])), go(two, y)]

    return net


def random_graph(seed):
    """Eight random operations, each on random earlier results of the same height and width."""
    rng = np.random.default_rng(seed)

    steps = []
    for _ in range(8):
        kind = rng.choice(["conv", "separable", "depthwise", "pool", "add", "multiply", "concatenate"])
        size = int(rng.integers(1, 4))
        layer = {
            "conv": lambda size=size: L.Conv2D(2, size, padding="same"),
            "separable": lambda size=size: L.SeparableConv2D(2, size, padding="same"),
            "depthwise": lambda size=size: L.DepthwiseConv2D(size, padding="same"),
            "pool": lambda size=size: L.MaxPooling2D(size, strides=1, padding="same"),
            "add": L.Add,
            "multiply": L.Multiply,
            "concatenate": L.Concatenate,
        }[kind]()
        picks = [rng.random() for _ in range(2)]
        steps.append((kind, layer, picks, L.Conv2D(2, 1)))
    pool, head = L.GlobalAveragePooling2D(), L.Dense(2)

    def net(go, x):
        results = [x]
        for kind, layer, picks, narrow in steps:
            # Later results are likelier, so that graphs get deep; all have two channels, so that all can be added.
            given = [results[int(len(results) * np.sqrt(where))] for where in picks]
            y = go(layer, given if kind in ("add", "multiply", "concatenate") else given[0])
            results.append(go(narrow, y) if kind == "concatenate" else y)
        return go(head, go(pool, results[-1]))

    return net


for seed in range(6):
    NETWORKS[f"random_{seed}"] = (lambda seed=seed: random_graph(seed), ((4, 3, 2),))


WITH_PRODUCTS = {"squeeze_and_excite", "several_inputs_and_outputs", *(f"random_{seed}" for seed in range(6))}


@pytest.mark.parametrize("name", NETWORKS)
def test_agrees(name, brute_force):
    make, shapes = NETWORKS[name]
    case = brute_force(make(), *shapes)
    variables = prunable(case.model)
    reachability = Reachability(case.model, convention="paper")
    by_influence = None if name in WITH_PRODUCTS else Reachability(case.model)
    rng = np.random.default_rng(0)
    some_dead = False
    for density in (1.0, 0.7, 0.5, 0.35, 0.2, 0.1):
        for _ in range(3):
            masks = Masks({path: rng.random(variable.shape) < density for path, variable in variables.items()})
            expected = case.effective(masks)
            effective = reachability(masks)
            assert list(effective) == list(masks)
            for path in masks:
                np.testing.assert_array_equal(effective[path], expected[path], err_msg=f"{path} at {density}")
            assert by_influence is None or by_influence(masks) == effective
            some_dead |= effective.kept < masks.kept and effective.kept > 0
    assert some_dead or name.startswith("random"), "no case told effective from kept: the test would not notice a fault"
