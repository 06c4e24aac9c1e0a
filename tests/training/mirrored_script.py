"""Trains twice, on one device and on two logical ones, and prints the losses; a process of its own, see the test."""

import json
import sys

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

from tfprune.data.images import ResidentImages
from tfprune.layers.convert import masked
from tfprune.layers.variants import with_precision, with_synchronized_norm
from tfprune.training.decay import AllDecay
from tfprune.training.feeds import Normalised, RowsFeed, StreamFeed
from tfprune.training.loop import TrainingLoop
from tfprune.training.mirrored import MirroredLoop, mirrored_strategy
from tfprune.training.optimizers import WarmupMilestones, make_optimizer
from tfprune.training.samplers import EpochSampler

DEVICES = ["CPU:0", "CPU:1"]


def lenet():
    widths = [keras.layers.Dense(width, activation="relu") for width in (300, 100)]
    return keras.Sequential([keras.Input((64,)), *widths, keras.layers.Dense(10)])


def convolutional():
    layers = [
        keras.layers.Reshape((8, 8, 1)),
        keras.layers.Conv2D(4, 3, use_bias=False),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(10),
    ]
    return keras.Sequential([keras.Input((64,)), *layers])


def loop_of(kind, strategy=None):
    keras.utils.set_random_seed(0)
    model = masked(lenet() if kind != "convolutional" else with_synchronized_norm(convolutional()))
    if kind == "float16":
        model = with_precision(model, "mixed_float16")
    for layer in model.layers:
        if hasattr(layer, "kernel_mask"):
            layer.kernel_mask.assign(np.random.default_rng(1).random(layer.kernel.shape) < 0.5)
            layer.kernel.assign(layer.kernel * layer.kernel_mask)
    digits = load_digits()
    # 130 images in batches of 32: every fifth batch has 2.
    rows, labels = digits.data[:130].astype(np.uint8), digits.target[:130].astype(np.int32)
    prepare = Normalised(np.full(64, 4.9), 1 / 6)
    if kind == "stream":
        pairs = tf.data.Dataset.from_tensor_slices((rows, labels)).batch(32)
        feed = StreamFeed(lambda stream, epoch, first: pairs.skip(first), 5, prepare)
    else:
        feed = RowsFeed(ResidentImages(rows, labels), EpochSampler(130, 32, short=True), prepare)
    optimizer = make_optimizer("sgd", 0.05, momentum=0.9, loss_scaling=kind == "float16")
    settings = {"decay": AllDecay(model, 1e-3), "schedule": WarmupMilestones(0.05, [20], 0.1, warmup=4)}
    if strategy is None:
        return TrainingLoop(model, optimizer, feed, **settings)
    return MirroredLoop(model, optimizer, feed, strategy, **settings)


def train(loop, start, stop):
    losses = []
    for step in range(start, stop, 5):
        loop.feed.begin(0, step)
        losses += loop.run(step, step + 5)[1].tolist()
    return losses


def seen_by_all(strategy, loop, value):
    """What each replica makes of a gradient that is finite on the first, and `value` on the second."""
    gradient = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant([1.0, (2.0, value)[context.replica_id_in_sync_group]])
    )
    (checked,) = strategy.run(loop._all_or_none_finite, ([gradient],))
    return [bool(np.isfinite(part).all()) for part in strategy.experimental_local_results(checked)]


def main():
    tf.config.set_visible_devices([], "GPU")
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    kind = sys.argv[1]
    one = loop_of(kind)
    strategy = mirrored_strategy(DEVICES)
    with strategy.scope():
        two = loop_of(kind, strategy)
    result = {"one": train(one, 0, 30), "two": train(two, 0, 15)}
    state = two.state
    rest = train(two, 15, 30)
    two.state = state
    result["again"] = result["two"] + train(two, 15, 30)
    result["two"] += rest
    result["variables"] = [
        float(np.abs(1.0 * ours - theirs).max()) for ours, theirs in zip(one.state, two.state, strict=True)
    ]
    result["seen"] = [seen_by_all(strategy, two, value) for value in (2.0, np.inf)]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
