"""Interactions of a network's filters: the matrix by its blocks, what the blocks hold, and what can go wrong."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tfprune.errors import InputError
from tfprune.experiments.energy import interactions as module
from tfprune.experiments.energy.interactions import Block, Interactions, build, divergences, entropies, local_kl
from tfprune.pruning.filter_states import Site, StateSpace, Stretch, channel_states


def _random(size, stretches, rng):
    """Interactions of stretches (start, size, following), and their J in float64."""
    blocks, dense = [], np.zeros((size, size))
    for start, count, following in stretches:
        within, vector = rng.random((count, count), np.float32), rng.random(count, np.float32)
        blocks.append(Block(start, within, vector, following))
        end = start + count
        dense[start:end, start:end] = within
        dense[start:end, end : end + following] = vector[:, None]
    return blocks, dense


def _cost(dense, states, among, kept, keep_rate):
    """The published formula with all of J, in float64."""
    size, dense, among = len(dense), dense - 1, among.astype(float)
    pairs = ((among @ dense) * among).sum(axis=1)
    return -pairs + states.sum(axis=1) * dense.sum() / size + size * 1e5 * np.maximum(keep_rate - kept, 0)


@pytest.mark.parametrize("published", [False, True])
def test_cost_by_blocks_is_that_of_the_whole_matrix(published):
    rng = np.random.default_rng(1)
    blocks, dense = _random(19, [(2, 5, 4), (7, 4, 6), (11, 6, 0)], rng)  # two bits before and behind have none
    states, kept = rng.random((6, 19)) < 0.5, np.linspace(0, 1, 6)
    interactions = Interactions(19, blocks, published)
    cost = tf.function(interactions.cost)(tf.constant(states), tf.constant(kept), 0.3)
    among = states.reshape(19, 6).T if published else states
    np.testing.assert_allclose(cost, _cost(dense, states, among, kept, 0.3), rtol=1e-6)
    np.testing.assert_allclose(interactions.total, dense.sum(), rtol=1e-7)
    quadratic = ((states @ dense) * states).sum(axis=1)
    np.testing.assert_allclose(interactions.quadratic(tf.constant(states)), quadratic, rtol=1e-6)


def test_large_costs_lose_only_their_last_rounding():
    rng = np.random.default_rng(2)
    sizes = [64] * 5 + [128] * 5 + [256] * 5 + [512] * 6
    starts, size = np.cumsum([0, *sizes])[:-1], sum(sizes)
    following = [*sizes[1:], 0]
    blocks, dense = _random(size, zip(starts.tolist(), sizes, following, strict=True), rng)
    states = rng.random((8, size)) < np.linspace(0.3, 0.9, 8)[:, None]
    cost = Interactions(size, blocks).cost(tf.constant(states), tf.ones(8), 0.5).numpy()
    expected = _cost(dense, states, states, 1, 0.5)
    assert size == 5312
    assert np.abs(expected).max() > 2**22
    np.testing.assert_allclose(cost, expected, rtol=2**-23)


def test_a_state_at_the_keep_rate_is_not_punished():
    interactions = Interactions(4, [])
    cost = interactions.cost(tf.ones((2, 4), bool), tf.constant([0.7, 0.65]), 0.7)
    np.testing.assert_allclose(cost, [0, 4e5 * 0.05], rtol=1e-5)  # 4² − 4 · 4²/4


def _pair(first, second):
    """KL of two normal distributions (mean, covariance), one pair at a time; both regular or both singular."""
    (mean, covariance), (other, spread) = first, second
    inverse, apart = np.linalg.pinv(spread, hermitian=True), other - mean
    found = np.trace(inverse @ covariance) + apart @ inverse @ apart - len(mean)
    if np.linalg.matrix_rank(covariance) == len(mean):
        found += np.linalg.slogdet(spread)[1] - np.linalg.slogdet(covariance)[1]
    return found / 2


@pytest.mark.parametrize(
    ("shape", "reads"),
    [
        ((3, 3, 40, 7), False),
        ((3, 3, 4, 7), False),  # 4 channels span 3 of 9 dimensions
        ((11, 11, 3, 5), False),
        ((1, 1, 6, 5), False),
        ((1, 1, 6, 5), True),
        ((6, 5), True),
    ],
)
def test_local_kl_is_that_of_each_pair(shape, reads):
    kernel = np.random.default_rng(3).normal(0.1, 1, shape).astype(np.float32)
    axis = len(shape) - (2 if reads else 1)
    units = np.moveaxis(kernel, axis, 0).astype(float).reshape(shape[axis], -1, shape[-1 if reads else -2])
    normals = [(unit.mean(axis=1), np.cov(unit).reshape(len(unit), len(unit))) for unit in units]
    expected = np.zeros((len(units),) * 2)
    for i, j in zip(*np.triu_indices(len(units)), strict=True):
        expected[i, j] = _pair(normals[i], normals[j])
    expected = (expected - expected.min()) / np.abs(expected).max()
    np.testing.assert_allclose(local_kl(kernel, reads), (expected + expected.T) / 2, rtol=1e-5, atol=1e-6)


def test_local_kl_by_hand():
    kernel = np.array([[-1, 1], [0, 4], [1, 3]])  # three inputs: means 0, 2, 2, variances 2, 8, 2
    upper = np.array([(2 / 8 + 4 / 8 - 1 + np.log(4)) / 2, (1 + 4 / 2 - 1) / 2, (4 - 1 - np.log(4)) / 2])
    expected = upper / upper.max() / 2
    np.testing.assert_allclose(local_kl(kernel, reads=True)[np.triu_indices(3, 1)], expected, rtol=1e-6)


def test_rows_of_pairs_may_come_in_pieces(monkeypatch):
    rng = np.random.default_rng(4)
    means, factors = rng.normal(size=(11, 4)), rng.normal(size=(11, 4, 6))
    whole = divergences(means, factors @ factors.transpose(0, 2, 1))
    monkeypatch.setattr(module, "_AT_ONCE", 33)
    np.testing.assert_allclose(divergences(means, factors @ factors.transpose(0, 2, 1)), whole, rtol=1e-12, atol=1e-12)
    assert np.array_equal(whole, np.triu(whole))


def test_filters_without_spread():
    kernel = np.random.default_rng(5).normal(size=(1, 1, 8, 3))
    kernel[..., 2] = 0.25
    mean, variance = kernel[0, 0].mean(axis=0), kernel[0, 0].var(axis=0, ddof=1)
    pair = ((variance[0] + (mean[0] - mean[1]) ** 2) / variance[1] - 1 + np.log(variance[1] / variance[0])) / 2
    expected = np.array([[0, pair, 1], [0, 0, 1], [0, 0, -0.5]])  # −∞ counts as 1; of itself only −k/2 is left
    expected = (expected + 0.5) / max(pair, 1)
    np.testing.assert_allclose(local_kl(kernel), (expected + expected.T) / 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("kernel", "diagonal", "others"),
    [
        (np.zeros((3, 3, 8, 4)), 0, 0.5),  # −k/2 for i <= j, 0 below
        (np.ones((3, 3, 1, 4)), 1, 0.5),  # a single channel has no covariance
        (np.ones((3, 3, 8, 1)), 0, 0),
    ],
)
def test_layers_without_any_spread(kernel, diagonal, others):
    size = kernel.shape[-1]
    expected = np.where(np.eye(size, dtype=bool), diagonal, others)
    np.testing.assert_allclose(local_kl(kernel), expected)


def test_published_reading_of_filters():
    kernel = np.random.default_rng(6).normal(size=(2, 2, 12, 6))
    read = kernel.transpose(3, 2, 0, 1).reshape(12, 6, 2, 2)  # (in, out, ...) for what is (out, in, ...)
    assert np.array_equal(local_kl(kernel, published=True), local_kl(read.transpose(2, 3, 0, 1)))
    assert not np.allclose(local_kl(kernel, published=True), local_kl(kernel))
    assert np.array_equal(local_kl(kernel, reads=True, published=True), local_kl(kernel, reads=True))


def test_entropies_by_hand():
    maps = np.array([[0, 1, 0], [0, 1, 1], [0, 1, 2], [1, 255, 2]], float).reshape(1, 2, 2, 3)
    first = -np.log2(1 / 3) / 3  # counts 3, 1; that of 2, 1, 1 is 1
    np.testing.assert_allclose(entropies(maps), [first, first, 1], rtol=1e-6)
    np.testing.assert_allclose(entropies(np.concatenate([maps - 9, maps + 9])), [first, first, 1], rtol=1e-6)


@pytest.mark.parametrize("value", [0, -3.5])
def test_entropies_of_a_constant_layer_are_0(value):
    assert np.array_equal(entropies(np.full((2, 4, 4, 3), value)), np.zeros(3))


@pytest.fixture
def network():
    """(model, space): bits of two convolutions, of a dense layer's inputs, and of three classes."""
    keras.utils.set_random_seed(0)
    images = keras.Input((12, 12, 2))
    x = layers.Conv2D(5, 3, name="first")(images)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.ReLU()(layers.Conv2D(4, 1, name="second")(x))
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(images, layers.Dense(3, name="head")(x))
    stretches = [Stretch("first", 0, 5), Stretch("second", 5, 4), Stretch("head", 9, 4), Stretch("classes", 13, 3)]
    sites = [
        Site("first/kernel", 3, np.arange(5)),
        Site("second/kernel", 3, np.arange(5, 9)[::-1]),
        Site("head/kernel", 0, np.arange(9, 13)),
    ]
    return model, StateSpace(model, stretches, sites)


