"""Claim: what is traced to find paths is traced once for a model, and one step of a recurrent layer once for all steps.

Processor seconds, not those of the clock, of effective pruning by random/erk and `sparsity` of two layers of GRUs.

| figure | what is divided | limit |
| --- | --- | --- |
| `again` | pruning and counting a second time, by the first time | 0.25 |
| `steps` | the first time over 16 steps, by the first time over 4 steps of another model | 1.5 |
| `nodes` | operations of the traced graph over 16 steps, by those over 4 steps | 1 |

The counts of the second time must be those of the first. Prints one JSON line; exits 1 if a figure is over its limit.

    python benchmarks/effective_tracing.py [--repeats 3]
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
from keras import layers

from tfprune.connectivity.reachability import Reachability
from tfprune.connectivity.report import sparsity
from tfprune.pruning.pruner import prune

LIMITS = {"again": 0.25, "steps": 1.5, "nodes": 1.0}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    measure(4)  # the first of a process pays for TensorFlow's start
    rows = [(measure(4), measure(16)) for _ in range(arguments.repeats)]
    first, again = (np.median([long[key] for _, long in rows]) for key in ("first", "again"))
    figures = {
        "again": float(again / first),
        "steps": float(np.median([long["first"] / short["first"] for short, long in rows])),
        "nodes": rows[0][1]["nodes"] / rows[0][0]["nodes"],
    }
    rounded = {key: round(value, 3) for key, value in figures.items()}
    seconds = {"first_seconds": round(float(first), 3), "again_seconds": round(float(again), 3)}
    print(json.dumps({"benchmark": "effective_tracing", **rounded, **seconds, "limits": LIMITS}))
    return int(any(figures[key] > limit for key, limit in LIMITS.items()))


def measure(steps: int) -> dict[str, float]:
    model, found, seconds = two_layers(steps), [], []
    for _ in range(2):
        start = time.process_time()
        masks = prune(model, "random/erk", 0.9, "effective", verbose=False)
        found.append(sparsity(model, masks).weights_of)
        seconds.append(time.process_time() - start)
    if found[0] != found[1]:
        sys.exit(f"other counts the second time: {found}")
    graph = Reachability(model)._function.graph.as_graph_def()
    nodes = len(graph.node) + sum(len(function.node_def) for function in graph.library.function)
    return {"first": seconds[0], "again": seconds[1], "nodes": nodes}


def two_layers(steps: int) -> keras.Model:
    series = keras.Input((steps, 5))
    x = layers.GRU(20)(layers.GRU(24, return_sequences=True)(series))
    return keras.Model(series, layers.Dense(15)(x))


if __name__ == "__main__":
    sys.exit(main())
