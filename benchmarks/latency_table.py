"""How well a latency table tells the milliseconds of narrower models, and what it saves.

A small network of MobileNet's blocks and one of VGG's, 64 x 64 pixels, random weights: of each, models with 0.8 to 0.2
of the operations, the table's prediction against the measurement of LiteRT (median of 30 calls, the quickest of three
such), and the seconds of `prune_filters(latency=half)` by measuring and by the table, and of making the table, which is
done once. A machine that others use makes all of these longer, unevenly. Prints one JSON line for each network; exits 1
where the mean error is above 25 %, or where the table saves no time.

    python benchmarks/latency_table.py [--runtime litert] [--pixels 64] [--networks mobile vgg]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import tfprune
from tfprune.connectivity.compaction import size_of
from tfprune.pruning.latency import Timer

LIMIT, SHARES = 0.25, (0.8, 0.6, 0.4, 0.2)
layers = keras.layers


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runtime", default="litert", choices=("litert", "keras"))
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--networks", nargs="+", default=["mobile", "vgg"], choices=("mobile", "vgg"))
    arguments = parser.parse_args()
    over = 0
    for build in [{"mobile": mobile, "vgg": vgg}[name] for name in arguments.networks]:
        keras.utils.set_random_seed(0)
        result = measured(build(arguments.pixels), arguments.runtime)
        print(json.dumps({"benchmark": "latency_table", "network": build.__name__, **result}), flush=True)
        over |= result["mean_error"] > LIMIT or result["seconds_by_table"] >= result["seconds_by_measuring"]
    return int(over)


def mobile(pixels: int) -> keras.Model:
    x = inputs = keras.Input((pixels, pixels, 3))
    x = _normalized(layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False)(x))
    for width, strides in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)):
        x = _normalized(layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(x))
        x = _normalized(layers.Conv2D(width, 1, use_bias=False)(x))
    return keras.Model(inputs, layers.Dense(100)(layers.GlobalAveragePooling2D()(x)))


def vgg(pixels: int) -> keras.Model:
    x = inputs = keras.Input((pixels, pixels, 3))
    for width, number in ((64, 2), (128, 2), (256, 3)):
        for _ in range(number):
            x = _normalized(layers.Conv2D(width, 3, padding="same")(x))
        x = layers.MaxPooling2D()(x)
    return keras.Model(inputs, layers.Dense(100)(layers.Dense(256, activation="relu")(layers.Flatten()(x))))


def _normalized(x):
    return layers.ReLU(6)(layers.BatchNormalization()(x))


def measured(model: keras.Model, runtime: str) -> dict:
    table, making = _timed(lambda: tfprune.latency_table(model, runtime, verbose=False))
    timer, rows = Timer(runtime), []
    for share in (1.0, *SHARES):
        small = model if share == 1 else tfprune.prune_filters(model, "l2", flops=share, verify=False)
        rows.append((size_of(small).flops, table.predict(small), min(timer(small) for _ in range(3))))
    errors = [abs(told / found - 1) for _, told, found in rows[1:]]
    budget = rows[0][2] / 2
    given = {"latency": budget, "engine": runtime, "verify": False}
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        by_measuring, first = _timed(lambda: tfprune.prune_filters(model, "l2", **given))
        by_table, second = _timed(lambda: tfprune.prune_filters(model, "l2", table=table, **given))
    return {
        "runtime": runtime,
        "flops": [row[0] for row in rows],
        "predicted_ms": [round(row[1], 3) for row in rows],
        "measured_ms": [round(row[2], 3) for row in rows],
        "mean_error": round(float(np.mean(errors)), 3),
        "largest_error": round(max(errors), 3),
        "error_limit": LIMIT,
        "kinds_of_layers": len(table.layers),
        "seconds_of_the_table": round(making, 1),
        "budget_ms": round(budget, 3),
        "seconds_by_measuring": round(first, 1),
        "seconds_by_table": round(second, 1),
        "ms_by_measuring": round(min(timer(by_measuring) for _ in range(3)), 3),
        "ms_by_table": round(min(timer(by_table) for _ in range(3)), 3),
        "warnings": [str(one.message) for one in warned],
    }


def _timed(function):
    began = time.perf_counter()
    found = function()
    return found, time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
