"""Claim: without training, SparseGPT loses less than Wanda and magnitude do, at 50 %, 2:4 and 70 %.

A character-level transformer of stock Keras layers learns the sources of Python's standard library; some of the files
are held out. Then the kernels of its blocks (not tables and head) are pruned by each method and the perplexity of a
character of the held-out files is measured, with nothing trained in between. Magnitude compares the weights of a
kernel. Wanda goes layer by layer as SparseGPT does, on the same calibration data, which is how the methods' authors do
it; "Wanda, one pass" is `tfprune.prune(model, "wanda", ...)`, for which all inputs are those of the dense network; "its
masks alone" are SparseGPT's with the weights that the network had.
Calibration data are drawn anew `--draws` times; the table has means, the JSON line also the ranges.
Prints a table and one JSON line, which also tells whether the papers' order holds, SparseGPT before Wanda before
magnitude; exits 1 where the claim does not.

    python benchmarks/pretrained.py [--weights model.weights.h5] [--steps 500]

With `--weights` the trained weights are kept there, and read where the file exists.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import sysconfig
import time
import zlib
from pathlib import Path

import numpy as np

CONTEXT, CHARACTERS = 128, 128  # of ASCII; any other one is the last
HELD_OUT = 20  # one file of so many
SETTINGS = (("50 %", 0.5, None), ("2:4", None, (2, 4)), ("70 %", 0.7, None))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--width", type=int, default=160)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--calibration", type=int, default=64, help="sequences")
    parser.add_argument("--windows", type=int, default=192, help="held-out sequences that perplexity is measured on")
    parser.add_argument("--draws", type=int, default=2)
    arguments = parser.parse_args()

    import keras

    keras.utils.set_random_seed(0)
    train, held_out = sources()
    windows = cut(held_out, np.linspace(0, len(held_out) - CONTEXT - 1, arguments.windows).astype(int))
    model = transformer(arguments.blocks, arguments.width)
    seconds = fitted(model, train, arguments)
    dense = perplexity(model, windows)
    results = {"dense": {"perplexity": dense, "seconds": seconds}}
    print(f"{model.count_params():,} parameters, {len(train):,} characters, {seconds:.0f} s, perplexity {dense:.3f}")
    print(f"| {'sparsity':8} | {'method':16} | perplexity | seconds |\n|---|---|---|---|")
    for name, sparsity, numbers in SETTINGS:
        for method, prune in methods(sparsity, numbers).items():
            found = []
            for draw in range(1 if method == "magnitude" else arguments.draws):
                starts = np.random.default_rng(draw).integers(0, len(train) - CONTEXT - 1, arguments.calibration)
                began = time.perf_counter()
                sparse = prune(model, cut(train, starts)[:, :-1])
                seconds = time.perf_counter() - began
                check(sparse, sparsity, numbers)
                found.append((perplexity(sparse, windows), seconds))
            values, times = zip(*found, strict=True)
            mean = float(np.mean(values))
            results[f"{name} {method}"] = {
                "perplexity": mean,
                "range": [min(values), max(values)],
                "seconds": float(np.mean(times)),
            }
            print(f"| {name:8} | {method:16} | {mean:10.3f} | {np.mean(times):7.1f} |", flush=True)
    holds, order = True, {}
    for name, _, _ in SETTINGS:
        values = [results[f"{name} {method}"]["perplexity"] for method in ("SparseGPT", "Wanda", "magnitude")]
        holds &= values[0] < min(values[1:])
        order[name] = values == sorted(values)
    told = {"papers_order": order, "holds": holds}
    print(json.dumps({"benchmark": "pretrained", "parameters": model.count_params(), **results, **told}))
    return int(not holds)


def sources() -> tuple[np.ndarray, np.ndarray]:
    """Characters of the training and of the held-out files; tests of the library are left out."""
    root = Path(sysconfig.get_path("stdlib"))
    parts = [], []
    for path in sorted(root.rglob("*.py")):
        within = path.relative_to(root)
        if {"site-packages", "dist-packages", "test", "tests", "idle_test"} & set(within.parts):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        parts[zlib.crc32(str(within).encode()) % HELD_OUT == 0].append(text)
    return tuple(
        np.minimum(np.frombuffer("\n".join(part).encode("utf-32-le"), np.uint32), CHARACTERS - 1) for part in parts
    )


def cut(text: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """int32 (sequences, CONTEXT + 1)."""
    return np.stack([text[start : start + CONTEXT + 1] for start in starts]).astype(np.int32)


def transformer(blocks: int, width: int):
    import keras
    from keras import layers

    tokens = keras.Input((CONTEXT,), dtype="int32")
    place = keras.ops.cumsum(keras.ops.ones_like(tokens), axis=1) - 1
    x = layers.Embedding(CHARACTERS, width, name="table")(tokens)
    x = x + layers.Embedding(CONTEXT, width, name="places")(place)
    for block in range(blocks):
        seen = layers.LayerNormalization(name=f"norm_{block}")(x)
        heads = layers.MultiHeadAttention(width // 32, 32, name=f"block_{block}_heads")
        x = x + heads(seen, seen, use_causal_mask=True)
        wide = layers.Dense(4 * width, activation="gelu", name=f"block_{block}_wide")
        seen = wide(layers.LayerNormalization(name=f"second_norm_{block}")(x))
        x = x + layers.Dense(width, name=f"block_{block}_narrow")(seen)
    return keras.Model(tokens, layers.Dense(CHARACTERS, name="head")(layers.LayerNormalization(name="last_norm")(x)))


def fitted(model, train: np.ndarray, arguments) -> float:
    """Trains, or reads what was trained before; seconds."""
    import keras

    if arguments.weights and arguments.weights.exists():
        model.load_weights(arguments.weights)
        return 0.0
    began, rng = time.perf_counter(), np.random.default_rng(0)

    def batches():
        while True:
            found = cut(train, rng.integers(0, len(train) - CONTEXT - 1, arguments.batch))
            yield found[:, :-1], found[:, 1:]

    rate = keras.optimizers.schedules.CosineDecay(
        0.0, arguments.steps, warmup_target=2e-3, warmup_steps=arguments.steps // 20
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=0.01, global_clipnorm=1.0)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(batches(), steps_per_epoch=max(1, arguments.steps // 10), epochs=10, verbose=2)
    if arguments.weights:
        model.save_weights(arguments.weights)
    return time.perf_counter() - began


def perplexity(model, windows: np.ndarray) -> float:
    """Of a character, each given those before it in its window."""
    import tensorflow as tf

    total = 0.0
    for start in range(0, len(windows), 32):
        part = windows[start : start + 32]
        logits = model(part[:, :-1], training=False)
        total += float(tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(part[:, 1:], logits)))
    return math.exp(total / windows[:, 1:].size)


def methods(sparsity: float | None, numbers: tuple[int, int] | None) -> dict:
    """Name -> (model, sequences) -> masked model."""
    import tfprune
    from tfprune.layers.linear import linear_kernels
    from tfprune.pruning.sparsegpt import in_order

    outside = ["table", "places", "head"]

    def by_magnitude(model, data):
        masks = {path: np.ones(kernel.shape, bool) for path, kernel in tfprune.prunable(model).items()}
        for path, linear in linear_kernels(model).items():
            if path.startswith("block"):
                (matrix,) = linear.matrices(np.abs(tfprune.prunable(model)[path].numpy()))
                masks[path] = linear.kernel(best(matrix, sparsity, numbers, False)).reshape(masks[path].shape)
        return tfprune.masked(model, masks)

    def by_wanda(model, data):
        def compress(path, weights, alive, grams):
            norms = np.sqrt(np.diagonal(grams[0]))[:, None]
            mask = best(np.abs(weights[0]) * norms, sparsity, numbers, True)[None]
            return weights * mask, mask

        return in_order(model, data, compress, ignore=outside)

    def by_surgery(model, data):
        pattern = None if numbers is None else f"{numbers[0]}:{numbers[1]}"
        return tfprune.sparsegpt(model, sparsity, data, pattern=pattern, ignore=outside)

    found = {
        "magnitude": by_magnitude,
        "Wanda": by_wanda,
        "SparseGPT": by_surgery,
        "its masks alone": lambda model, data: tfprune.masked(model, tfprune.masks_of(by_surgery(model, data))),
    }
    if numbers is None:
        found["Wanda, one pass"] = lambda model, data: tfprune.masked(
            model, tfprune.prune(model, "wanda", sparsity, data=(data, np.zeros(len(data))), ignore=outside)
        )
    return found


def best(
    scores: np.ndarray, sparsity: float | None, numbers: tuple[int, int] | None, within_outputs: bool
) -> np.ndarray:
    """Mask of a matrix (inputs, outputs) without its lowest, of each output or of all together; or N:M."""
    inputs, outputs = scores.shape
    if numbers is not None:
        scores = scores.reshape(-1, numbers[1], outputs)
        leaving = numbers[1] - numbers[0]
    else:
        scores = scores[None] if within_outputs else scores.reshape(1, -1, 1)
        leaving = int(sparsity * scores.shape[1] + 1e-6)
    mask = np.ones(scores.shape, bool)
    np.put_along_axis(mask, np.argsort(scores, axis=1, kind="stable")[:, :leaving], False, axis=1)
    return mask.reshape(inputs, outputs)


def check(sparse, sparsity: float | None, numbers: tuple[int, int] | None) -> None:
    """That the kernels of the blocks are as sparse as was asked for, and the others dense."""
    import tfprune

    for path, mask in tfprune.masks_of(sparse).items():
        wanted = (sparsity or 1 - numbers[0] / numbers[1]) if path.startswith("block") else 0
        if abs(1 - mask.mean() - wanted) > 1 / min(mask.shape):
            sys.exit(f"kernel {path} has sparsity {1 - mask.mean():.4f} in place of {wanted}")


if __name__ == "__main__":
    sys.exit(main())
