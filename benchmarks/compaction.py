"""Compacted against dense inference of VGG-16 with three quarters of all filters pruned, batch 32.

The compacted network has its normalisation folded into its kernels, as for deployment; `unfolded_speedup` is without.
Limits: at least 12 times faster, at most 1/12 of the bytes of a saved `.keras` file, and `compact` in at most 3 s.
Prints one JSON line; exits 1 over a limit.

    python benchmarks/compaction.py [--architecture vgg16] [--pruned 0.75] [--batch 32] [--repeats 20]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from tfprune.layers.convert import strip
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.models.registry import build
from tfprune.surgery.compact import compact
from tfprune.surgery.groups import channel_groups

SPEEDUP, SMALLER, SECONDS = 12.0, 12.0, 3.0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--architecture", default="vgg16")
    parser.add_argument("--pruned", type=float, default=0.75)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=30)
    arguments = parser.parse_args()

    model = build(arguments.architecture)
    shake(model)
    masks = filter_masks(model, arguments.pruned)
    compact(strip(model), masks)  # warm
    seconds = min(_seconds(compact, model, masks) for _ in range(3))
    small = compact(model, masks, fold_batchnorm=True)

    images = tf.constant(np.random.default_rng(0).normal(size=(arguments.batch, *model.input_shape[1:])), tf.float32)
    unfolded = _inference(compact(model, masks), images)
    dense, compacted = _inference(model, images), _inference(small, images)
    _seconds(dense, images), _seconds(compacted, images), _seconds(unfolded, images)  # warm
    # Alternating, both for about as long, and the best call of each: other programs only ever add time.
    best_dense = best_compacted = best_unfolded = np.inf
    for _ in range(arguments.repeats):
        best_dense = min(best_dense, _seconds(dense, images))
        best_compacted = min(best_compacted, *(_seconds(compacted, images) for _ in range(round(SPEEDUP))))
        best_unfolded = min(best_unfolded, *(_seconds(unfolded, images) for _ in range(round(SPEEDUP))))
    bytes_dense, bytes_compacted = _bytes(model), _bytes(small)
    record = {
        "benchmark": "compaction",
        "architecture": arguments.architecture,
        "speedup": round(float(best_dense / best_compacted), 2),
        "speedup_limit": SPEEDUP,
        "unfolded_speedup": round(float(best_dense / best_unfolded), 2),
        "bytes_ratio": round(bytes_dense / bytes_compacted, 2),
        "bytes_limit": SMALLER,
        "compact_s": round(seconds, 3),
        "compact_limit_s": SECONDS,
        "parameters": [model.count_params(), small.count_params()],
        "dense_ms": round(1e3 * float(best_dense), 2),
        "compacted_ms": round(1e3 * float(best_compacted), 2),
    }
    print(json.dumps(record))
    fine = record["speedup"] >= SPEEDUP and record["bytes_ratio"] >= SMALLER and seconds <= SECONDS
    return int(not fine)


def filter_masks(model, share: float) -> Masks:
    """Masks without some channels of every group that can lose any: neither what leads to them nor what leaves them."""
    rng = np.random.default_rng(0)
    masks = {path: np.ones(variable.shape, bool) for path, variable in prunable(model).items()}
    for group in channel_groups(model):
        free = np.flatnonzero(~group.fixed)
        gone = rng.permutation(free)[: int(share * len(free))]
        for part in group.parts:
            if part.path in masks:
                np.moveaxis(masks[part.path], part.axis, 0)[np.isin(part.channels, gone)] = False
    return Masks(masks)


def shake(model) -> None:
    """Draws what a new model has at 0: biases, offsets and running means."""
    rng = np.random.default_rng(1)
    for variable in model.variables:
        if variable.name in ("beta", "moving_mean", "bias"):
            variable.assign(rng.normal(0, 0.3, variable.shape))


def _inference(model, images):
    # Traced by hand: what Python does at each call is no part of the network.
    return tf.function(lambda images: model(images, training=False)).get_concrete_function(images)


def _bytes(model) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return path.stat().st_size


def _seconds(function, *arguments) -> float:
    start = time.perf_counter()
    outputs = function(*arguments)
    if isinstance(outputs, tf.Tensor):
        outputs.numpy()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
