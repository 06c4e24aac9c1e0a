"""Inference of sparse networks by the engine against dense TensorFlow, LiteRT and ONNX Runtime, as a table.

Networks: VGG-16 (32×32), ResNet-18 (64×64), MobileNetV2 (96×96), and a perceptron 3072-1024-1024-10. Their weights are
drawn, normal with variance 2 / fan-in, and pruned by magnitude over all layers together: as in trained networks, wide
layers lose more than narrow ones, so that more of the operations stays than of the weights; how much is told, and what
stays of each layer. Where nothing would stay of some layer, LAMP chooses, which is magnitude relative to the layer's
own. `--pruner magnitude/uniform` gives all layers the same density. Batch normalisation has the statistics of random
images.

| name | what runs |
| --- | --- |
| tensorflow | the network before pruning, as a compiled function |
| compacted | the pruned one without the channels that are gone, batch normalisation folded (`tfprune.compact`) |
| litert, onnx | the network before pruning, in LiteRT (float32) and in ONNX Runtime |
| litert_sparse | the pruned one in LiteRT's sparse encoding; none where LiteRT cannot hold it |
| engine | the `tfprune.predictor` of what `tfprune.accelerate` makes of the pruned one for such batches, folded, too |
| engine_function | the same as a compiled function; in the JSON lines alone |

A call takes an array and gives one. Each number of threads has processes of its own, which may use as many cores. In
each turn every one of them runs twice, so that no other's threads still spin, and the second time counts; medians.

Prints one JSON line for what stays of a network and one for each density, batch and number of threads, then a table in
Markdown. Limits: VGG-16 at batch 32 is at least 1.5, 3 and 6 times faster than in dense TensorFlow at densities of
0.1, 0.05 and 0.02. Exits 1 where it is not. All of it takes three quarters of an hour on two quiet cores, VGG-16 alone
a fifth of that.

    python benchmarks/engine_inference.py [--networks vgg16] [--densities .1 .02] [--batches 32] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

NETWORKS = {"vgg16": "VGG-16", "resnet18": "ResNet-18", "mobilenet_v2": "MobileNetV2", "mlp": "3 dense layers"}
LIMITS = {0.1: 1.5, 0.05: 3.0, 0.02: 6.0}  # of VGG-16 at batch 32, by density
NAMES = {
    "tensorflow": "TensorFlow",
    "compacted": "compacted TensorFlow",
    "litert": "LiteRT",
    "litert_sparse": "LiteRT's sparse encoding",
    "onnx": "ONNX Runtime",
}
ENGINE = "engine", "engine_function"
LEAST_TURNS = 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--densities", nargs="+", type=float, default=[0.1, 0.05, 0.02, 0.01])
    parser.add_argument("--batches", nargs="+", type=int, default=[32, 1])
    parser.add_argument("--threads", nargs="+", type=int, default=[2, 1])
    parser.add_argument("--pruner", default="magnitude/global")
    parser.add_argument("--seconds", type=float, default=30, help="of measuring, for each network, batch and threads")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        for record in measured(arguments, Path(arguments.measure)):
            print(json.dumps({"benchmark": "engine_inference", **record}), flush=True)
        return 0
    cores = sorted(os.sched_getaffinity(0))
    if max(arguments.threads) > len(cores):
        parser.error(f"--threads must be at most {len(cores)}, the cores of this process")
    records = []
    for network in arguments.networks:
        with tempfile.TemporaryDirectory(prefix="engine_inference_") as folder:
            for threads in arguments.threads:
                records += one_process(arguments, network, threads, cores, folder)
    print(table(records))
    return int(any(record.get("within_limit") is False for record in records))


def one_process(arguments, network: str, threads: int, cores: list[int], folder: str) -> list[dict]:
    """Prints what a fresh process prints that has these cores alone, and gives its records."""
    command = [sys.executable, __file__, "--measure", folder, "--networks", network, "--threads", str(threads)]
    for option in ("densities", "batches"):
        command += [f"--{option}", *map(str, getattr(arguments, option))]
    command += ["--pruner", arguments.pruner, "--seconds", str(arguments.seconds)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "NUMBA_NUM_THREADS": str(threads)}
    narrowed = {"env": environment, "preexec_fn": lambda: os.sched_setaffinity(0, cores[:threads])}
    records = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **narrowed) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            records.append(json.loads(line))
    if process.returncode:
        sys.exit(f"{network} with {threads} threads failed")
    return records


def measured(arguments, folder: Path):
    """Records of one network in this process.

    Args:
        arguments: of the command line, with one network and one number of threads.
        folder: with the files that a process before this one has made.
    """
    from tfprune.quiet import quiet_conversion, quiet_start

    with quiet_start():
        import numpy as np
        import tensorflow as tf

        import tfprune
        from tfprune.layers.kept_layers import KeptKernel

    (network,), (threads,) = arguments.networks, arguments.threads
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    model = built(network)
    rng = np.random.default_rng(1)
    images = rng.normal(size=(max(*arguments.batches, 16), *model.input_shape[1:])).astype(np.float32)
    calls, kept = {}, {}
    for batch in arguments.batches:
        with quiet_conversion():
            calls[batch] = {
                "tensorflow": compiled(model, batch),
                "litert": exported(model, folder / "dense.tflite", False, threads),
                "onnx": exported(model, folder / "dense.onnx", None, threads),
            }
    for density in arguments.densities:
        masks, pruner = pruned(model, arguments.pruner, density)
        sparse = with_statistics(tfprune.masked(model, masks), images)
        counts = tfprune.sparsity(sparse)
        stays = {
            "layers": {path: round(float(mask.mean()), 4) for path, mask in masks.items()},
            "flops_density": round(counts.flops.kept / counts.flops.dense, 4),
        }
        yield {"network": network, "density": density, "pruner": pruner, **stays}
        compacted = tfprune.compact(sparse, fold_batchnorm=True)
        for batch in arguments.batches:
            with quiet_conversion():
                thin = exported(tfprune.strip(sparse), folder / f"{density}.tflite", True, threads)
            fast = tfprune.accelerate(sparse, batch_size=batch, fold_batchnorm=True)
            kept[batch, density] = sum(isinstance(layer, KeptKernel) for layer in fast.layers)
            made = {
                "compacted": compiled(compacted, batch),
                "litert_sparse": thin,
                "engine": array_to_array(tfprune.predictor(fast)),
                "engine_function": compiled(fast, batch),
            }
            calls[batch] |= {(name, density): call for name, call in made.items() if call is not None}
    for batch in arguments.batches:
        ms = milliseconds(calls[batch], [images[:batch]], arguments.seconds)
        for density in arguments.densities:
            found = {name: ms.get(name, ms.get((name, density))) for name in (*NAMES, *ENGINE)}
            record = {"network": network, "density": density, "batch": batch, "threads": threads}
            record |= {"kept_layers": kept[batch, density], "ms": found}
            record["faster"] = {name: round(found[name] / found["engine"], 2) for name in found if found[name]}
            if network == "vgg16" and batch == 32 and density in LIMITS:
                record["limit"] = LIMITS[density]
                record["within_limit"] = record["faster"]["tensorflow"] >= LIMITS[density]
            yield record


def built(network: str):
    """A network with weights that are drawn, normal with variance 2 / fan-in."""
    import keras
    import numpy as np

    import tfprune
    from tfprune.models.registry import build

    if network == "mlp":
        hidden = [keras.layers.Dense(1024, "relu") for _ in range(2)]
        model = keras.Sequential([keras.Input((3072,)), *hidden, keras.layers.Dense(10)])
    elif network == "mobilenet_v2":
        model = keras.applications.MobileNetV2((96, 96, 3), weights=None)
    else:
        model = build(network)
    rng = np.random.default_rng(0)
    depthwise = {id(layer.kernel) for layer in model.layers if isinstance(layer, keras.layers.DepthwiseConv2D)}
    for kernel in tfprune.prunable(model).values():
        inputs = np.prod(kernel.shape[:2] if id(kernel) in depthwise else kernel.shape[:-1])
        kernel.assign(rng.normal(0, np.sqrt(2 / inputs), kernel.shape))
    return model


def pruned(model, pruner: str, density: float):
    """Masks, and the name of the pruner that they are of: LAMP's where the one that is asked for empties a layer."""
    import tfprune

    for name in (pruner, "lamp"):
        with warnings.catch_warnings(action="ignore"):
            masks = tfprune.prune(model, name, 1 - density, verbose=False)
        if all(mask.any() for mask in masks.values()):
            return masks, name
    sys.exit(f"nothing is left of some layer at density {density}")


