"""Operator norm scores of all 13 convolutions of VGG-16, against a full SVD of each channel of one of them.

Limit: at most 0.5 s on two cores once warm; the first call is reported, too. The original takes a full singular value
decomposition, with a filters × filters matrix, of every channel: that is measured on one layer of 512 × 512 × 3 × 3 in
NumPy, and compared with the scores of this layer and of all 13.
Prints one JSON line; exits 1 over the limit.

    python benchmarks/filter_scores.py [--scoring operator_norm] [--repeats 20]
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

from tfprune.models.registry import build
from tfprune.pruning.filter_scores import FILTER_SCORES
from tfprune.pruning.prune_filters import filter_scores

SECONDS = 0.5


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scoring", default="operator_norm", choices=FILTER_SCORES)
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()

    keras.utils.set_random_seed(0)
    whole = build("vgg16")
    last = keras.Sequential([keras.Input((3, 3, 512)), keras.layers.Conv2D(512, 3)])
    first = _seconds(filter_scores, whole, arguments.scoring)
    best = min(_seconds(filter_scores, whole, arguments.scoring) for _ in range(arguments.repeats))
    best_of_layer = min(_seconds(filter_scores, last, arguments.scoring) for _ in range(arguments.repeats))
    full = _seconds(_full_decompositions, last.get_weights()[0].reshape(9, 512, 512))
    record = {
        "benchmark": "filter_scores",
        "scoring": arguments.scoring,
        "vgg16_s": round(best, 3),
        "vgg16_limit_s": SECONDS,
        "vgg16_first_s": round(first, 3),
        "layer_s": round(best_of_layer, 4),
        "full_svd_layer_s": round(full, 2),
        "full_svd_layer_over_layer": round(full / best_of_layer, 1),
        "full_svd_layer_over_vgg16": round(full / best, 1),
    }
    print(json.dumps(record))
    return int(best > SECONDS)


def _full_decompositions(kernel: np.ndarray) -> None:
    """(positions, channels, filters)"""
    for channel in range(kernel.shape[1]):
        np.linalg.svd(kernel[:, channel].T, full_matrices=True)


def _seconds(function, *arguments) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
