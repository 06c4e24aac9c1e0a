"""A training step of lottery tickets against that of the same network without masks, fed one batch over and over.

cifar_resnet_20 and mnist_lenet_300_100, batch 128, four of five weights pruned, momentum, weight decay, a schedule.
On one side all that `python -m tfprune.lth` does in a step: masks, a batch of a shuffled epoch gathered from bytes,
normalised and, for CIFAR, cropped and mirrored. On the other side the same loop without masks over a batch that lies
ready on the device. The two take turns, and the fastest round of each counts: what else runs on the machine only adds
time.

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

    from tfprune.data.images import ImageSet, ResidentImages
    from tfprune.experiments.lottery.data import ResidentData
    from tfprune.experiments.lottery.settings import DataSettings
    from tfprune.layers.convert import masked
    from tfprune.layers.masked import MaskedDense
    from tfprune.layers.products import pruned_matmul
    from tfprune.layers.prunable import prunable
    from tfprune.models.named import build_named
    from tfprune.training.decay import AllDecay
    from tfprune.training.loop import TrainingLoop
    from tfprune.training.optimizers import WarmupMilestones, make_optimizer
    from tfprune.training.samplers import NEVER

LIMIT = 1.15
BATCH, DENSITY = 128, 0.2
# Name -> images, (channels, height, width), steps per round, rounds.
CASES = {
    "mnist_lenet_300_100": (60_000, (1, 28, 28), 50, 100),
    "cifar_resnet_20": (50_000, (3, 32, 32), 2, 15),
}


class OneBatch:
    """A feed that always gives the same batch; in variables, as compilers work on constants ahead of time."""

    resident = True
    pixels = None

    def __init__(self, inputs, labels):
        self._inputs, self._labels = tf.Variable(inputs), tf.Variable(labels)

    def begin(self, stream, step):
        pass

    def epoch_end(self, step):
        return NEVER

    def batch_size(self, step):
        return BATCH

    def batch(self, stream, step, size):
        return self._inputs.read_value(), self._labels.read_value()


def loop_of(model: keras.Model, feed) -> TrainingLoop:
    dense = all(len(kernel.shape) == 2 for kernel in prunable(model).values())
    optimizer, schedule = make_optimizer("sgd", 0.01, momentum=0.9), WarmupMilestones(0.01, [10**6], 0.1, 100)
    return TrainingLoop(model, optimizer, feed, decay=AllDecay(model, 1e-4), schedule=schedule, xla=dense)


def sides(name: str) -> list[TrainingLoop]:
    count, shape, *_ = CASES[name]
    rng = np.random.default_rng(0)
    images = ResidentImages(
        rng.integers(0, 256, (count, int(np.prod(shape))), np.uint8), rng.integers(0, 10, count).astype(np.int32)
    )
    spread = np.full(images.width, 127.5, np.float32), np.full(images.width, 1 / 64, np.float32)
    data = ResidentData(
        ImageSet(images, images, *spread, image_shape=shape, classes=10),
        DataSettings(dataset_name="cifar10" if name.startswith("cifar") else "mnist", batch_size=BATCH),
    )
    model = build_named(name, (*shape[1:], shape[0]), 10, 0)
    masks = {path: rng.random(kernel.shape) < DENSITY for path, kernel in prunable(model).items()}
    sparse = masked(model, masks)
    for path, kernel in prunable(sparse).items():
        kernel.assign(kernel * masks[path])
    for layer in sparse.layers:
        if isinstance(layer, MaskedDense):
            layer.product = pruned_matmul  # as `python -m tfprune.lth` trains
    feed = data.feed()
    feed.begin(0, 0)
    return [loop_of(sparse, feed), loop_of(model, OneBatch(*feed.batch(tf.constant(0), tf.constant(0), BATCH)))]


def milliseconds(loop: TrainingLoop, steps: int) -> float:
    began = time.perf_counter()
    loop.run(0, steps)
    return 1e3 * (time.perf_counter() - began) / steps


def measured(name: str) -> dict:
    loops, (*_, steps, rounds) = sides(name), CASES[name]
    for loop in loops:
        loop.run(0, steps)
    times = np.array([[milliseconds(loop, steps) for loop in loops] for _ in range(rounds)]).min(axis=0)
    return {
        "step_ms": round(float(times[0]), 2),
        "bare_ms": round(float(times[1]), 2),
        "ratio": round(float(times[0] / times[1]), 3),
    }


def main() -> int:
    results = {name: measured(name) for name in CASES}
    worst = max(result["ratio"] for result in results.values())
    print(json.dumps({"benchmark": "lottery_training_step", **results, "ratio": worst, "limit": LIMIT}))
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
