"""A training step of one-shot pruning against `model.fit` with the same masked model, data and decay.

LeNet-300-100 at sparsity 0.9, batch 100, batch norm, momentum 0.9, weight decay, images turned by up to 4 degrees. On
one side the compiled loop that `python -m tfprune.main` runs, on the other Keras's own `fit` over a `tf.data` pipeline
that shuffles, batches, normalises and turns the same bytes, compiled as Keras does it by default. The two take
turns, and the fastest round of each counts: what else runs on the machine only adds time.

Prints one JSON line; exits with 1 above the limit.
"""

import json
import sys
import time

from tfprune.quiet import quiet_start

with quiet_start():
    import keras
    import numpy as np
    import tensorflow as tf

    from tfprune.data.augment import rotate
    from tfprune.data.images import ImageSet, ResidentImages
    from tfprune.experiments.one_shot.settings import OneShotSettings
    from tfprune.experiments.one_shot.training import SubnetworkTrainer
    from tfprune.layers.convert import masked
    from tfprune.layers.prunable import prunable
    from tfprune.models.registry import build
    from tfprune.pruning.pruner import prune

LIMIT = 0.4
IMAGES, BATCH, STEPS, ROUNDS = 20_000, 100, 100, 25
MEAN, SCALE = 255 * 0.1307, 1 / (255 * 0.3081)


def images(rng: np.random.Generator) -> ImageSet:
    rows = rng.integers(0, 256, (IMAGES, 784), np.uint8)
    held = ResidentImages(rows, rng.integers(0, 10, IMAGES).astype(np.int32))
    return ImageSet(held, held, np.full(784, MEAN, np.float32), np.full(784, SCALE, np.float32), (1, 28, 28), 10)


def loop_steps(model, masks, data: ImageSet):
    """A function that takes STEPS steps of our loop."""
    trainer = SubnetworkTrainer(model, OneShotSettings(), data)
    trainer.begin({path: kernel.numpy() for path, kernel in prunable(model).items()}, masks)
    loop = trainer.session.loop
    loop.feed.begin(0, 0)
    loop.trace(0)
    return lambda: loop.run(0, STEPS, 0)


def fit_steps(model, masks, data: ImageSet):
    """A function that takes STEPS steps of `fit`."""
    decay = OneShotSettings().published.weight_decay
    copy = keras.models.clone_model(model)
    for layer in copy.layers:
        if isinstance(layer, keras.layers.Dense):
            layer.kernel_regularizer = layer.kernel.regularizer = keras.regularizers.L2(decay)
    copy = masked(copy, masks)
    copy.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
    bytes_, labels = next(data.train.chunks(IMAGES))

    def prepare(rows, labels):
        images = tf.reshape((tf.cast(rows, tf.float32) - MEAN) * SCALE, [BATCH, 28, 28, 1])
        return rotate(images, tf.constant(0), tf.random.uniform([], maxval=2**30, dtype=tf.int32)), labels

    pairs = tf.data.Dataset.from_tensor_slices((bytes_, labels)).shuffle(IMAGES).batch(BATCH, drop_remainder=True)
    batches = pairs.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    return lambda: copy.fit(batches, epochs=1, steps_per_epoch=STEPS, verbose=0)


def milliseconds(call) -> float:
    began = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - began) / STEPS


def main() -> int:
    data = images(np.random.default_rng(0))
    model = build("lenet300100")
    masks = prune(model, "random/igq", 0.9)
    sides = loop_steps(model, masks, data), fit_steps(model, masks, data)
    for side in sides:
        side()
    times = np.array([[milliseconds(side) for side in sides] for _ in range(ROUNDS)])
    result = {
        "benchmark": "one_shot_training_step",
        "step_ms": round(float(times[:, 0].min()), 2),
        "fit_ms": round(float(times[:, 1].min()), 2),
        "ratio": round(float(times[:, 0].min() / times[:, 1].min()), 3),
        "limit": LIMIT,
    }
    print(json.dumps(result))
    return int(result["ratio"] > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
