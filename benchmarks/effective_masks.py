"""Effective masks against one forward and backward pass of the linear network at batch 1.

The limit is 2: finding out which weights are effective costs no more than twice the pass that any gradient score needs.
Prints one JSON line; exits 1 over the limit.

    python benchmarks/effective_masks.py [--architecture vgg16] [--density 0.05] [--repeats 15]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from tfprune.connectivity.graph import evaluate
from tfprune.connectivity.reachability import Reachability
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.models.registry import build

LIMIT = 2.0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--architecture", default="vgg16")
    parser.add_argument("--density", type=float, default=0.05)
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()

    model = build(arguments.architecture)
    variables = prunable(model)
    rng = np.random.default_rng(0)
    masks = Masks({path: rng.random(variable.shape) < arguments.density for path, variable in variables.items()})
    reachability = Reachability(model)
    linear = linear_pass(model, variables)

    _seconds(reachability, masks), _seconds(linear)  # warm
    # Alternating, so that whatever else the machine does falls on both alike.
    times = [(_seconds(reachability, masks), _seconds(linear)) for _ in range(arguments.repeats)]
    effective, baseline = np.median(times, axis=0)
    ratio = effective / baseline
    record = {
        "benchmark": "effective_masks",
        "architecture": arguments.architecture,
        "ratio": round(float(ratio), 3),
        "limit": LIMIT,
        "effective_masks_s": round(float(effective), 4),
        "linear_forward_backward_s": round(float(baseline), 4),
    }
    print(json.dumps(record))
    return int(ratio > LIMIT)


def linear_pass(model, variables):
    """A function that takes one forward and backward pass of the linear network at batch 1, kernels |w|."""
    kernels = {path: variable.value for path, variable in variables.items()}

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            weights = {path: tf.abs(kernel) for path, kernel in kernels.items()}
            tape.watch(weights)
            outputs = evaluate(model, weights)
        return tape.gradient(outputs, weights)

    return lambda: [gradient.numpy() for gradient in step().values()]


def _seconds(function, *arguments) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
