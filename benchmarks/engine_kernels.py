"""Products with kept weights alone against TensorFlow's dense ones, in turn in one process.

Dense layers at a batch of 500, 3×3 and 1×1 convolutions as in VGG-16 and MobileNetV2 at batches of 32 and 1; weights
that stay are drawn. A step is a product and both its gradients, compiled. `faster` is dense over kept milliseconds,
minima of alternating calls; `gflops` counts kept weights; `pays` is what the engine's rule says.
Limits: of `faster`, low enough for a noisy machine; 0: reported only.
Prints one JSON line for each shape, batch and density; exits 1 below a limit.

    python benchmarks/engine_kernels.py [--only dense] [--repeats 20] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable

from tfprune.quiet import quiet_start

with quiet_start():
    import numpy as np
    import tensorflow as tf

    from tfprune.engine.geometry import Geometry
    from tfprune.engine.products import KeptProduct
    from tfprune.engine.rule import pays


def _convolution(size: int, channels: int, outputs: int, pixels: int) -> Geometry:
    return Geometry.convolution((size, size, channels, outputs), (pixels, pixels, channels), padding="same")


# Kind: geometries, batches with the limit at each density.
CASES = {
    "dense": (
        [Geometry.dense(3072, 1024), Geometry.dense(1024, 1024), Geometry.dense(3072, 256)],
        {500: {0.1: 1.0, 0.03: 1.3, 0.01: 1.7, 0.003: 1.7}, 1: {0.1: 0, 0.03: 0, 0.01: 0}},
    ),
    "3x3": (
        [
            _convolution(3, 64, 64, 32),
            _convolution(3, 128, 128, 16),
            _convolution(3, 256, 256, 8),
            _convolution(3, 512, 512, 4),
            _convolution(3, 512, 512, 2),
        ],
        {32: {0.1: 1.2, 0.05: 1.5, 0.02: 1.7, 0.01: 1.8}, 1: {0.1: 0, 0.02: 0}},
    ),
    "1x1": (
        [_convolution(1, 384, 64, 12), _convolution(1, 960, 320, 3), _convolution(1, 320, 1280, 3)],
        {32: {0.1: 0, 0.02: 0}, 1: {0.1: 0, 0.02: 0}},
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    fine = True
    for kind in [arguments.only] if arguments.only else CASES:
        geometries, batches = CASES[kind]
        for geometry in geometries:
            for batch, limits in batches.items():
                for density, limit in limits.items():
                    record = _measure(geometry, batch, density, arguments.repeats)
                    fine &= record["faster"] >= limit
                    case = {"kernel": geometry.shape, "pixels": geometry.width, "batch": batch, "density": density}
                    record = {"benchmark": "engine_kernels", "kind": kind, **case, **record, "limit": limit}
                    print(json.dumps(record), flush=True)
    return int(not fine)


def _measure(geometry: Geometry, batch: int, density: float, repeats: int) -> dict:
    rng = np.random.default_rng(0)
    indices = np.sort(rng.permutation(geometry.size)[: round(density * geometry.size)]).astype(np.int32)
    values = rng.normal(size=len(indices)).astype(np.float32)
    kernel = np.zeros(geometry.size, np.float32)
    kernel[indices] = values
    inputs = tf.constant(rng.normal(size=(batch, geometry.height, geometry.width, geometry.channels)), tf.float32)
    product, places = KeptProduct(geometry), tf.constant(indices)
    ways = {
        "dense": (_dense, tf.constant(kernel.reshape(geometry.shape))),
        "kept": (lambda given, weights: product(given, weights, places), tf.constant(values)),
    }
    calls = {}
    for way, (function, weights) in ways.items():
        calls[way] = _compiled(function, inputs, weights)
        calls[f"{way}_step"] = _compiled(_step(function), inputs, weights)
    ms = _minima(calls, repeats)
    flops = 2 * len(indices) * geometry.out_height * geometry.out_width * batch
    return {
        "ms": {way: round(found, 4) for way, found in ms.items()},
        "gflops": round(flops / ms["kept"] / 1e6, 1),
        "faster": round(ms["dense"] / ms["kept"], 2),
        "faster_step": round(ms["dense_step"] / ms["kept_step"], 2),
        "pays": pays(geometry, len(indices), batch),
    }


def _dense(inputs, kernel):
    if inputs.shape[1:3] == (1, 1):
        return tf.matmul(inputs[:, 0, 0], kernel[0, 0])
    return tf.nn.conv2d(inputs, kernel, 1, "SAME")


def _step(function: Callable) -> Callable:
    def step(inputs, weights):
        with tf.GradientTape() as tape:
            tape.watch([inputs, weights])
            outputs = function(inputs, weights)
        return tape.gradient(outputs, [inputs, weights], outputs)

    return step


def _compiled(function: Callable, *arguments) -> Callable:
    return tf.function(lambda: function(*arguments), autograph=False)


def _minima(calls: dict[str, Callable], repeats: int) -> dict[str, float]:
    """Milliseconds of each, called in turn, after two calls that are not counted."""
    seconds = {name: [] for name in calls}
    for _ in range(repeats + 2):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - begin)
    return {name: 1e3 * min(found[2:]) for name, found in seconds.items()}


if __name__ == "__main__":
    sys.exit(main())
