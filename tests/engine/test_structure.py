"""Which indices a structure takes, and that the order of values is theirs."""

import numpy as np
import pytest
import tensorflow as tf

from tfprune.engine.compiling import run_with
from tfprune.engine.geometry import Geometry
from tfprune.engine.products import KeptProduct
from tfprune.engine.structure import Structure
from tfprune.errors import InputError

DENSE = Geometry.dense(3, 2)


@pytest.mark.parametrize(
    "indices, message",
    [
        ([0, 6], "indices of kept weights lie in 0 .. 5: received 6"),
        ([3, -1], "indices of kept weights lie in 0 .. 5: received -1"),
        ([4, 0, 4], "indices of kept weights are there once each: received 4 more than once"),
    ],
)
def test_wrong_indices(indices, message):
    with pytest.raises(InputError) as error:
        Structure(DENSE, np.array(indices))
    assert str(error.value) == message


def test_images_beyond_what_places_can_tell():
    with pytest.raises(InputError) as error:
        Structure(Geometry.convolution((1, 1, 64, 8), (2048, 2048, 64)), np.array([0]))
    assert str(error.value) == "16 images are fewer than 2^31 floats for a kept kernel: received 4294967296"


def test_the_order_of_values_is_that_of_the_indices():
    rng = np.random.default_rng(0)
    geometry = Geometry.convolution((3, 3, 8, 8), (5, 5, 8))
    inputs = tf.constant(rng.normal(size=(4, 5, 5, 8)).astype(np.float32))
    indices, order = np.sort(rng.permutation(geometry.size)[:60]), rng.permutation(60)
    values = rng.normal(size=60).astype(np.float32)

    def found(order):
        product = KeptProduct(geometry)
        with tf.GradientTape() as tape:
            weights = tf.Variable(values[order])
            outputs = product(inputs, weights, tf.constant(indices[order]))
        return outputs.numpy(), tape.gradient(outputs, weights).numpy()

    plain, mixed = found(np.arange(60)), found(order)
    np.testing.assert_array_equal(plain[0], mixed[0])
    np.testing.assert_array_equal(plain[1][order], mixed[1])


def test_a_product_follows_indices_that_change():
    product, inputs = KeptProduct(DENSE), tf.reshape(tf.constant([1.0, 2, 3]), (1, 1, 1, 3))
    run = tf.function(lambda indices: product(inputs, tf.constant([1.0, 1.0]), indices))
    np.testing.assert_array_equal(run(tf.constant([0, 3]))[0, 0, 0], [1, 2])
    np.testing.assert_array_equal(run(tf.constant([0, 5]))[0, 0, 0], [1, 3])
    known = product.structure(np.array([0, 5]))
    assert product.structure(np.array([0, 5])) is known


def test_indices_of_64_bits_are_the_same():
    inputs = tf.ones((2, 1, 1, 3))
    found = [KeptProduct(DENSE)(inputs, tf.constant([2.0]), tf.constant([3], kind)) for kind in (tf.int32, tf.int64)]
    np.testing.assert_array_equal(*found)
    np.testing.assert_array_equal(found[0][:, 0, 0], [[0, 2], [0, 2]])


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
@pytest.mark.parametrize("size, channels, density", [(3, 96, 0.5), (3, 96, 0.01), (1, 200, 0.4), (1, 200, 0.02)])
@pytest.mark.parametrize("batch", [1, 15, 16, 33])
def test_rows_read_in_groups_by_blocks_of_any_number(batch, size, channels, density, strides):
    """Against TensorFlow's dense products; the same bytes with one thread and with two."""
    rng = np.random.default_rng(0)
    geometry = Geometry.convolution((size, size, channels, 40), (6, 5, channels), strides=strides, padding="same")
    indices = np.flatnonzero(rng.random(geometry.size) < density)
    structure, kernel = Structure(geometry, indices), np.zeros(geometry.size, np.float32)
    groups = [(len(one.bounds) - 1) // one.number for one in (structure._forward, structure._backward)]
    assert (groups[0] > 1) == (density > 0.3)
    values = kernel[indices] = rng.normal(size=len(indices)).astype(np.float32)
    images = rng.normal(size=(batch, 6, 5, channels)).astype(np.float32)
    with tf.GradientTape() as tape:
        given, weights = tf.Variable(images), tf.Variable(kernel.reshape(geometry.shape))
        outputs = tf.nn.conv2d(given, weights, strides, "SAME")
        upstream = rng.normal(size=outputs.shape).astype(np.float32)
    of_images, of_weights = tape.gradient(outputs, [given, weights], upstream)
    expected = [outputs.numpy(), of_images.numpy(), of_weights.numpy().reshape(-1)[indices]]
    found = []
    for threads in (1, 2):
        run_with(threads)
        found.append(
            [
                structure.outputs(images, values),
                structure.inputs(upstream, values),
                structure.of_values(images, upstream),
            ]
        )
    for one, other, wanted in zip(*found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(one, wanted, atol=2e-5 * np.abs(wanted).max())
