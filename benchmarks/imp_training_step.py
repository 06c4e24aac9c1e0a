"""A training step of iterative magnitude pruning at the paper's shape against the bare matrix products of that step.

Batch 1000, 3072-1024-1024-1024-10, half of the weights masked, input normalisation, softmax, SGD, and the data: a batch
drawn and gathered from uint8 images. The bare products are, for every layer, the forward product and the products of
both gradients, in float32 in the same process. Limit: 1.6 times the bare products.

Prints one JSON line; exits with 1 above the limit.
"""

import itertools
import json
import sys
import time

from tfprune.quiet import quiet_start

with quiet_start():
    import keras
    import numpy as np
    import tensorflow as tf

    from tfprune.data.images import ResidentImages
    from tfprune.experiments.imp.masks import random_masks
    from tfprune.experiments.imp.network import ImpNetwork, initial_weights
    from tfprune.training.feeds import Normalised, RowsFeed
    from tfprune.training.loop import TrainingLoop
    from tfprune.training.samplers import DrawnSampler, with_replacement

LIMIT = 1.6
BATCH, WIDTHS, IMAGES = 1000, (3072, 1024, 1024, 1024, 10), 50_000
STEPS, ROUNDS = 5, 7


def training_loop(rng: np.random.Generator) -> TrainingLoop:
    network = ImpNetwork("f1024:f1024:f1024:x", "T:T:T:F", (3, 32, 32), 10)
    network.weights = initial_weights(network.layers, rng)
    network.masks = random_masks(network.layers, 0.5, rng)
    images = ResidentImages(
        rng.integers(0, 256, (IMAGES, WIDTHS[0]), np.uint8), rng.integers(0, 10, IMAGES).astype(np.int32)
    )
    optimizer = keras.optimizers.SGD(0.1)
    sampler = DrawnSampler(with_replacement(0, IMAGES, BATCH), BATCH)
    feed = RowsFeed(images, sampler, Normalised(np.full(WIDTHS[0], 127.5), 1 / 255))
    return TrainingLoop(network.model, optimizer, feed)


def bare_products(rng: np.random.Generator):
    activations = [tf.constant(rng.normal(size=(BATCH, width)).astype("f4")) for width in WIDTHS]
    shapes = list(itertools.pairwise(WIDTHS))
    kernels = [tf.constant(rng.normal(size=shape).astype("f4")) for shape in shapes]

    @tf.function
    def run(steps):
        total = tf.constant(0.0)
        for _ in tf.range(steps):
            for kernel, inputs, outputs in zip(kernels, activations[:-1], activations[1:], strict=True):
                # One element of each product is used, so that none is dropped and nothing else costs time.
                total += tf.matmul(inputs, kernel)[0, 0]
                total += tf.matmul(inputs, outputs, transpose_a=True)[0, 0]
                total += tf.matmul(outputs, kernel, transpose_b=True)[0, 0]
        return total

    return run


def milliseconds(call) -> float:
    began = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - began) / STEPS


def main() -> int:
    rng = np.random.default_rng(0)
    loop, bare = training_loop(rng), bare_products(rng)
    step = 0
    loop.run(0, 1)
    bare(tf.constant(1))
    bare_times, step_times = [], []
    for _ in range(ROUNDS):
        bare_times.append(milliseconds(lambda: bare(tf.constant(STEPS)).numpy()))
        step_times.append(milliseconds(lambda start=step: loop.run(start, start + STEPS)))
        step += STEPS
    ratios = np.array(step_times) / np.array(bare_times)
    result = {
        "benchmark": "imp_training_step",
        "bare_products_ms": round(float(np.median(bare_times)), 1),
        "step_ms": round(float(np.median(step_times)), 1),
        "ratio": round(float(np.median(ratios)), 3),
        "limit": LIMIT,
    }
    print(json.dumps(result))
    return int(result["ratio"] > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
