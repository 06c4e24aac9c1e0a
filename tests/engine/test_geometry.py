"""Every layer as a product of shifted rows, against TensorFlow's own operations with a dense kernel."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfprune.engine.geometry import Geometry
from tfprune.engine.products import KeptProduct

WAYS = [((1, 1), (1, 1)), ((2, 2), (1, 1)), ((3, 2), (1, 1)), ((1, 1), (2, 3))]  # strides, dilation
KERNELS = (3, 3), (1, 1), (2, 4)


def _check(geometry, dense, batch=5, density=0.3, transposed=False):
    """Outputs and both gradients, in a compiled function, with indices in no order."""
    rng = np.random.default_rng(0)
    indices = rng.permutation(geometry.size)[: max(1, int(density * geometry.size))].astype(np.int32)
    values = rng.normal(size=len(indices)).astype(np.float32)
    kernel = np.zeros(geometry.size, np.float32)
    kernel[indices] = values
    given = geometry.height, geometry.width, geometry.channels
    if transposed:
        given = geometry.out_height, geometry.out_width, geometry.out_channels
    inputs = tf.constant(rng.normal(size=(batch, *given)).astype(np.float32))
    product = KeptProduct(geometry, transposed)

    def gradients(function, weights):
        with tf.GradientTape() as tape:
            tape.watch([inputs, weights])
            outputs = function(inputs, weights)
            loss = tf.reduce_sum(
                outputs * tf.reshape(tf.sin(tf.range(tf.size(outputs), dtype=tf.float32)), outputs.shape)
            )
        return outputs, *tape.gradient(loss, [inputs, weights])

    expected = list(gradients(dense, tf.constant(kernel.reshape(geometry.shape))))
    expected[2] = tf.gather(tf.reshape(expected[2], [-1]), indices)
    found = tf.function(gradients)(lambda x, v: product(x, v, tf.constant(indices)), tf.constant(values))
    for one, other in zip(expected, found, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=2e-6 * max(1, np.abs(one).max()))


@pytest.mark.parametrize("kernel, way, padding", list(itertools.product(KERNELS, WAYS, ("SAME", "VALID"))))
def test_convolutions(kernel, way, padding):
    strides, dilation = way
    image, way = (9, 11, 4), {"strides": strides, "dilation": dilation, "padding": padding.lower()}
    four = [1, *strides, 1]

    def conv2d(x, k):
        return tf.nn.conv2d(x, k, four, padding, dilations=dilation)

    def grouped(x, k):
        parts = zip(tf.split(x, 2, -1), tf.split(k, 2, -1), strict=True)
        return tf.concat([conv2d(*part) for part in parts], -1)

    _check(Geometry.convolution((*kernel, 4, 6), image, **way), conv2d)
    _check(Geometry.convolution((*kernel, 2, 6), image, groups=2, **way), grouped)
    if strides[0] == strides[1]:  # TensorFlow's depthwise convolution knows no others
        depthwise = Geometry.convolution((*kernel, 4, 2), image, depthwise=True, **way)
        _check(depthwise, lambda x, k: tf.nn.depthwise_conv2d(x, k, four, padding, dilations=dilation))
    if dilation == (1, 1):
        geometry = Geometry.convolution((*kernel, 4, 3), image, **way)
        _check(geometry, lambda x, k: tf.nn.conv2d_transpose(x, k, [5, *image], strides, padding), transposed=True)


def test_a_causal_convolution_looks_back_alone():
    geometry = Geometry.convolution((1, 3, 4, 5), (1, 10, 4), dilation=(1, 2), padding="causal")
    ahead = [[0, 0], [0, 0], [4, 0], [0, 0]]
    _check(geometry, lambda x, k: tf.nn.conv2d(tf.pad(x, ahead), k, 1, "VALID", dilations=(1, 2)))


# Batches and channels about the sizes of vectors, tiles and blocks; rows of few floats and of many.
@pytest.mark.parametrize("batch", [1, 2, 15, 16, 17, 63, 64, 65, 129, 300, 513])
def test_dense_batches(batch):
    for inputs, outputs in ((30, 20), (16, 64), (1, 3), (5, 1)):
        _check(Geometry.dense(inputs, outputs), lambda x, k: tf.einsum("bhwi,io->bhwo", x, k[0, 0]), batch)


@pytest.mark.parametrize("batch", [1, 3, 16, 32, 33, 70])
@pytest.mark.parametrize("size", [1, 2, 4, 7, 17])
def test_batches_of_images(batch, size):
    geometry = Geometry.convolution((3, 3, 18, 33), (size, size, 18), padding="same")
    _check(geometry, lambda x, k: tf.nn.conv2d(x, k, 1, "SAME"), batch, 0.1)


def test_by_hand():
    """(1, 2, 3) through a kernel of two weights: one from input 0 to output 1, one from input 2 to output 0."""
    product = KeptProduct(Geometry.dense(3, 2))
    inputs, values = tf.reshape(tf.constant([1.0, 2, 3]), (1, 1, 1, 3)), tf.constant([10.0, 0.5])
    with tf.GradientTape() as tape:
        tape.watch([inputs, values])
        outputs = product(inputs, values, tf.constant([1, 4]))
    np.testing.assert_array_equal(outputs[0, 0, 0], [1.5, 10])
    of_inputs, of_values = tape.gradient(outputs, [inputs, values], tf.reshape(tf.constant([7.0, 100]), (1, 1, 1, 2)))
    np.testing.assert_array_equal(of_inputs[0, 0, 0], [1000, 0, 3.5])
    np.testing.assert_array_equal(of_values, [100, 21])


def test_a_shift_by_hand():
    """A 3×3 kernel with one weight, at the lower right: every pixel is 2 times its neighbour below to the right."""
    image = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    product = KeptProduct(Geometry.convolution((3, 3, 1, 1), (3, 3, 1), padding="same"))
    outputs = product(tf.constant(image), tf.constant([2.0]), tf.constant([8]))
    np.testing.assert_array_equal(outputs[0, :, :, 0], [[8, 10, 0], [14, 16, 0], [0, 0, 0]])


def test_gradients_by_differences():
    """Of ½ Σ outputs², which is not linear in what is moved."""
    product = KeptProduct(Geometry.convolution((3, 3, 2, 3), (5, 4, 2), strides=(2, 1), padding="same"))
    rng, indices = np.random.default_rng(1), tf.constant([0, 7, 20, 33, 53])
    point = [rng.normal(size=shape).astype(np.float32) for shape in ((2, 5, 4, 2), (5,))]

    def loss(inputs, values):
        return tf.reduce_sum(product(inputs, values, indices) ** 2) / 2

    for gradient, numeric in zip(*tf.test.compute_gradient(loss, point, delta=1e-2), strict=True):
        np.testing.assert_allclose(gradient, numeric, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("transposed", [False, True])
def test_gradients_of_gradients(transposed):
    """Those of a loss of the outputs and of its own gradients: the dense layer's, not none."""
    rng, geometry = np.random.default_rng(3), Geometry.convolution((3, 3, 2, 3), (5, 4, 2), padding="same")
    product, indices = KeptProduct(geometry, transposed), np.array([0, 7, 20, 33, 53])
    inputs = tf.constant(rng.normal(size=(2, 5, 4, 3 if transposed else 2)).astype(np.float32))
    values = tf.constant(rng.normal(size=5).astype(np.float32))

    def dense(inputs, values):
        kernel = tf.reshape(tf.scatter_nd(indices[:, None], values, [54]), (3, 3, 2, 3))
        if transposed:
            return tf.nn.conv2d_transpose(inputs, kernel, (2, 5, 4, 2), 1)
        return tf.nn.conv2d(inputs, kernel, 1, "SAME")

    def second(layer):
        with tf.GradientTape() as outer:
            outer.watch([inputs, values])
            with tf.GradientTape() as inner:
                inner.watch([inputs, values])
                loss = tf.reduce_sum(tf.sin(layer(inputs, values)))
            first = inner.gradient(loss, [inputs, values])
            penalty = sum(tf.reduce_sum(gradient**3) for gradient in first)
        return outer.gradient(penalty, [inputs, values])

    found = second(lambda *given: product(*given, tf.constant(indices)))
    for gradient, expected in zip(found, second(dense), strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("image", [(1, 1, 40), (4, 4, 40)])
def test_a_kernel_of_no_weights(image):
    product = KeptProduct(Geometry.convolution((1, 1, 40, 30), image))
    inputs, values = tf.ones((3, *image)), tf.zeros([0])
    with tf.GradientTape() as tape:
        tape.watch([inputs, values])
        outputs = product(inputs, values, tf.zeros([0], tf.int32))
    assert outputs.shape == (3, *image[:2], 30) and not np.any(outputs)
    of_inputs, of_values = tape.gradient(outputs, [inputs, values])
    assert of_inputs.shape == inputs.shape and not np.any(of_inputs) and of_values.shape == (0,)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_batch_of_none(transposed):
    product = KeptProduct(Geometry.convolution((3, 3, 4, 5), (6, 6, 4)), transposed)
    inputs, values = tf.ones((0, 4, 4, 5) if transposed else (0, 6, 6, 4)), tf.constant([1.0, 2])
    with tf.GradientTape() as tape:
        tape.watch([inputs, values])
        outputs = product(inputs, values, tf.constant([3, 100]))
    assert outputs.shape == ((0, 6, 6, 4) if transposed else (0, 4, 4, 5))
    of_inputs, of_values = tape.gradient(outputs, [inputs, values])
    assert of_inputs.shape == inputs.shape
    np.testing.assert_array_equal(of_values, [0, 0])


def test_what_is_no_number_stays_none_and_with_its_example():
    """NaN of one input reaches the outputs that a kept weight joins to it, in its example alone."""
    inputs = np.ones((20, 1, 1, 3), np.float32)
    inputs[4, 0, 0, 0], inputs[9, 0, 0, 2] = np.nan, np.inf
    product = KeptProduct(Geometry.dense(3, 2))
    outputs = product(tf.constant(inputs), tf.constant([1.0, 1.0, 2.0]), tf.constant([1, 2, 5])).numpy()[:, 0, 0]
    expected = np.tile(np.float32([1, 3]), (20, 1))
    expected[4, 1], expected[9, 1] = np.nan, np.inf
    np.testing.assert_array_equal(outputs, expected)
