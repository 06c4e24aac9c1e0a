"""Memory of training a network of kept weights alone against training the dense one.

3072-4096-4096-10, Adam, batch 128; the sparse one is made of `SparseDense` at a density of 0.01, and no dense kernel
ever exists. What is counted are the bytes of all variables: kept values, where they are, biases, and the slots of the
optimizer. Limit: 6 % of the dense network's.

Beside it, of fresh processes: how much more resident memory (its peak, VmHWM) a process has after building the network
and ten steps of `fit`, with TensorFlow started and the kernels compiled before. It depends on allocators; no limit.
Prints one JSON line; exits 1 above the limit. Takes half a minute.

    python benchmarks/engine_memory.py [--width 4096] [--density .01]
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

LIMIT = 0.06
PIXELS, CLASSES, BATCH, STEPS = 3072, 10, 128, 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--density", type=float, default=0.01)
    parser.add_argument("--measure", choices=("dense", "sparse"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.width, arguments.density if arguments.measure == "sparse" else 1.0)))
        return 0
    dense, sparse = (run_child(arguments, kind) for kind in ("dense", "sparse"))
    ratio = sparse["bytes"] / dense["bytes"]
    result = {"density": arguments.density, "bytes": [dense["bytes"], sparse["bytes"]], "ratio": round(ratio, 4)}
    result |= {"grown_mb": [round(found["grown"] / 1e6, 1) for found in (dense, sparse)]}
    result |= {"grown_ratio": round(sparse["grown"] / dense["grown"], 3), "limit": LIMIT}
    print(json.dumps({"benchmark": "engine_memory", **result}))
    return int(ratio > LIMIT)


def run_child(arguments, kind: str) -> dict:
    command = [sys.executable, __file__, "--measure", kind]
    command += ["--width", str(arguments.width), "--density", str(arguments.density)]
    result = subprocess.run(
        command, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, capture_output=True, text=True, check=False
    )
    if result.returncode:
        sys.exit(f"{kind} failed:\n{result.stderr[-2000:]}")
    return json.loads(result.stdout.splitlines()[-1])


def measure(width: int, density: float) -> dict[str, int]:
    """Bytes of all variables of a network and its optimizer, and how far the process grew."""
    trained(64, density)  # starts TensorFlow, and compiles
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # restarts VmHWM
    before = memory()["VmRSS"]
    model = trained(width, density)
    variables = {id(variable): variable for variable in (*model.variables, *model.optimizer.variables)}
    sizes = (variable.value.dtype.size * variable.value.shape.num_elements() for variable in variables.values())
    return {"bytes": sum(sizes), "grown": memory()["VmHWM"] - before}


def trained(width: int, density: float):
    """The network after some steps on noise; of kept weights alone where its density is below 1."""
    import keras
    import numpy as np

    from tfprune.layers.kept_layers import SparseDense

    def dense(units, activation=None):
        if density == 1:
            return keras.layers.Dense(units, activation)
        return SparseDense(units, activation, density=density)

    model = keras.Sequential([keras.Input((PIXELS,)), dense(width, "relu"), dense(width, "relu"), dense(CLASSES)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(0)
    images = rng.normal(size=(STEPS * BATCH, PIXELS)).astype(np.float32)
    model.fit(images, rng.integers(0, CLASSES, STEPS * BATCH), batch_size=BATCH, epochs=1, verbose=0)
    return model


def memory() -> dict[str, int]:
    """Bytes by the names of /proc/self/status."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[0] in ("VmHWM:", "VmRSS:")}


if __name__ == "__main__":
    sys.exit(main())
