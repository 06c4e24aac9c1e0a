"""Locality maps by autocorrelation against loops over pairs of connections, at 1024 units × 3072 inputs.

Prints one JSON line: for about 5 % and 50 % density the seconds for both maps of the whole layer, and the seconds that
the plain loop over pairs would take, extrapolated by its number of pairs from a few units measured in this process.

    python benchmarks/locality.py
"""

from __future__ import annotations

import json
import time

import numpy as np

from tfprune.experiments.imp.figures.autocorrelation import locality_maps

IMAGE_SHAPE = (3, 32, 32)
UNITS = 1024
LOOP_PAIRS = 1_000_000  # about a second of looping


def pair_loop(column: np.ndarray, most_pairs: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Counts displacements of one unit pair by pair, up to about `most_pairs`; returns both maps and the number."""
    _, height, width = IMAGE_SHAPE
    maps = np.zeros((2, 2 * height - 1, 2 * width - 1), dtype=np.int64)
    places = [tuple(map(int, np.unravel_index(i, IMAGE_SHAPE))) for i in np.flatnonzero(column)]
    pairs = 0
    for i, (c, y, x) in enumerate(places):
        if pairs >= most_pairs:
            break
        for j, (other, v, u) in enumerate(places):
            if i != j:
                maps[int(c != other), height - 1 + v - y, width - 1 + u - x] += 1
                pairs += 1
    return maps[0], maps[1], pairs


def measure(density: float) -> dict[str, float]:
    rng = np.random.default_rng(0)
    mask = rng.random((int(np.prod(IMAGE_SHAPE)), UNITS)) < density
    start = time.perf_counter()
    maps = locality_maps(mask, IMAGE_SHAPE)
    fft_seconds = time.perf_counter() - start

    pairs, unit = 0, 0
    start = time.perf_counter()
    while pairs < LOOP_PAIRS and unit < UNITS:
        pairs += pair_loop(mask[:, unit], LOOP_PAIRS - pairs)[2]
        unit += 1
    loop_seconds = (time.perf_counter() - start) * maps.pairs / pairs
    few = mask[:, :1] & (np.cumsum(mask[:, :1], axis=0) <= 300)
    looped = pair_loop(few[:, 0], 10**9)
    agree = all(np.array_equal(a, b) for a, b in zip(locality_maps(few, IMAGE_SHAPE), looped[:2], strict=True))
    return {
        "density": density,
        "pairs": maps.pairs,
        "seconds": round(fft_seconds, 3),
        "pair_loop_seconds_extrapolated": round(loop_seconds, 1),
        "ratio": round(loop_seconds / fft_seconds, 1),
        "agree": agree,
    }


def main() -> None:
    measure(0.01)  # first calls pay for imports and caches
    results = [measure(density) for density in (0.05, 0.5)]
    print(json.dumps({"benchmark": "locality", "units": UNITS, "image_shape": IMAGE_SHAPE, "results": results}))


if __name__ == "__main__":
    main()
