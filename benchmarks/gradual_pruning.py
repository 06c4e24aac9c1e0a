"""What pruning costs while `fit` trains: a step with the callback against one without, and a renewal of masks.

The step is that of a masked LeNet-5-like network of images, batch 128, in `fit` without a progress bar, between two
renewals. The renewal is that of ResNet-50's 25.5 million weights, magnitude, all of them competing, from sparsity 0.5
on, from masks to masks, without a pattern and with each kind of them. Other programs only ever add time: the best of
several rounds is taken, and CPU time is told beside it. Limits: a step at most 1.05 times as long, a renewal at most
1 s, each by the clock or in CPU time. Prints one JSON line; exits 1 over a limit.

    python benchmarks/gradual_pruning.py [--rounds 25] [--steps 100]
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
from tfprune.layers.in_place import mask_in_place
from tfprune.pruning.patterns import as_pattern
from tfprune.training.renewal import Renewals

RATIO, SECONDS = 1.05, 1.0
PATTERNS = (None, "2:4", "4x1", "1x4", "16x1", "row", "column", "kernel")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--steps", type=int, default=100)
    arguments = parser.parse_args()
    (plain, plain_cpu), (pruned, pruned_cpu) = _steps(arguments.rounds, arguments.steps)
    renewals = {pattern or "none": _renewal(pattern) for pattern in PATTERNS}
    result = {
        "benchmark": "gradual_pruning",
        "step_ms": round(1e3 * plain, 3),
        "step_with_callback_ms": round(1e3 * pruned, 3),
        "ratio": round(pruned / plain, 3),
        "ratio_of_cpu_time": round(pruned_cpu / plain_cpu, 3),
        "ratio_limit": RATIO,
        "renewal_resnet50_s": {name: round(clock, 3) for name, (clock, _) in renewals.items()},
        "renewal_resnet50_cpu_s": {name: round(cpu, 3) for name, (_, cpu) in renewals.items()},
        "renewal_limit_s": SECONDS,
    }
    print(json.dumps(result))
    slow = min(result["ratio"], result["ratio_of_cpu_time"]) > RATIO
    return int(slow or max(map(min, renewals.values())) > SECONDS)


class _Clock(keras.callbacks.Callback):
    """From the first step of an epoch to its end."""

    def on_epoch_begin(self, epoch, logs=None):
        self.began = np.array([time.perf_counter(), time.process_time()])

    def on_epoch_end(self, epoch, logs=None):
        self.seconds = np.array([time.perf_counter(), time.process_time()]) - self.began


def _steps(rounds: int, steps: int) -> np.ndarray:
    """(without, with the callback) x (seconds, CPU seconds) of a step of `fit`."""
    layers = keras.layers
    stack = [
        *(layers.Conv2D(6, 5, activation="relu", padding="same"), layers.MaxPooling2D()),
        *(layers.Conv2D(16, 5, activation="relu"), layers.MaxPooling2D(), layers.Flatten()),
        *(layers.Dense(120, activation="relu"), layers.Dense(84, activation="relu"), layers.Dense(10)),
    ]
    model = keras.Sequential([keras.Input((28, 28, 1)), *stack])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    mask_in_place(model)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(128 * steps, 28, 28, 1)).astype(np.float32), rng.integers(0, 10, 128 * steps)
    # Pruned before the first step; nothing is due in the others.
    schedule = tfprune.PolynomialSchedule(0.9, 1, 10**9 + 1, 10**9, initial=0.5)

    def seconds(callbacks: list) -> np.ndarray:
        model.fit(x, y, batch_size=128, verbose=0, shuffle=False, callbacks=[*callbacks, clock := _Clock()])
        return clock.seconds / steps

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the schedule ends after the training
        seconds([tfprune.Prune("magnitude", schedule)])  # warm
        times = [(seconds([]), seconds([tfprune.Prune("magnitude", schedule)])) for _ in range(rounds)]
    return np.min(times, axis=0)


def _renewal(pattern: str | None) -> np.ndarray:
    """(seconds, CPU seconds) of the quickest of five, each from other masks on; what N:M is given at once, from all."""
    model = keras.applications.ResNet50(weights=None)
    mask_in_place(model)
    options = {} if pattern is None else {"pattern": pattern, "pattern_remainder": "dense"}
    exact = None if pattern is None else as_pattern(pattern).sparsity
    renewals = Renewals(model, "magnitude", None, "direct", regrow=False, effective=False, options=options)
    times = []
    for step in range(1, 6):
        if exact is not None:
            tfprune.set_masks(model, tfprune.Masks.dense(model))
        began = time.process_time()
        done = renewals.gradual(step, 0.49 + step / 100 if exact is None else exact)
        times.append((done.seconds, time.process_time() - began))
    return np.min(times, axis=0)


if __name__ == "__main__":
    sys.exit(main())
