"""Whole runs of iterative magnitude pruning on CIFAR-10 by the sparse engine and by the dense one.

3072-256-256-256-10, batch 500, SGD, 20 iterations that prune 30 % each of what is left in every layer but the last, so
down to 0.11 %, with an ε of 1e-3 in the normalisation, as units without inputs do not vary: `python -m tfprune.imp` as
it is, a process for each run, both engines for each seed in turn. `seconds` are those of all trainings, their tests and
checkpoints included; `wall_seconds` those of the whole process, which also loads TensorFlow, evaluates all networks
once more and draws figures, and `ratio` is of the first.

Limits: the ratio is at least 2.5. In no iteration are the means of both engines over the seeds further apart than the
seeds of the dense engine are in some iteration; of one seed, accuracies are shown alone. Each is that of the last
validation, on 10,000 images.

Prints one JSON line; exits 1 beyond a limit. Needs CIFAR-10: `TFDS_DATA_DIR` says where TFDS has it, or
`TFPRUNE_SHARED` the folder with `data/tfds`. Two seeds take a quarter of an hour on two quiet cores, one half of it.

    python benchmarks/engine_imp_run.py [--seeds 2] [--steps 700] [--arch f1024:f1024:f1024:x]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import tfprune
from tfprune.engine.compiling import kernels

LIMIT = 2.5
SHARED = Path(os.environ.get("TFPRUNE_SHARED", Path(__file__).parents[2] / "shared"))
ENGINES = ("dense", "sparse")
INPUT = """
[IO]
save_dir = {folder}

[Data]
dataset = {dataset}

[Network]
arch = {arch}
steps = {steps}
batch_size = {batch}
val_size = {val_size}
learning_rate = {rate}
validate_step = {steps}

[IMP]
prune = {prune}
prune_ratio = 0.3
weights_step = {rewound}
max_iterations = {iterations}

[Run]
seed = {seed}
batch_norm_epsilon = 0.001
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--arch", default="f256:f256:f256:x")
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--rate", type=float, default=0.5)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--val_size", type=int, default=10_000)
    arguments = parser.parse_args()
    for module in ("kernels", "normalized_steps"):
        kernels(module)  # compiled once on a machine, not in the first run
    found = {engine: [] for engine in ENGINES}
    with tempfile.TemporaryDirectory(prefix="engine_imp_run_") as folder:
        for seed in range(arguments.seeds):
            for engine in ENGINES:
                found[engine].append(one_run(arguments, seed, engine, Path(folder, f"{engine}_{seed}")))
    accuracies = {engine: np.array([run["accuracy"] for run in runs]) for engine, runs in found.items()}
    totals = {name: [sum(run[name] for run in found[engine]) for engine in ENGINES] for name in ("seconds", "wall")}
    means = [accuracies[engine].mean(0) for engine in ENGINES]
    record = {
        "arch": arguments.arch,
        "seeds": arguments.seeds,
        "seconds": np.round(totals["seconds"], 1).tolist(),
        "ratio": round(np.divide(*totals["seconds"]), 2),
        "limit": LIMIT,
        "wall_seconds": np.round(totals["wall"], 1).tolist(),
        "wall_ratio": round(np.divide(*totals["wall"]), 2),
        "density": found["dense"][0]["density"],
        "accuracy": [mean.round(4).tolist() for mean in means],
        "engines_apart": round(float(np.abs(np.subtract(*means)).max()), 4),
        "mean_difference": round(float(np.subtract(*means).mean()), 4),
    }
    fine = record["ratio"] >= LIMIT
    if arguments.seeds > 1:
        record["seeds_apart"] = round(float(np.ptp(accuracies["dense"], 0).max()), 4)
        fine &= record["engines_apart"] <= record["seeds_apart"]
    print(json.dumps({"benchmark": "engine_imp_run", **record}))
    return int(not fine)


def one_run(arguments, seed: int, engine: str, folder: Path) -> dict:
    """Accuracies and densities of its iterations, seconds of their trainings, and of the process."""
    last = ":F" if arguments.arch.endswith("x") else ""
    prune = "T" + ":T" * (arguments.arch.count(":") - bool(last)) + last
    options = {key: value for key, value in vars(arguments).items() if key != "seeds"}
    text = INPUT.format(**options, prune=prune, rewound=arguments.steps // 10, seed=seed, folder=folder)
    path = folder.with_suffix(".ini")
    path.write_text(text)
    environment = {"TFDS_DATA_DIR": str(SHARED / "data" / "tfds"), **os.environ}
    command = [sys.executable, "-m", "tfprune.imp", str(path), f"--engine={engine}", "--device=cpu", "--quiet"]
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    wall = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"seed {seed} with the {engine} engine failed:\n{done.stderr[-2000:]}")
    rows = tfprune.read_results(folder).sort_values("level")
    print(f"seed {seed}, {engine}: {wall:.0f} s, {rows['accuracy'].iloc[-1]:.4f} at last", file=sys.stderr, flush=True)
    return {
        "accuracy": rows["accuracy"].tolist(),
        "density": rows["density"].round(5).tolist(),
        "seconds": float(rows["seconds"].sum()),
        "wall": wall,
    }


if __name__ == "__main__":
    sys.exit(main())
