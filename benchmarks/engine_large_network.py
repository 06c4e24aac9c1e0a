"""Trains a network that is too large to be trained densely in the same memory and time, beside dense ones of its cost.

A perceptron of two hidden layers of 16,384 units on CIFAR-10, 99 % of whose weights are missing from the start: random
masks with Erdős-Rényi-Kernel's densities (or IGQ's), made of `SparseDense` layers, so that no dense kernel ever exists
(layers that the quota keeps whole are `Dense`). Adam, cosine decay, the same epochs and batches for all:

| network | what it is |
| --- | --- |
| sparse | the large one: 3.2 million of its 319 million weights |
| as_many_weights | a dense one with as many weights, so of the same FLOPs for each step |
| as_long | a dense one whose weights are as many more as its FLOPs are quicker, so that it takes about as long |
| dense | the large one itself: some steps alone, and none if memory does not suffice; its time is that of all steps |

Each has a process of its own. `seconds` are those of `fit`, tracing included and tests left out; `bytes` those of all
variables, the slots of the optimizer and the places of kept weights included; `grown_mb` how far resident memory rose
(the peak, VmHWM) from before the network was built. Wide and sparse is known to beat narrow and dense at as many
weights: Golubeva et al. 2021, arXiv 2010.14495.

Prints one JSON line for each training, then the table in Markdown; exits 1 where the sparse network is not better than
the dense one of as many weights, or takes more than a tenth of the large one's bytes or seconds. Takes a quarter of an
hour on two quiet cores, and needs CIFAR-10: `TFDS_DATA_DIR` says where TFDS has it, or `TFPRUNE_SHARED` the folder with
`data/tfds`. `--data digits` needs no file.

    python benchmarks/engine_large_network.py [--width 16384] [--epochs 8] [--seeds 1] [--quota igq] [--figure FILE.png]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

SHARED = Path(os.environ.get("TFPRUNE_SHARED", Path(__file__).parents[2] / "shared"))
SHARE = 0.1  # of the large dense network's bytes and seconds
STEPS_OF_DENSE = 3
NAMES = {
    "sparse": "sparse, {:,} units",
    "as_many_weights": "dense, as many weights, {:,} units",
    "as_long": "dense, about as long, {:,} units",
    "dense": "dense, {:,} units",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=16_384)
    parser.add_argument("--density", type=float, default=0.01)
    parser.add_argument("--quota", default="erk", choices=("erk", "igq", "uniform"))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--data", default="cifar10", choices=("cifar10", "mnist", "digits"))
    parser.add_argument("--figure", help="a PNG of accuracy over seconds")
    parser.add_argument("--measure", nargs=3, metavar=("NETWORK", "WIDTH", "SEED"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        name, width, seed = arguments.measure
        print(json.dumps(measured(arguments, name, int(width), int(seed))))
        return 0
    records = []
    for seed in range(arguments.seeds):
        sparse = run_child(arguments, "sparse", arguments.width, seed)
        narrow = run_child(arguments, "as_many_weights", width_of(sparse["weights"], sparse), seed)
        more = sparse["seconds"] / narrow["seconds"]
        long = run_child(arguments, "as_long", width_of(more * sparse["weights"], sparse), seed)
        records += [sparse, narrow, long]
    records.append(run_child(arguments, "dense", arguments.width, 0))
    print(table(records))
    if arguments.figure:
        draw(records, arguments.figure)
    return int(not holds(records))


def width_of(weights: float, sparse: dict) -> int:
    """Units of both hidden layers of the dense network with so many weights."""
    outer = sum(sparse["outer"])
    return round((np.sqrt(outer**2 + 4 * weights) - outer) / 2)


def run_child(arguments, name: str, width: int, seed: int) -> dict:
    options = [f"--{option}={getattr(arguments, option)}" for option in ("density", "quota", "epochs", "batch", "rate")]
    command = [sys.executable, __file__, *options, f"--data={arguments.data}"]
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "TFDS_DATA_DIR": str(SHARED / "data" / "tfds"), **os.environ}
    command += ["--measure", name, str(width), str(seed)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{name} failed:\n{result.stderr[-2000:]}")
    record = json.loads(result.stdout.splitlines()[-1])
    print(json.dumps({"benchmark": "engine_large_network", **record}), flush=True)
    return record


def measured(arguments, name: str, width: int, seed: int) -> dict:
    """A training in this process."""
    import keras

    from tfprune.engine.compiling import kernels

    kernels()  # compiled before anything is measured
    train, test, (pixels, classes) = batches(arguments.data, arguments.batch, seed)
    steps = len(train)
    densities = [1.0] * 3
    shapes = [(pixels, width), (width, width), (width, classes)]
    if name == "sparse":
        from tfprune.pruning.quotas import get_quota

        densities = [float(density) for density in get_quota(arguments.quota)(shapes, arguments.density)]
    sizes = [int(np.prod(shape)) for shape in shapes]
    weights = sum(max(1, round(density * size)) for density, size in zip(densities, sizes, strict=True))
    record = {"network": name, "width": width, "seed": seed, "weights": weights}
    record |= {"densities": np.round(densities, 5).tolist(), "outer": [shapes[0][0], shapes[-1][1]]}
    needed = 4 * 4 * weights  # values, gradients and two slots
    if needed > 0.8 * memory("/proc/meminfo")["MemAvailable"]:
        return {**record, "bytes": 3 * 4 * weights, "needed_mb": round(needed / 1e6), "seconds": None}

    keras.utils.set_random_seed(seed)
    Path("/proc/self/clear_refs").write_text("5")  # restarts VmHWM
    before = memory()["VmRSS"]
    model = network(shapes, densities, seed)
    rate = keras.optimizers.schedules.CosineDecay(arguments.rate, arguments.epochs * steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    seconds, accuracies, curve = 0.0, [], []
    if name == "dense":
        first = next(iter(train))
        model.train_on_batch(*first)
        began = time.perf_counter()
        for _ in range(STEPS_OF_DENSE):
            model.train_on_batch(*first)
        seconds = (time.perf_counter() - began) * arguments.epochs * steps / STEPS_OF_DENSE
    else:
        for epoch in range(arguments.epochs):
            began = time.perf_counter()
            model.fit(train, initial_epoch=epoch, epochs=epoch + 1, shuffle=False, verbose=0)
            seconds += time.perf_counter() - began
            accuracies.append(round(float(model.evaluate(test, verbose=0)[1]), 4))
            curve.append(round(seconds, 1))
        record |= {"accuracies": accuracies, "seconds_of_epochs": curve}
    variables = {id(variable): variable for variable in (*model.variables, *model.optimizer.variables)}
    size = sum(variable.value.dtype.size * variable.value.shape.num_elements() for variable in variables.values())
    record |= {"bytes": size, "grown_mb": round((memory()["VmHWM"] - before) / 1e6), "seconds": round(seconds, 1)}
    return record


def batches(name: str, batch: int, seed: int):
    """Batches to train with, shuffled, and to test with, of images of mean 0 and deviation 1; and (pixels, classes)."""
    import tensorflow as tf

    from tfprune.data.load import load_images

    found, sets = load_images(name, val_size=360 if name == "digits" else 10_000), []
    scale = 1 / (next(found.train.chunks())[0] - found.mean).std()
    for part, size in ((found.train, batch), (found.validation, 500)):

        def prepared(chosen, part=part):
            rows, labels = part.fetch(chosen)
            return (tf.cast(rows, tf.float32) - found.mean) * scale, labels

        order = tf.data.Dataset.range(part.size)
        if part is found.train:
            order = order.shuffle(part.size, seed=seed)
        sets.append(order.batch(size, drop_remainder=part is found.train).map(prepared))
    return *sets, (found.train.width, found.classes)


def network(shapes, densities, seed: int):
    import keras

    from tfprune.layers.kept_layers import SparseDense

    model = keras.Sequential([keras.Input(shapes[0][:1])])
    for number, ((_, units), density) in enumerate(zip(shapes, densities, strict=True)):
        activation = "relu" if number < len(shapes) - 1 else None
        if density == 1:
            model.add(keras.layers.Dense(units, activation))
        else:
            model.add(SparseDense(units, activation, density=density, mask_seed=seed))
    return model


def memory(path: str = "/proc/self/status") -> dict[str, int]:
    """Bytes by the names of the file."""
    lines = (line.split() for line in Path(path).read_text().splitlines())
    wanted = ("VmHWM:", "VmRSS:", "MemAvailable:")
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[0] in wanted}


def holds(records: list[dict]) -> bool:
    """Whether the sparse network is better than the one of as many weights, and cheaper by far than the large one."""
    *trained, large = records
    better = mean(trained, "sparse", "accuracy") > mean(trained, "as_many_weights", "accuracy")
    shares = [mean(trained, "sparse", name) / large[name] for name in ("bytes", "seconds") if large[name]]
    return better and max(shares) <= SHARE


def mean(records: list[dict], network: str, what: str) -> float:
    chosen = [record for record in records if record["network"] == network]
    return float(np.mean([record["accuracies"][-1] if what == "accuracy" else record[what] for record in chosen]))


def table(records: list[dict]) -> str:
    """Markdown; means over the seeds."""
    lines = ["| network | weights | MB, optimizer included | memory grown, MB | seconds | test accuracy |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for name in NAMES:
        chosen = [record for record in records if record["network"] == name]
        first = chosen[0]
        grown = f"{mean(records, name, 'grown_mb'):,.0f}" if "grown_mb" in first else f"{first['needed_mb']:,} needed"
        seconds = "does not fit" if first["seconds"] is None else f"{mean(records, name, 'seconds'):,.0f}"
        told = f"{100 * mean(records, name, 'accuracy'):.1f} %" if "accuracies" in first else "not trained"
        megabytes = f"{first['bytes'] / 1e6:,.0f}"
        cells = [NAMES[name].format(first["width"]), f"{first['weights']:,}", megabytes, grown, seconds, told]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(records: list[dict], path: str) -> None:
    """Accuracy over the seconds of training, one curve for each seed; the large dense network's end is told."""
    from tfprune.plots.style import COLORS, MARKERS, accuracy_axis, label, legend, new_figure, save_png

    figure = new_figure(7.5, 4.4)
    axes = figure.subplots()
    for place, name in enumerate(list(NAMES)[:-1]):
        for record in (record for record in records if record["network"] == name):
            told = (
                f"{NAMES[name].format(record['width'])}: {record['bytes'] / 1e6:,.0f} MB"
                if not record["seed"]
                else None
            )
            how = {"color": COLORS[place], "marker": MARKERS[place], "markersize": 5, "label": told}
            axes.plot(record["seconds_of_epochs"], record["accuracies"], **how)
    large = records[-1]
    ending = "does not fit" if large["seconds"] is None else f"{large['seconds'] / 60:,.0f} minutes"
    told = f"{NAMES['dense'].format(large['width'])}: {large['bytes'] / 1e6:,.0f} MB, {ending}"
    axes.plot([], [], " ", label=told)
    label(axes, "Too large to be trained densely", "seconds of training", "test accuracy")
    axes.set_xlim(0, None)
    accuracy_axis(axes)
    legend(axes, loc="lower right")
    save_png(figure, path)


if __name__ == "__main__":
    sys.exit(main())
