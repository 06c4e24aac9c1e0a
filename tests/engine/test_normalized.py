"""Several layers that normalise their own inputs, at once: gradients by finite differences, what may come between."""

from itertools import pairwise

import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("numba")

from tfprune.engine.normalized import NormalizedProducts
from tfprune.engine.normalized_pass import Connections, NormalizedLayer, Pass

SIZES = (37, 20, 9, 3)


def _layers(sizes=SIZES):
    return [NormalizedLayer(one, other, other != sizes[-1], 0.9, 1e-3) for one, other in pairwise(sizes)]


def _drawn(layers, batch, rng, density=0.4):
    """Inputs, indices, weights and averages."""
    indices = [np.flatnonzero(rng.random(layer.inputs * layer.outputs) < density).astype(np.int32) for layer in layers]
    weights = [
        [rng.normal(size=len(kept)), *rng.normal(1, 0.3, size=(2, layer.inputs)), rng.normal(size=layer.outputs)]
        for layer, kept in zip(layers, indices, strict=True)
    ]
    averages = [[np.zeros(layer.inputs), np.ones(layer.inputs), np.ones(())] for layer in layers]
    as_floats = [[[np.float32(array) for array in arrays] for arrays in lists] for lists in (weights, averages)]
    return rng.normal(2, 3, size=(batch, layers[0].inputs)).astype(np.float32), indices, *as_floats


def _constants(weights):
    """Of each layer, and all one after the other."""
    lists = [[tf.constant(array) for array in arrays] for arrays in weights]
    return lists, [array for arrays in lists for array in arrays]


def _by_hand(layers, inputs, weights, indices):
    """In float64, without the engine."""
    x = np.float64(inputs)
    for layer, (values, gamma, beta, bias), kept in zip(layers, weights, indices, strict=True):
        kernel = np.zeros(layer.inputs * layer.outputs)
        kernel[kept] = values
        normal = (x - x.mean(0)) / np.sqrt(x.var(0) + layer.epsilon)
        x = (normal * gamma + beta) @ kernel.reshape(layer.inputs, layer.outputs) + bias
        x = np.maximum(x, 0) if layer.relu else x
    return x


@pytest.mark.parametrize("batch", [2, 15, 16, 17, 130, 1100])
def test_gradients_are_those_of_finite_differences(batch):
    rng = np.random.default_rng(batch)
    layers = _layers()
    inputs, indices, weights, averages = _drawn(layers, batch, rng)
    upstream = rng.normal(size=(batch, SIZES[-1]))
    products, lists, flat = NormalizedProducts(layers), *_constants(weights)
    watched = [tf.constant(inputs), *flat]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        outputs, _ = products(watched[0], lists, indices, averages, True)
        loss = tf.reduce_sum(outputs * np.float32(upstream))
    found = [np.asarray(each) for each in tape.gradient(loss, watched)]
    expected = _by_hand(layers, inputs, weights, indices)
    np.testing.assert_allclose(outputs, expected, atol=1e-4 * np.abs(expected).max())

    # Along random directions, of all weights and of the inputs.
    arrays = [np.float64(inputs), *(np.float64(array) for one in weights for array in one)]
    for place, gradient in enumerate(found):
        direction, step = rng.normal(size=arrays[place].shape), 1e-6
        losses = []
        for sign in (1, -1):
            moved = list(arrays)
            moved[place] = arrays[place] + sign * step * direction
            lists = [moved[1 + 4 * i : 5 + 4 * i] for i in range(len(layers))]
            losses.append((_by_hand(layers, moved[0], lists, indices) * upstream).sum())
        slope, size = (losses[0] - losses[1]) / (2 * step), np.linalg.norm(gradient) * np.linalg.norm(direction)
        assert (gradient * direction).sum() == pytest.approx(slope, abs=2e-3 * size + 1e-3), place


def test_another_batch_may_come_between_forward_and_back():
    rng = np.random.default_rng(0)
    layers = _layers()
    products = NormalizedProducts(layers)
    first, indices, weights, averages = _drawn(layers, 40, rng)
    second = rng.normal(size=(70, SIZES[0])).astype(np.float32)
    lists, flat = _constants(weights)

    def gradients(batches, order):
        """Of the batches' losses, forward one after the other, and then back in an order."""
        tapes = []
        for batch in batches:
            with tf.GradientTape() as tape:
                x = tf.constant(batch)
                tape.watch([x, *flat])
                loss = tf.reduce_sum(products(x, lists, indices, averages, True)[0] ** 2)
            tapes.append((tape, loss, x))
        return {i: [each.numpy() for each in tapes[i][0].gradient(tapes[i][1], [tapes[i][2], *flat])] for i in order}

    alone = [gradients([batch], [0])[0] for batch in (first, second)]
    for order in ([0, 1], [1, 0]):
        found = gradients([first, second], order)
        for i in range(2):
            for one, other in zip(found[i], alone[i], strict=True):
                np.testing.assert_array_equal(one, other)