IMAGES = np.random.default_rng(7).normal(size=(40, 12, 12, 2)).astype(np.float32)


@pytest.mark.parametrize("published", [False, True])
def test_interactions_of_a_network(network, published):
    model, space = network
    before = model.get_weights()
    found = build(model, space, IMAGES, published)
    assert all(map(np.array_equal, before, model.get_weights()))
    assert [(each.start, each.following) for each in found.blocks] == [(0, 4), (5, 4), (9, 0)]

    kernels = {name: model.get_layer(name).kernel.numpy() for name in ("first", "second", "head")}
    ends = [model.get_layer("first").output, model.get_layer("second").output, model.get_layer("head").input]
    first, second, head = (each.numpy() for each in keras.Model(model.input, ends)(IMAGES))
    assert first.min() < 0  # before the activation
    within = [
        local_kl(kernels["first"], False, published),
        local_kl(kernels["second"][..., ::-1], False, published),
        local_kl(kernels["head"], True),
    ]
    vectors = [entropies(first), entropies(second)[::-1], entropies(head.reshape(1, 40, 1, 4))]
    assert all(len(np.unique(vector)) > 2 for vector in vectors)
    for block, expected, vector in zip(found.blocks, within, vectors, strict=True):
        np.testing.assert_allclose(block.within, expected, atol=1e-6)
        np.testing.assert_allclose(block.entropies, vector, atol=1e-6)
    assert found.published is published


