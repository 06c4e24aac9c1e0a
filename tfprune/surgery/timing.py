"""Calls that are timed in turn, so that other programs disturb all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

_WARM = 2


def latencies(calls: Mapping[object, tuple[Callable, object]], repeats: int) -> dict[object, float]:
    """Median milliseconds of every call, timed in turn.

    Args:
        calls: name -> function and what it is called with.
        repeats: number of timed calls of each.
    """
    seconds = {key: [] for key in calls}
    for repeat in range(-_WARM, repeats):
        for key, (run, inputs) in calls.items():
            start = time.perf_counter()
            run(inputs)
            if repeat >= 0:
                seconds[key].append(time.perf_counter() - start)
    return {key: 1e3 * float(np.median(times)) for key, times in seconds.items()}