def test_another_batch_may_come_between_the_gradients_of_weights_and_of_inputs():
    """As a graph may run its operations in any order."""
    rng = np.random.default_rng(0)
    layers = _layers()
    products = NormalizedProducts(layers)
    first, indices, weights, averages = _drawn(layers, 40, rng)
    means, variances, seen = zip(*averages, strict=True)
    packed = [np.concatenate([array for one in weights for array in one])]
    packed.append(np.concatenate([*means, *variances, np.float32(seen)]))
    upstream = rng.normal(size=(40, SIZES[-1])).astype(np.float32)

    def found(*between):
        _, _, number = products._forward(True, first, *packed, *indices)
        _, back_number = products._of_weights(True, upstream, number, first, *packed, *indices)
        for other in between:
            _, _, later = products._forward(True, other, *packed, *indices)
            products._of_weights(True, 2 * upstream[: len(other)], later, other, *packed, *indices)
        return products._of_inputs(True, back_number, upstream, number, first, *packed, *indices)

    expected = found()
    np.testing.assert_array_equal(found(rng.normal(size=first.shape).astype(np.float32)), expected)
    np.testing.assert_array_equal(found(first[:20], first[20:]), expected)

    # Another batch forward alone.
    _, _, number = products._forward(True, first, *packed, *indices)
    _, back_number = products._of_weights(True, upstream, number, first, *packed, *indices)
    products._forward(True, first + 1, *packed, *indices)
    np.testing.assert_array_equal(
        products._of_inputs(True, back_number, upstream, number, first, *packed, *indices), expected
    )


def test_bytes_are_what_their_floats_are():
    rng = np.random.default_rng(0)
    layers = _layers((70, 8, 3))
    _, indices, weights, averages = _drawn(layers, 1, rng)
    pixels = rng.integers(0, 256, (45, 70), np.uint8)
    mean, scale = rng.uniform(0, 255, 70).astype(np.float32), np.float32(1 / 77)
    floats = (pixels.astype(np.float32) - mean) * scale
    lists, flat = _constants(weights)
    upstream = rng.normal(size=(45, 3)).astype(np.float32)
    found = []
    for products, inputs in ((NormalizedProducts(layers), floats), (NormalizedProducts(layers, (mean, scale)), pixels)):
        with tf.GradientTape() as tape:
            tape.watch(flat)
            outputs, running = products(tf.constant(inputs), lists, indices, averages, True)
        made = [outputs, *tape.gradient(outputs, flat, upstream), *(average for pair in running for average in pair)]
        found.append([np.asarray(each) for each in made])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * np.abs(other).max())


@pytest.mark.parametrize("batch", [1, 15, 100, 2**15 + 100])
def test_mean_and_variance_of_bytes_are_exact(batch):
    """Of a variance of 1 beside a mean of 254, too; also where the sum of squares needs more than 32 bits."""
    rng = np.random.default_rng(batch)
    layers = _layers((70, 2))
    _, indices, weights, _ = _drawn(layers, 1, rng)
    images = np.concatenate([rng.integers(0, 256, (50, 39)), rng.integers(253, 256, (50, 40))], 1).astype(np.uint8)
    numbers = rng.integers(0, 50, batch).astype(np.int32)
    products = NormalizedProducts(layers, (np.float32(0), np.float32(1)), images)
    nothing = [[np.zeros(70, np.float32), np.zeros(70, np.float32), np.float32(0)]]
    _, [(mean, variance)] = products(tf.constant(numbers), _constants(weights)[0], indices, nothing, True)
    for found, expected in ((mean, images[numbers, :70].mean(0)), (variance, images[numbers, :70].var(0))):
        np.testing.assert_allclose(found, expected, rtol=1.2e-7)  # rounded once


@pytest.mark.parametrize("enough", [0, 10**9])  # every layer is shared, or none
@pytest.mark.parametrize("pixels", [None, (np.full(37, 100, np.float32), np.full(37, 0.02, np.float32))])
def test_same_bytes_however_the_work_is_shared(enough, pixels, monkeypatch):
    monkeypatch.setattr("tfprune.engine.normalized_pass._ENOUGH", enough)
    rng = np.random.default_rng(0)
    layers = _layers()
    inputs, indices, weights, averages = _drawn(layers, 90, rng)
    inputs = inputs if pixels is None else rng.integers(0, 256, inputs.shape, np.uint8)
    known = [Connections(one.inputs, one.outputs, kept) for one, kept in zip(layers, indices, strict=True)]
    packed = np.concatenate([array for arrays in weights for array in arrays])
    means, variances, seen = zip(*averages, strict=True)
    running = np.concatenate([*means, *variances, np.array(seen)])
    found = []
    for workers in (1, 2, 3, 7, 50):
        one = Pass(layers, known, 90, workers, pixels)
        made = [*one.forward(inputs, packed, running, True), one.back(np.ones((90, 3), "f4"))]
        made += [one.of_inputs()] if pixels is None else []
        found.append([array.tobytes() for array in made])
    assert all(each == found[0] for each in found)


@pytest.mark.parametrize("is_bytes", [False, True])
def test_running_averages_are_used_and_stay_where_nothing_is_measured(is_bytes):
    rng = np.random.default_rng(0)
    layers = _layers((37, 5))
    inputs, indices, weights, _ = _drawn(layers, 40, rng)
    pixels = (np.float32(3), np.float32(0.5)) if is_bytes else None
    inputs = rng.integers(0, 256, (40, 37), np.uint8) if is_bytes else inputs
    mean, variance = rng.normal(size=37).astype("f4"), rng.uniform(0.5, 2, 37).astype("f4")
    lists, _ = _constants(weights)
    outputs, running = NormalizedProducts(layers, pixels)(
        tf.constant(inputs), lists, indices, [[mean, variance, np.float32(1)]], False
    )
    values, gamma, beta, bias = weights[0]
    kernel = np.zeros(37 * 5)
    kernel[indices[0]] = values
    x = (inputs - 3.0) * 0.5 if is_bytes else inputs
    expected = ((x - mean) / np.sqrt(variance + 1e-3) * gamma + beta) @ kernel.reshape(37, 5) + bias
    np.testing.assert_allclose(outputs, expected, atol=1e-5 * np.abs(expected).max())
    for one, other in zip(running[0], (mean, variance), strict=True):
        np.testing.assert_array_equal(one, other)
