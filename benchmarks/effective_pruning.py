"""Pruning to an effective sparsity against the passes that it cannot do without, in the same run.

| row | work | unit |
| --- | --- | --- |
| vgg16-igq | random/igq, effective 0.99 | 30 effective-mask evaluations |
| vgg16-synflow | SynFlow in 100 rounds, effective 0.99 | 200 linear passes: see `effective_masks.py` |
| lenet-snip | SNIP, 30,000 images by 100, effective 0.99 | 1.2 × (gradients of those images + 20 evaluations) |
| resnet18-igq | random/igq, effective 0.999 | 30 effective-mask evaluations |

Each row prunes once to warm up (its seconds are reported, too) and then `--repeats` times; the unit is the median of
passes before, between and after. Prints one JSON line; exits 1 if a row is over its limit.

    python benchmarks/effective_pruning.py [--rows vgg16-igq lenet-snip] [--repeats 3]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from effective_masks import linear_pass

from tfprune.connectivity.reachability import Reachability
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.models.registry import build
from tfprune.pruning.pruner import prune

UNITS_BETWEEN = 5


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    results = [measure(name, *ROWS[name](), arguments.repeats) for name in arguments.rows]
    print(json.dumps({"benchmark": "effective_pruning", "rows": results}))
    return int(any(result["ratio"] > result["limit"] for result in results))


def measure(name, work, unit, limit: float, repeats: int) -> dict:
    first = seconds(work)
    unit()
    units, works = [], []
    for _ in range(repeats):
        units += [seconds(unit) for _ in range(UNITS_BETWEEN)]
        works.append(seconds(work))
    units += [seconds(unit) for _ in range(UNITS_BETWEEN)]
    ratio = float(np.median(works) / np.median(units))
    figures = {"seconds": np.median(works), "unit_seconds": np.median(units), "first_call_seconds": first}
    rounded = {key: round(float(value), 3) for key, value in figures.items()}
    return {"row": name, "ratio": round(ratio, 2), "limit": limit, **rounded}


def random_igq(architecture: str, sparsity: float):
    model = build(architecture)
    reachability, dense = Reachability(model), Masks.dense(model)
    return lambda: prune(model, "random/igq", sparsity, "effective"), lambda: reachability(dense), 30


def vgg16_synflow():
    model = build("vgg16")
    return lambda: prune(model, "synflow", 0.99, "effective"), linear_pass(model, prunable(model)), 200


def lenet_snip():
    model = build("lenet300100")
    rng = np.random.default_rng(0)
    images = rng.normal(size=(30_000, *model.inputs[0].shape[1:])).astype(np.float32)
    labels = rng.integers(0, 10, len(images))
    kernels = [variable.value for variable in prunable(model).values()]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=False)
    reachability, dense = Reachability(model), Masks.dense(model)

    @tf.function(reduce_retracing=True)
    def gradients(inputs, targets):
        with tf.GradientTape() as tape:
            value = loss(targets, model(inputs, training=True))
        return tape.gradient(value, kernels)

    def unit():
        for start in range(0, len(images), 100):
            gradients(tf.constant(images[start : start + 100]), tf.constant(labels[start : start + 100]))
        for _ in range(20):
            reachability(dense)

    return lambda: prune(model, "snip", 0.99, "effective", (images, labels), batch_size=100), unit, 1.2


def seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


ROWS = {
    "vgg16-igq": lambda: random_igq("vgg16", 0.99),
    "vgg16-synflow": vgg16_synflow,
    "lenet-snip": lenet_snip,
    "resnet18-igq": lambda: random_igq("resnet18", 0.999),
}


if __name__ == "__main__":
    sys.exit(main())
