import numpy as np
import tensorflow as tf

from tfprune.layers.products import masked_matmul, pruned_matmul


def test_same_numbers_for_a_kernel_that_is_0_where_pruned():
    rng = np.random.default_rng(0)
    mask = (rng.random((7, 5)) < 0.4).astype("f4")
    inputs, kernel = (
        tf.constant(rng.normal(size=(3, 7)), tf.float32),
        tf.constant(rng.normal(size=(7, 5)) * mask, tf.float32),
    )
    found = []
    for product in (masked_matmul, pruned_matmul):
        with tf.GradientTape() as tape:
            tape.watch([inputs, kernel])
            outputs = product(inputs, kernel, tf.constant(mask))
            total = tf.reduce_sum(outputs**2)
        found.append([outputs, *tape.gradient(total, [inputs, kernel])])
    for first, second in zip(*found, strict=True):
        np.testing.assert_array_equal(first, second)
    assert not found[1][2].numpy()[mask == 0].any() and found[1][2].numpy()[mask == 1].all()
