"""Scoring cifar_resnet_20 for one-shot pruning against the passes that it cannot do without.

Each row prunes half of the weights by `tfprune.pruning.pruner.prune`, in one round, batches of 128. The unit is one
compiled forward and backward pass of the same network over one such batch: batch statistics, cross-entropy, gradient
with respect to all kernels. SNIP and SynFlow may cost 3 units a batch, GraSP, which needs a second derivative, 6.
SynFlow takes no data; its one pass of the linear network counts as one batch.

Work and unit take turns, and the fastest of each counts: what else runs on the machine only adds time. The first call,
which is traced, is reported and not counted. Prints one JSON line; exits with 1 above a limit.

    python benchmarks/lottery_scoring.py [--rows snip grasp synflow] [--batches 2] [--repeats 7]
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from tfprune.quiet import quiet_start

with quiet_start():
    import numpy as np
    import tensorflow as tf

    from tfprune.layers.prunable import prunable
    from tfprune.models.named import build_named
    from tfprune.pruning.pruner import prune
    from tfprune.pruning.schedules import ONE_SHOT
    from tfprune.training.devices import use_device

    use_device("auto")

LIMITS = {"snip": 3, "grasp": 6, "synflow": 3}  # units per batch
BATCH, SPARSITY = 128, 0.5


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", nargs="+", choices=LIMITS, default=list(LIMITS))
    parser.add_argument("--batches", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    model = build_named("cifar_resnet_20", (32, 32, 3), 10, seed=0)
    rng = np.random.default_rng(0)
    size = BATCH * arguments.batches
    images = rng.normal(size=(size, 32, 32, 3)).astype(np.float32)
    data = images, rng.integers(0, 10, size).astype(np.int32)
    unit = forward_backward(model, *(part[:BATCH] for part in data))
    rows = [measured(name, model, data, unit, arguments.repeats) for name in arguments.rows]
    print(json.dumps({"benchmark": "lottery_scoring", "batches": arguments.batches, "rows": rows}))
    return int(any(row["ratio"] > row["limit"] for row in rows))


def forward_backward(model, inputs, labels):
    """A function that takes the pass that is the unit."""
    inputs, labels = tf.constant(inputs), tf.constant(labels)
    kernels = [variable.value for variable in prunable(model).values()]

    @tf.function(autograph=False)
    def gradients():
        with tf.GradientTape() as tape:
            logits = model(inputs, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses)
        return tape.gradient(loss, kernels)

    return lambda: [gradient.numpy() for gradient in gradients()]


def measured(name: str, model, data, unit, repeats: int) -> dict:
    def score():
        prune(model, name, SPARSITY, data=data, batch_size=BATCH, schedule=ONE_SHOT)

    batches = 1 if name == "synflow" else len(data[0]) // BATCH
    first = seconds(score)
    unit()
    times = np.array([(seconds(score), seconds(unit)) for _ in range(repeats)]).min(axis=0)
    figures = {"seconds": times[0], "unit_seconds": times[1], "first_call_seconds": first}
    rounded = {key: round(float(value), 3) for key, value in figures.items()}
    return {"row": name, "ratio": round(float(times[0] / times[1]), 2), "limit": LIMITS[name] * batches, **rounded}


def seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