def with_statistics(model, images):
    """The model, its batch normalisation with the statistics of these images; else signals fade without the weights."""
    import keras

    import tfprune

    if any(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers):
        tfprune.recalibrate(model, images[:16], verbose=False)
    return model


def compiled(model, batch: int):
    """A model as a function from arrays to arrays."""
    import tensorflow as tf

    # Traced by hand: what Python does at each call is no part of the network.
    spec = tf.TensorSpec((batch, *model.input_shape[1:]), tf.float32)
    function = tf.function(lambda images: model(images, training=False)).get_concrete_function(spec)
    return lambda inputs: function(tf.constant(inputs[0])).numpy()


def array_to_array(predict):
    """A predictor of one input, called as all others are."""
    return lambda inputs: predict(inputs[0])


def exported(model, path: Path, sparse: bool | None, threads: int):
    """A file, made unless it is there, as a function from arrays to arrays; None where the format cannot hold it."""
    import numpy as np

    import tfprune
    from tfprune.surgery.formats import format_of

    if not path.exists():
        try:
            tfprune.export(model, path, sparse=sparse, tolerance=np.inf)  # weights are drawn
        except tfprune.InputError as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            return None
    return format_of(path).load(path, model, threads)


def milliseconds(calls: dict, inputs: list, seconds: float) -> dict[object, float]:
    """Median of each call, in turn, the second of two that follow each other."""
    import numpy as np

    taken, began = {key: [] for key in calls}, time.perf_counter()
    while len(taken["tensorflow"]) < LEAST_TURNS or time.perf_counter() - began < seconds:
        for key, run in calls.items():
            run(inputs)
            start = time.perf_counter()
            run(inputs)
            taken[key].append(time.perf_counter() - start)
    # The first turn is in it: a median does not mind.
    return {key: round(1e3 * float(np.median(times)), 3) for key, times in taken.items()}


