"""Several steps at once against TensorFlow's operations, and the same bits however the work is shared."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

numba = pytest.importorskip("numba")

from tfprune.engine.flow import Flow  # noqa: E402
from tfprune.engine.geometry import Geometry  # noqa: E402
from tfprune.engine.steps import Kept, Pool, Product, Scale, Sum, View  # noqa: E402
from tfprune.errors import InputError  # noqa: E402

# Height, width, channels, examples, stride, size of the kernel, its outputs, density, padding.
CASES = [
    (9, 7, 5, 33, 2, 3, 33, 0.3, "same"),
    (4, 4, 17, 40, 1, 3, 16, 0.8, "valid"),
    (15, 31, 8, 5, 2, 5, 9, 1.0, "same"),
    (5, 3, 3, 70, 1, 1, 130, 0.2, "valid"),
    (2, 2, 300, 32, 1, 3, 40, 0.1, "same"),
    (12, 40, 3, 20, 2, 2, 4, 0.9, "valid"),
    (1, 1, 4, 1, 1, 3, 2, 0.5, "same"),
]


def _kernel(rng, shape, density):
    return (rng.normal(size=shape) * (rng.random(shape) < density)).astype(np.float32)


def _kept(kernel, shifts):
    indices = np.flatnonzero(kernel)
    return Kept(indices, kernel.reshape(-1)[indices], shifts)


def _case(height, width, channels, batch, stride, size, made, density, padding, is_mean):
    """The outputs of a flow, those that TensorFlow computes, and the flow with its images.

    A convolution and its relu, a pool, a scale, and its sum with a second convolution of it, up to a ceiling.
    """
    rng = np.random.default_rng(0)
    images = rng.normal(size=(batch, height, width, channels)).astype(np.float32)
    first, second = _kernel(rng, (size, size, channels, made), density), _kernel(rng, (3, 3, made, made), density)
    bias, factors, shifts = rng.normal(size=(3, made)).astype(np.float32)
    geometry = Geometry.convolution(first.shape, images.shape[1:], strides=(stride, stride), padding=padding)
    product = replace(Product.of(View(0, height, width), geometry), floor=0.0)
    given, small = (product.height, product.width), (-(-product.height // 2), -(-product.width // 2))
    before = tuple(max(0, (out - 1) * 2 + 3 - one) // 2 for out, one in zip(small, given, strict=True))
    pool = Pool((View(1, *given),), *small, made, window=(3, 3), strides=(2, 2), before=before, is_mean=is_mean)
    scaled = View(3, *small)
    again = Product.of(scaled, Geometry.convolution(second.shape, (*small, made), padding="same"))
    steps = [product, pool, Scale((View(2, *small),), *small, made), again]
    steps.append(Sum((scaled, View(4, *small)), *small, made, ceiling=2.0))
    flow = Flow(images.shape[1:], steps)
    flow.set_weights([_kept(first, bias), None, (factors, shifts), _kept(second, bias), None])

    expected = tf.nn.relu(tf.nn.conv2d(images, first, stride, padding.upper()) + bias)
    expected = (tf.nn.avg_pool2d if is_mean else tf.nn.max_pool2d)(expected, 3, 2, "SAME") * factors + shifts
    expected = tf.minimum(expected + tf.nn.conv2d(expected, second, 1, "SAME") + bias, 2.0)
    return flow.outputs(images), expected.numpy(), flow, images


@pytest.mark.parametrize("is_mean", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_steps_are_tensorflow_s(case, is_mean):
    found, expected, flow, images = _case(*case, is_mean)
    assert np.abs(found - expected).max() <= 2e-6 * np.abs(expected).max()
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        numba.set_num_threads(threads)
        assert flow.outputs(images).tobytes() == found.tobytes()


def test_numbers_by_hand():
    # A 1×3 kernel (1, 0, 2) along a line 1 2 3 with zeros around, then −5, floor 0: 0·1+2·2, 1+2·3, 2+0.
    images = np.tile(np.float32([1, 2, 3]).reshape(1, 1, 3, 1), (17, 1, 1, 1))
    product = Product.of(View(0, 1, 3), Geometry.convolution((1, 3, 1, 1), (1, 3, 1), padding="same"))
    flow = Flow((1, 3, 1), [replace(product, floor=0.0)])
    flow.set_weights([Kept(np.array([0, 2]), np.float32([1, 2]), np.float32([-5]))])
    assert flow.outputs(images)[16].ravel().tolist() == [0, 2, 0]
    flow.set_weights([Kept(np.array([], np.int64), np.float32([]), np.float32([7]))])
    assert flow.outputs(images)[0].ravel().tolist() == [7, 7, 7]


def test_zeros_in_front_of_a_view():
    # The view begins a line above and a position to the left of the image.
    images = np.arange(1, 5, dtype=np.float32).reshape(1, 2, 2, 1)
    product = Product.of(View(0, 3, 3, 1, 1), Geometry.convolution((2, 2, 1, 1), (3, 3, 1)))
    flow = Flow((2, 2, 1), [product])
    flow.set_weights([Kept(np.arange(4), np.float32([1, 10, 100, 1000]), np.float32([0]))])
    assert flow.outputs(images).ravel().tolist() == [1000, 2100, 3010, 4321]


@pytest.mark.parametrize(
    "height, lines, stride, dilation, top, bottom",
    [
        (3, 7, 1, 1, 0, 0),
        (4, 3, 1, 5, 0, 0),
        (5, 3, 2, 1, 3, 1),
        (2, 3, 1, 4, 2, 6),
        (1, 5, 1, 2, 0, 0),
        (9, 4, 2, 1, 1, 2),
    ],
)
def test_kernels_that_reach_beyond_images(height, lines, stride, dilation, top, bottom):
    rng = np.random.default_rng(0)
    images, kernel = rng.normal(size=(20, height, 4, 2)).astype("f4"), rng.normal(size=(lines, 1, 2, 3)).astype("f4")
    whole = top + height + bottom
    way = {"strides": (stride, stride), "dilation": (dilation, 1), "padding": "same"}
    flow = Flow(
        images.shape[1:], [Product.of(View(0, whole, 4, top), Geometry.convolution(kernel.shape, (whole, 4, 2), **way))]
    )
    flow.set_weights([_kept(kernel, np.ones(3, np.float32))])
    padded = np.pad(images, ((0, 0), (top, bottom), (0, 0), (0, 0)))
    expected = tf.nn.conv2d(padded, kernel, stride, "SAME", dilations=(dilation, 1)) + 1
    np.testing.assert_allclose(flow.outputs(images), expected, atol=1e-5)


def test_lines_of_kernels_that_read_zeros_alone_are_left_out():
    """No number times infinity is seen."""
    kernel = np.full((3, 1, 1, 1), np.inf, np.float32)
    kernel[1] = 2
    flow = Flow((1, 3, 1), [Product.of(View(0, 1, 3), Geometry.convolution(kernel.shape, (1, 3, 1), padding="same"))])
    flow.set_weights([_kept(kernel, np.zeros(1, np.float32))])
    images = np.arange(6, dtype=np.float32).reshape(2, 1, 3, 1)
    np.testing.assert_array_equal(flow.outputs(images), 2 * images)


def test_what_is_no_number_stays_none():
    images = np.float32([np.nan, np.inf, -np.inf]).reshape(3, 1, 1, 1)
    product = replace(Product.of(View(0, 1, 1), Geometry.dense(1, 1)), floor=0.0, ceiling=6.0)
    flow = Flow((1, 1, 1), [product])
    flow.set_weights([Kept(np.array([0]), np.float32([1]), np.float32([0]))])
    np.testing.assert_array_equal(flow.outputs(images).ravel(), np.float32([np.nan, 6, 0]))


@pytest.mark.parametrize("place", range(4))
def test_a_window_with_what_is_no_number_has_none(place):
    images = np.arange(4, dtype=np.float32)
    images[place] = np.nan
    pool = Pool((View(0, 2, 2),), 1, 1, 1, window=(2, 2), strides=(2, 2), is_mean=False)
    flow = Flow((2, 2, 1), [pool])
    flow.set_weights([None])
    assert np.isnan(flow.outputs(images.reshape(1, 2, 2, 1))).all()


def test_images_that_are_too_large():
    geometry = Geometry.convolution((1, 1, 1, 64), (2048, 2048, 1))
    with pytest.raises(InputError, match="fewer than 2"):
        Flow((2048, 2048, 1), [Product.of(View(0, 2048, 2048), geometry)])
