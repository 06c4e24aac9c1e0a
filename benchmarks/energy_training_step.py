"""Claim: training with 8 states costs 8 forward passes more than plain training, and little else.

ResNet-18 at 32×32, Adadelta, batch 128, all timed in turn in one process; the fastest round of each counts.

| figure | what it is |
| --- | --- |
| `ratio` | a step of `python -m tfprune.energy` over a step of the same network without states |
| `forward` | a forward pass of the network in inference over such a step |
| `floor`, `limit` | 1 + 8 · `forward`, what eight passes over the whole batch must cost; 1.2 times that |
| `evolution` | children, selection, and all kernels of eight states being masked, of the step; limit 3 % |
| `ratio_state_batch` | as `ratio`, the states being scored on 32 of the 128 images (`--state_batch=32`) |
| `memory_added` | highest resident memory of a process that trains with states above that of one that does without, in copies of the weights; `memory_ratio`: one over the other |

Prints one JSON line; exits 1 over a limit.

    python benchmarks/energy_training_step.py [--rounds 5] [--batch 128]
"""  # noqa: E501 (a table)

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from tfprune.data.images import ImageSet, ResidentImages
from tfprune.experiments.energy.networks import build
from tfprune.experiments.energy.states import layout
from tfprune.experiments.energy.training import EnergyLoop
from tfprune.pruning.energies import get_energy, passes
from tfprune.pruning.evolution import Population
from tfprune.training.image_batches import ImageBatches
from tfprune.training.loop import TrainingLoop

STATES, STATE_BATCH, SLACK, EVOLUTION = 8, 32, 1.2, 0.03
NEVER = 2**31 - 1


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--peak", choices=("plain", "energy"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    made = Made(arguments.batch)
    if arguments.peak:
        print(json.dumps({"peak": made.peak(arguments.peak), "copy": 4 * made.model.count_params()}))
        return 0
    result = {"benchmark": "energy_training_step", "batch": arguments.batch, **timed(made, arguments.rounds)}
    peaks = {kind: peak_of_child(kind, arguments.batch) for kind in ("plain", "energy")}
    more = peaks["energy"]["peak"] - peaks["plain"]["peak"]
    result["memory_added"] = round(more / peaks["plain"]["copy"], 2)
    result["memory_ratio"] = round(peaks["energy"]["peak"] / peaks["plain"]["peak"], 3)
    within = result["ratio"] <= result["limit"] and result["evolution"] <= EVOLUTION
    print(json.dumps(result | {"limit_evolution": EVOLUTION, "within_limits": within}))
    return int(not within)


class Made:
    """A network and the loops that train it, all on the same images."""

    def __init__(self, batch: int):
        rng = np.random.default_rng(0)
        images = ResidentImages(
            rng.integers(0, 256, (4 * batch, 3072), np.uint8), rng.integers(0, 10, 4 * batch, np.int32)
        )
        spread = np.full(3072, 127.5, np.float32), np.full(3072, 1 / 64, np.float32)
        self.batches = ImageBatches(ImageSet(images, images, *spread, image_shape=(3, 32, 32), classes=10), batch)
        self.model = build("resnet18", (32, 32, 3), 10, seed=0)
        self.space = layout(self.model, "resnet18")
        self.images = tf.random.stateless_normal([batch, 32, 32, 3], [0, 0])

    def plain(self) -> TrainingLoop:
        return TrainingLoop(self.model, keras.optimizers.Adadelta(1.0), self.batches.feed())

    def energy(self, state_batch: int | None = None) -> EnergyLoop:
        population = self.population()
        costs = passes(self.model, self.space, get_energy("margin"), batch_statistics=True)
        optimizer = keras.optimizers.Adadelta(1.0)
        how = {"state_batch": state_batch, "threshold": NEVER}
        return EnergyLoop(
            self.model, optimizer, self.batches.feed(), self.space, population=population, costs=costs, **how
        )

    def population(self) -> Population:
        population = Population(STATES, self.space.size, seed=0)
        population.begin(np.random.default_rng(0).random((STATES, self.space.size)) < 0.5)
        return population

    def peak(self, kind: str) -> int:
        """Bytes, the highest resident memory after two steps."""
        loop = self.plain() if kind == "plain" else self.energy()
        loop.feed.begin(0, 0)
        for _ in range(2):
            loop.run(0, 1)
        with open("/proc/self/status", encoding="ascii") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))


def timed(made: Made, rounds: int) -> dict[str, float]:
    loops = {"plain": made.plain(), "energy": made.energy(), "state_batch": made.energy(STATE_BATCH)}
    calls = {name: lambda loop=loop: loop.run(0, 1) for name, loop in loops.items()}
    for loop in loops.values():
        loop.feed.begin(0, 0)
    forward = tf.function(lambda images: made.model(images, training=False))
    evolution = _evolution(made)
    calls |= {"forward": lambda: forward(made.images).numpy(), "evolution": lambda: evolution().numpy()}
    seconds = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if number:  # the first compiles
                seconds[name].append(time.perf_counter() - began)
    best = {name: min(each) for name, each in seconds.items()}
    over = {name: best[name] / best["plain"] for name in best}
    floor = 1 + STATES * over["forward"]
    return {
        "step_ms": round(1e3 * best["plain"], 1),
        "ratio": round(over["energy"], 2),
        "forward": round(over["forward"], 3),
        "floor": round(floor, 2),
        "limit": round(SLACK * floor, 2),
        "evolution": round(best["evolution"] / best["energy"], 4),
        "ratio_state_batch": round(over["state_batch"], 2),
    }


def _evolution(made: Made):
    """A generation whose states cost what their masked kernels sum up to: no forward passes."""
    population, space = made.population(), made.space

    def cost(state):
        return tf.add_n(
            [kernel[..., 0][0] if len(kernel.shape) == 2 else kernel[0, 0, 0, 0] for _, kernel in space.masked(state)]
        )

    @tf.function
    def generation():
        def costs(states):
            return tf.map_fn(cost, states, fn_output_signature=tf.float32, parallel_iterations=1)

        population.generation(costs, tf.constant(0), may_freeze=False)
        return tf.reduce_sum(tf.cast(population.best, tf.int32))

    return generation


def peak_of_child(kind: str, batch: int) -> dict:
    command = [sys.executable, __file__, "--peak", kind, "--batch", str(batch)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{kind} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    sys.exit(main())
