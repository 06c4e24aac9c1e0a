"""A training step of iterative magnitude pruning by the sparse engine against the dense one, at several densities.

Networks of `f256:f256:f256:x` and `f1024:f1024:f1024:x` on images of CIFAR-10's shape, batch 500, SGD, input
normalisation, masks, and the data: a batch drawn and gathered from uint8 images. All layers but the last have a random
mask of the density. Both engines train the same network on the same batches, some steps each in turn; the ratio is the
median of rounds. `loss_differences` are those between the losses of both, relative, in the first step, before anything
is learned, and in the tenth: where a unit has few inputs these hardly vary, and normalisation makes much of rounding.

Limits: at densities of 0.1, 0.03 and 0.01 at least 2, 4 and 6 times cheaper with 256 units, and 2.5, 5 and 10 with
1024. Prints one JSON line for each network and density; exits 1 where one is below its limit. Takes five minutes on
two quiet cores.

    python benchmarks/engine_imp_step.py [--archs f256:f256:f256:x] [--densities .1 .01] [--rounds 7]
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from tfprune.quiet import quiet_start

with quiet_start():
    import keras
    import numpy as np
    import tensorflow  # noqa: F401 - its notes at the start, where nobody reads them

    from tfprune.data.images import ResidentImages
    from tfprune.experiments.imp.masks import random_masks
    from tfprune.experiments.imp.network import ImpNetwork, initial_weights
    from tfprune.training.feeds import Normalised, RowsFeed
    from tfprune.training.loop import TrainingLoop
    from tfprune.training.samplers import DrawnSampler, with_replacement

SMALL, LARGE = "f256:f256:f256:x", "f1024:f1024:f1024:x"
LIMITS = {SMALL: {0.1: 2.0, 0.03: 4.0, 0.01: 6.0}, LARGE: {0.1: 2.5, 0.03: 5.0, 0.01: 10.0}}
BATCH, WIDTH, IMAGES, STEPS = 500, 3072, 50_000, 50


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", nargs="+", default=[SMALL, LARGE])
    parser.add_argument("--densities", nargs="+", type=float, default=[0.1, 0.03, 0.01, 0.003])
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (IMAGES, WIDTH), np.uint8)
    images = ResidentImages(pixels, rng.integers(0, 10, IMAGES).astype(np.int32))
    fine = True
    for arch in arguments.archs:
        for density in arguments.densities:
            record = measured(arch, density, images, arguments.rounds)
            limit = LIMITS.get(arch, {}).get(density)
            record |= {"limit": limit} if limit else {}
            fine &= record["ratio"] >= (limit or 0)
            record = {"arch": arch, "density": density, **record}
            print(json.dumps({"benchmark": "engine_imp_step", **record}), flush=True)
    return int(not fine)


def measured(arch: str, density: float, images: ResidentImages, rounds: int) -> dict:
    loops = {engine: training_loop(arch, density, images, engine) for engine in ("dense", "sparse")}
    losses, ms = {}, {engine: [] for engine in loops}
    for engine, loop in loops.items():
        loop.begin()
        loop.trace()
        _, losses[engine] = loop.run(0, STEPS)
    for start in range(STEPS, (rounds + 1) * STEPS, STEPS):
        for engine, loop in loops.items():
            began = time.perf_counter()
            loop.run(start, start + STEPS)
            ms[engine].append(1e3 * (time.perf_counter() - began) / STEPS)
    differences = np.abs(losses["sparse"] / losses["dense"] - 1)[[0, 9]]
    return {
        **{f"{engine}_ms": round(float(np.median(taken)), 2) for engine, taken in ms.items()},
        "ratio": round(float(np.median(np.divide(ms["dense"], ms["sparse"]))), 2),
        "loss_differences": [float(f"{difference:.1e}") for difference in differences],
        "kept_layers": len(loops["sparse"].kept),
    }


def training_loop(arch: str, density: float, images: ResidentImages, engine: str) -> TrainingLoop:
    rng = np.random.default_rng(1)
    network = ImpNetwork(arch, "T:T:T:F", (3, 32, 32), 10)
    network.weights = initial_weights(network.layers, rng)
    network.masks = random_masks(network.layers, 1 - density, rng)
    sampler = DrawnSampler(with_replacement(0, IMAGES, BATCH), BATCH)
    feed = RowsFeed(images, sampler, Normalised(np.full(WIDTH, 127.5), 1 / 255))
    return TrainingLoop(network.model, keras.optimizers.SGD(0.1), feed, engine=engine)


if __name__ == "__main__":
    sys.exit(main())
