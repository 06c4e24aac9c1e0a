"""All interactions of the filters of ResNet-18 at 32×32, against divergences that are computed pair by pair.

Limit: at most 20 s on two cores for the second of two builds; the first is reported, too. Pair by pair, with a
pseudo-inverse and two determinants for each, a few pairs of each layer are timed in the same run and their mean is
multiplied by the layer's number of pairs; feature maps are left out there.
Prints one JSON line; exits 1 over the limit.

    python benchmarks/energy_interactions.py [--images 128] [--pairs 50]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from tfprune.experiments.energy.interactions import build as build_interactions
from tfprune.experiments.energy.networks import build
from tfprune.experiments.energy.states import layout

SECONDS = 20


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=50, help="of each layer, timed one by one")
    arguments = parser.parse_args()

    model = build("resnet18", (32, 32, 3), 10, seed=0)
    space = layout(model, "resnet18")
    images = np.random.default_rng(0).normal(size=(arguments.images, 32, 32, 3)).astype(np.float32)
    first = _seconds(build_interactions, model, space, images)
    again = _seconds(build_interactions, model, space, images)
    one_by_one, pairs = 0.0, 0
    for site in space.sites:
        kernel = space.kernels[site.path].value.numpy().astype(float)
        units = kernel.reshape(-1, *kernel.shape[-2:]).transpose((1, 0, 2) if site.axis == 0 else (2, 0, 1))
        count = len(units) * (len(units) + 1) // 2
        one_by_one += _seconds(_some_pairs, units, arguments.pairs) / arguments.pairs * count
        pairs += count
    record = {
        "benchmark": "energy_interactions",
        "bits": space.size,
        "build_s": round(again, 2),
        "build_limit_s": SECONDS,
        "first_build_s": round(first, 2),
        "pairs": pairs,
        "pair_by_pair_s": round(one_by_one, 1),
        "pair_by_pair_over_build": round(one_by_one / again, 1),
    }
    print(json.dumps(record))
    return int(again > SECONDS)


def _some_pairs(units: np.ndarray, count: int) -> None:
    """Divergences of pairs that are drawn; units (n, positions, samples)."""
    rng = np.random.default_rng(0)
    for first, second in rng.integers(len(units), size=(count, 2)):
        covariance, spread = (np.cov(units[index]).reshape(units.shape[1], -1) for index in (first, second))
        apart = units[second].mean(axis=1) - units[first].mean(axis=1)
        inverse = np.linalg.pinv(spread)
        with np.errstate(all="ignore"):
            ratio = np.log(np.linalg.det(spread) / np.linalg.det(covariance))
        (np.trace(inverse @ covariance) + apart @ inverse @ apart - len(apart) + ratio) / 2


def _seconds(function, *arguments) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