def table(records: list[dict]) -> str:
    """Markdown: a row for each network, batch and number of threads; what the engine loses is bold."""
    timed = [record for record in records if "ms" in record]
    densities = sorted({record["density"] for record in timed}, reverse=True)
    rows: dict[tuple, dict[float, dict]] = {}
    for record in timed:
        rows.setdefault((record["network"], record["batch"], record["threads"]), {})[record["density"]] = record
    dense = ("tensorflow", "litert", "onnx")
    heads = ["network", "batch", "threads", *(f"{NAMES[name]} ms" for name in dense)]
    lines = [heads + [f"engine at {100 * density:g} %" for density in densities]]
    lines.append(["---"] * len(lines[0]))
    for (network, batch, threads), found in rows.items():
        ms = next(iter(found.values()))["ms"]
        told = ["none" if ms[name] is None else _three_digits(ms[name]) for name in dense]
        lines.append([NETWORKS[network], str(batch), str(threads), *told, *map(_cell, map(found.get, densities))])
    told = "The engine's cells: ms (times faster than dense TensorFlow; than the quickest of all others)."
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{told}"


def _cell(record: dict) -> str:
    others = {name: ratio for name, ratio in record["faster"].items() if name in NAMES}
    quickest = min(others, key=others.get)
    first, second = (
        f"{ratio:.2g}" if ratio >= 1 else f"**{ratio:.2g}**" for ratio in (others["tensorflow"], others[quickest])
    )
    return f"{_three_digits(record['ms']['engine'])} ({first}; {second} {NAMES[quickest]})"


def _three_digits(ms: float) -> str:
    return f"{float(f'{ms:.3g}'):g}"


if __name__ == "__main__":
    sys.exit(main())
