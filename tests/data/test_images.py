import numpy as np
import pytest
import tensorflow as tf

from tfprune.data.images import MappedImages, ResidentImages
from tfprune.data.rows import aligned, empty_rows, pixel_mean

N, D = 50, 24
ROWS = np.random.default_rng(0).integers(0, 256, (N, D), dtype=np.uint8)
LABELS = np.random.default_rng(1).integers(0, 5, N).astype(np.int32)


@pytest.fixture(params=["resident", "mapped"])
def images(request, tmp_path):
    if request.param == "resident":
        return ResidentImages(ROWS, LABELS)
    parts = []
    for i, rows in enumerate((ROWS[:20], ROWS[20:21], ROWS[21:])):
        parts.append(np.memmap(tmp_path / str(i), np.uint8, "w+", shape=rows.shape))
        parts[-1][:] = rows
    return MappedImages(parts, LABELS)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_fetch_gives_rows_and_labels(images, dtype):
    indices = np.array([0, 19, 20, 21, 49, 20, 3], dtype)
    rows, labels = images.fetch(tf.constant(indices))
    assert rows.dtype == tf.uint8 and labels.dtype == tf.int32
    np.testing.assert_array_equal(rows, ROWS[indices])
    np.testing.assert_array_equal(labels, LABELS[indices])


def test_fetch_in_compiled_loops_knows_its_shapes(images):
    order = tf.constant(np.random.default_rng(2).integers(0, N, (4, 7)))

    @tf.function
    def with_range():
        total = tf.zeros((D,), tf.int64)
        for step in tf.range(4):
            rows, labels = images.fetch(order[step])
            assert rows.shape == (7, D) and labels.shape == (7,)
            total += tf.reduce_sum(tf.cast(rows, tf.int64) * tf.cast(labels[:, None], tf.int64), axis=0)
        return total

    @tf.function
    def with_while_loop():
        def body(step, total):
            rows, labels = images.fetch(order[step])
            return step + 1, total + tf.reduce_sum(tf.cast(rows, tf.int64) * tf.cast(labels[:, None], tf.int64), axis=0)

        return tf.while_loop(lambda step, _: step < 4, body, (0, tf.zeros((D,), tf.int64)))[1]

    chosen = order.numpy().ravel()
    expected = (ROWS[chosen].astype(np.int64) * LABELS[chosen, None]).sum(axis=0)
    np.testing.assert_array_equal(with_range(), expected)
    np.testing.assert_array_equal(with_while_loop(), expected)


def test_chunks_are_all_images_in_order(images):
    sizes, rows, labels = [], [], []
    for chunk, chunk_labels in images.chunks(16):
        sizes.append(len(chunk_labels))
        rows.append(chunk)
        labels.append(chunk_labels)
    assert sizes == [16, 16, 16, 2]
    assert (images.size, images.width) == (N, D)
    np.testing.assert_array_equal(np.concatenate(rows), ROWS)
    np.testing.assert_array_equal(np.concatenate(labels), LABELS)


@pytest.mark.parametrize("width", [1, 7, 8, 24])
def test_resident_rows_of_any_width_also_with_xla(width):
    images = ResidentImages(ROWS[:, :width], LABELS)
    for fetch in (images.fetch, tf.function(images.fetch), tf.function(images.fetch, jit_compile=True)):
        rows, _ = fetch(tf.constant([7, 3]))
        assert rows.shape == (2, width)
        np.testing.assert_array_equal(rows, ROWS[[7, 3], :width])


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="on a GPU the rows are copied to it")
def test_resident_rows_are_not_copied():
    rows = empty_rows(N, D)
    rows[:] = ROWS
    images = ResidentImages(rows, LABELS)
    assert np.shares_memory(images.array, rows)
    fetch = tf.function(images.fetch)
    fetch(tf.constant([5]))
    rows[5] = 77  # seen only by whoever reads this very memory
    np.testing.assert_array_equal(fetch(tf.constant([5]))[0], np.full((1, D), 77))


def test_aligned_copies_only_what_it_must():
    rows = empty_rows(N, D)
    assert rows.ctypes.data % 64 == 0 and rows.shape == (N, D)
    assert aligned(rows) is rows
    copy = aligned(rows[1:])
    assert copy.ctypes.data % 64 == 0
    np.testing.assert_array_equal(copy, rows[1:])


def test_pixel_mean_is_exact_over_chunks():
    rows = np.full((9000, 3), 255, np.uint8)
    rows[:, 1] = np.arange(9000) % 2
    rows[0, 2] = 0
    expected = np.array([255, 0.5, 255 - 255 / 9000], np.float32)
    assert pixel_mean(rows).dtype == np.float32
    np.testing.assert_array_equal(pixel_mean(rows), expected)
