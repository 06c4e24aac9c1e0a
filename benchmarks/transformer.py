"""Claim: pruning and compacting a transformer of 100 million parameters takes seconds and a few copies of its weights.

Twelve blocks of attention and feed-forward layers, width 768, of stock Keras layers. `prune` keeps a tenth of all
weights by magnitude; then the output weights of a third of the heads and of half of the feed-forward units are masked,
too, and `compact` takes out what these leave without a use. A copy is 4 bytes for each parameter (403 MB). Each call is
made in a process of its own, and counted is the highest resident memory during the call above that just before it, with
allocators that give freed memory back (see `pruning_memory.py`).
Limits: 4 copies each; `compact` in at most 10 s. The new model is among its copies, the one that was given is not.
Prints one JSON line; exits 1 over a limit.

    python benchmarks/transformer.py [--blocks 12]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from pruning_memory import ALLOCATORS, memory, trim

COPIES, SECONDS = 4.0, 10.0
WIDTH, HEADS, TOKENS, STEPS = 768, 12, 20_000, 64


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--measure", choices=("prune", "compact"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.blocks)))
        return 0
    results = {call: run_child(call, arguments.blocks) for call in ("prune", "compact")}
    fine = all(result["copies"] <= COPIES for result in results.values())
    fine = fine and results["compact"]["seconds"] <= SECONDS
    limits = {"limit_copies": COPIES, "limit_compact_seconds": SECONDS, "within_limits": fine}
    print(json.dumps({"benchmark": "transformer", **results, **limits}))
    return int(not fine)


def run_child(call: str, blocks: int) -> dict:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **ALLOCATORS}
    command = [sys.executable, __file__, "--measure", call, "--blocks", str(blocks)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{call} failed:\n{result.stderr[-2000:]}")
    return json.loads(result.stdout.splitlines()[-1])


def measure(call: str, blocks: int) -> dict:
    from tfprune.pruning.pruner import prune
    from tfprune.surgery.compact import compact

    warm = transformer(1, 12, 2, 50)
    masks = narrow(warm, prune(warm, "magnitude/global", 0.5))
    compact(warm, masks)
    model = transformer(blocks, WIDTH, HEADS, TOKENS)
    parameters = model.count_params()
    masks = None if call == "prune" else narrow(model, prune(model, "magnitude/global", 0.9))
    trim()
    Path("/proc/self/clear_refs").write_text("5")  # restarts VmHWM
    before, begun = memory()["VmRSS"], time.perf_counter()
    found = prune(model, "magnitude/global", 0.9) if call == "prune" else compact(model, masks)
    seconds, peak = time.perf_counter() - begun, memory()["VmHWM"]
    record = {"seconds": round(seconds, 2), "copies": round((peak - before) / (4 * parameters), 2)}
    record["parameters"] = parameters
    return record if call == "prune" else {**record, "parameters_after": found.count_params()}


def transformer(blocks: int, width: int, heads: int, tokens: int):
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    inputs = keras.Input((STEPS,), dtype="int32")
    x = layers.Embedding(tokens, width, name="table")(inputs)
    for block in range(blocks):
        seen = layers.LayerNormalization(name=f"norm_{block}")(x)
        x = layers.Add()([x, layers.MultiHeadAttention(heads, width // heads, name=f"heads_{block}")(seen, seen)])
        wide = layers.Dense(4 * width, activation="gelu", name=f"wide_{block}")(
            layers.LayerNormalization(name=f"second_norm_{block}")(x)
        )
        x = layers.Add()([x, layers.Dense(width, name=f"narrow_{block}")(wide)])
    return keras.Model(inputs, layers.Dense(2, name="last")(layers.GlobalAveragePooling1D()(x)))


def narrow(model, masks):
    """The masks without what a third of the heads and half of the feed-forward units lead to."""
    from tfprune.layers.masks import Masks

    arrays = {path: mask.copy() for path, mask in masks.items()}
    for path, mask in arrays.items():
        if path.startswith("narrow"):
            mask[: len(mask) // 2] = False
        elif path.endswith("output_dense.kernel"):
            mask[: len(mask) // 3] = False
    return Masks(arrays)


if __name__ == "__main__":
    sys.exit(main())
