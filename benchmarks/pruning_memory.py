"""Claim: a pruning call adds at most four copies of the parameters to what the process holds before it.

Prunes VGG-16 to sparsity 0.99, a fresh process per figure. A copy is 4 bytes for each prunable weight (58.9 MB).

| figure | what is counted, in copies |
| --- | --- |
| `added` | the highest resident memory (VmHWM) while pruning above that just before the call; limit 4 |
| `added_with_reserves` | the same with default allocators: with freed memory that they hold back for later; no limit |
| `copies_with_reserves` | that above the memory before the model was built; no limit |

`added` is what pruning needs: its process has allocators that give freed memory back at once (`ALLOCATORS`). By default
glibc keeps freed blocks of up to 32 MB and TensorFlow's oneDNN allocator all that it ever had, for the process and not
for the call; a library must not change that, a user can, with the same variables.

Everything counts: scores, gradients, masks, traced graphs, and SNIP's activations, kept small by batches of 2. Only
importing and starting TensorFlow does not: LeNet-5 is pruned in the same way before.
Prints one JSON line; exits 1 if `added` is over its limit.

    python benchmarks/pruning_memory.py [--rows synflow snip]
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
from pathlib import Path

LIMIT = 4.0
ROWS = {
    "synflow": ("synflow", "effective"),
    "random-igq": ("random/igq", "effective"),
    "magnitude": ("magnitude", "effective"),
    "lamp": ("lamp", "effective"),
    "snip": ("snip", "direct"),
}
ALLOCATORS = {"MALLOC_MMAP_THRESHOLD_": "65536", "TF_ENABLE_ONEDNN_OPTS": "0"}
SPARSITY = 0.99
IMAGES, BATCH = 8, 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--measure", choices=ROWS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*ROWS[arguments.measure])))
        return 0
    results = {}
    for name in arguments.rows:
        added, reserving = run_child(name, ALLOCATORS)["added"], run_child(name, {})
        results[name] = {"added": added, **{f"{figure}_with_reserves": value for figure, value in reserving.items()}}
    within = all(result["added"] <= LIMIT for result in results.values())
    print(json.dumps({"benchmark": "pruning_memory", **results, "limit_added": LIMIT, "within_limit": within}))
    return 0 if within else 1


def run_child(name: str, allocators: dict[str, str]) -> dict:
    environment = {key: value for key, value in os.environ.items() if key not in ALLOCATORS}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", **allocators}
    command = [sys.executable, __file__, "--measure", name]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{name} failed:\n{result.stderr[-2000:]}")
    return json.loads(result.stdout.splitlines()[-1])


def measure(pruner: str, pruning_type: str) -> dict:
    import numpy as np

    from tfprune.layers.masks import Masks
    from tfprune.models.registry import build
    from tfprune.pruning.pruner import prune

    rng = np.random.default_rng(0)
    data = rng.normal(size=(IMAGES, 32, 32, 3)).astype(np.float32), rng.integers(0, 10, IMAGES)

    def work(model, sparsity):
        prune(model, pruner, sparsity, pruning_type, data, batch_size=BATCH)

    work(build("lenet5"), 0.9)
    trim()
    started = memory()["VmRSS"]
    model = build("vgg16")
    copy = 4 * Masks.dense(model).size
    trim()
    Path("/proc/self/clear_refs").write_text("5")  # restarts VmHWM
    before = memory()["VmRSS"]
    work(model, SPARSITY)
    peak = memory()["VmHWM"]
    return {"copies": round((peak - started) / copy, 2), "added": round((peak - before) / copy, 2)}


def trim() -> None:
    """Gives back what is free, so that nobody can use it unseen."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)


def memory() -> dict[str, int]:
    """Bytes by the names of /proc/self/status."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[0] in ("VmHWM:", "VmRSS:")}


if __name__ == "__main__":
    sys.exit(main())
