"""SynFlow where plain floats fail: deep networks, tiny and huge weights, branches, against float64 and logarithms."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tfprune.connectivity.graph import evaluate
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.pruning.scaled_walk import exponent_of, power_of_two
from tfprune.pruning.scores.synflow import flow

DEPTH, WIDTH = 200, 6


def log2_scores_of_a_chain(kernels):
    """log2 of |w| · forward · backward, in float64 with every vector's scale taken out."""
    forwards, scales = [np.ones(kernels[0].shape[0])], [0.0]
    for kernel in kernels:
        product = forwards[-1] @ np.abs(kernel)
        forwards.append(product / product.max())
        scales.append(scales[-1] + np.log2(product.max()))
    scores, backward, scale = [], np.ones(kernels[-1].shape[1]), 0.0
    for layer in range(len(kernels) - 1, -1, -1):
        magnitudes = np.abs(kernels[layer])
        with np.errstate(divide="ignore"):
            scores.append(np.log2(forwards[layer][:, None] * magnitudes * backward) + scales[layer] + scale)
        backward = magnitudes @ backward
        scale += np.log2(backward.max())
        backward /= backward.max()
    return scores[::-1]


@pytest.fixture(scope="module")
def chain():
    inputs = x = keras.Input((WIDTH,))
    for _ in range(DEPTH):
        x = layers.Dense(WIDTH, use_bias=False)(x)
    return keras.Model(inputs, x)


@pytest.mark.slow_beyond(1)
@pytest.mark.parametrize("size", ["tiny", "huge", "mixed", "plain"])
def test_200_layers(chain, size):
    rng = np.random.default_rng(0)
    scale = {"tiny": -30, "huge": 30, "mixed": None, "plain": 0}[size]
    kernels = []
    for layer in chain.layers[1:]:
        exponent = rng.uniform(-30, 30) if scale is None else scale
        kernels.append((rng.normal(size=(WIDTH, WIDTH)) * 10.0**exponent).astype(np.float32).astype(np.float64))
        layer.kernel.assign(kernels[-1])
    scores, exponent = flow(chain, Masks.dense(chain))
    if size != "mixed":
        assert abs(exponent) > 300  # no float32 holds this flow; nor does float64 beyond 1000
    for ours, expected in zip(scores.values(), log2_scores_of_a_chain(kernels), strict=True):
        np.testing.assert_allclose(np.log2(ours) + exponent, expected, rtol=0, atol=1e-3)


def branched():
    """Branches of different depth that are added, concatenated and multiplied, and a dead one."""
    inputs = keras.Input((5,))

    def dense(units, x):
        return layers.Dense(units, use_bias=False)(x)

    short, long = dense(4, inputs), dense(4, dense(7, dense(6, inputs)))
    added = layers.Add()([short, long])
    gate = layers.Multiply()([dense(4, added), layers.Activation("sigmoid")(dense(4, short))])
    joined = layers.Concatenate()([gate, added * 1.0])
    mean = layers.Average()([dense(3, joined), dense(3, long)])
    dead = dense(3, inputs)
    dead._keras_history.operation.kernel.assign(np.zeros((5, 3)))
    return keras.Model(inputs, [mean + dead, dense(2, joined)])


def test_branches_against_a_plain_evaluation_in_range():
    """Within float32's range every number is the plain one: powers of two round nothing."""
    keras.utils.set_random_seed(1)
    model = branched()
    kernels = {path: tf.abs(variable.value) for path, variable in prunable(model).items()}
    with tf.GradientTape() as tape:
        tape.watch(kernels)
        total = tf.add_n([tf.reduce_sum(output) for output in evaluate(model, kernels)])
    gradients = tape.gradient(total, kernels)
    scores, exponent = flow(model, Masks.dense(model))
    for path, ours in scores.items():
        np.testing.assert_allclose(ours * 2.0**exponent, kernels[path] * gradients[path], rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_branches_out_of_range(scale):
    """The long branch is scale³ and the short one scale: they must not be brought to one size before they meet."""
    inputs = keras.Input((3,))
    short = layers.Dense(2, use_bias=False, name="short")(inputs)
    long = inputs
    for index in range(3):
        long = layers.Dense(2, use_bias=False, name=f"long{index}")(long)
    model = keras.Model(inputs, layers.Add()([short, long]))
    for variable in prunable(model).values():
        variable.assign(np.full(variable.shape, scale))
    scores, exponent = flow(model, Masks.dense(model))
    flows = {path.split("/")[0]: score.sum(dtype=np.float64) for path, score in scores.items()}
    main, other = ("short", "long2") if scale < 1 else ("long2", "short")
    largest = 6 * scale if scale < 1 else None  # 3 inputs · 2 outputs
    assert flows[main] > 0 and flows[other] == 0  # 10^±50 times smaller
    if largest:
        assert flows[main] * 2.0**exponent == pytest.approx(largest, rel=1e-5)


def test_a_dead_branch_of_larger_scale():
    """Its zeros have an exponent far above the living branch's: neither they nor their gradients may blow up."""
    inputs = x = keras.Input((3,))
    for index in range(6):
        x = layers.Dense(3, use_bias=False, name=f"huge{index}")(x)
    dead = layers.Dense(2, use_bias=False, name="dead")(x)
    alive = layers.Dense(2, use_bias=False, name="alive")(inputs)
    model = keras.Model(inputs, layers.Dense(1, use_bias=False, name="after")(layers.Add()([dead, alive])))
    for path, variable in prunable(model).items():
        variable.assign(np.full(variable.shape, 8.0 if path.split("/")[0] in ("alive", "after") else 1e20))
    # The branch is dead because its last layer reads what the layer before never writes.
    model.get_layer("huge5").kernel.assign(1e20 * np.array([[1, 0, 0]] * 3))
    model.get_layer("dead").kernel.assign(1e20 * np.array([[0, 0], [1, 1], [1, 1]]))
    scores, exponent = flow(model, Masks.dense(model))
    assert all(np.isfinite(score).all() for score in scores.values())
    flows = {path.split("/")[0]: score.sum() * 2.0**exponent for path, score in scores.items()}
    assert flows.pop("alive") == flows.pop("after") == pytest.approx(3 * 8 * 2 * 8)
    assert not any(flows.values())


def test_powers_of_two():
    exponents = [-200, -127, -126, -1, 0, 1, 127, 200]
    expected = [0, 0, 2.0**-126, 0.5, 1, 2, 2.0**127, 2.0**127]
    np.testing.assert_array_equal(power_of_two(tf.constant(exponents)), np.array(expected, np.float32))
    assert [int(exponent_of(tf.constant(x))) for x in (0.0, 1.0, 1.99, 2.0, 0.75, 1e-30)] == [0, 0, 0, 1, -1, -100]