def test_compiled_costs_see_interactions_that_are_assigned(network):
    model, space = network
    states, kept = tf.constant(np.random.default_rng(8).random((4, 16)) < 0.5), tf.ones(4)
    found = build(model, space, IMAGES)
    cost = tf.function(lambda: found.cost(states, kept, 0.5))
    before = cost().numpy()
    for name in ("first", "second", "head"):
        model.get_layer(name).kernel.assign(tf.random.normal(model.get_layer(name).kernel.shape))
    new = build(model, space, IMAGES)
    found.assign(new)
    assert np.abs(cost() - before).min() > 1e-3
    np.testing.assert_allclose(cost(), new.cost(states, kept, 0.5))


def test_bits_in_front_that_no_kernel_follows(network):
    model, space = network
    found = build(model, StateSpace(model, space.stretches, space.sites[1:]), IMAGES)
    assert [(each.start, each.following) for each in found.blocks] == [(5, 4), (9, 0)]


def test_interactions_of_channel_groups(network):
    model, _ = network
    space = channel_states(model)
    found = build(model, space, IMAGES)
    assert [(each.start, each.within.shape[0], each.following) for each in found.blocks] == [(0, 5, 4), (5, 4, 0)]
    np.testing.assert_allclose(found.blocks[1].within, local_kl(model.get_layer("second").kernel.numpy()), atol=1e-6)


def test_no_interactions_of_what_is_not_finite(network):
    model, space = network
    model.get_layer("second").bias.assign([0, np.inf, 0, 0])
    with pytest.raises(InputError, match=r"'second/kernel' .* NaN or infinite"):
        build(model, space, IMAGES)
