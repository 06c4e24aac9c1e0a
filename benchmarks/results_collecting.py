"""How long the results of 7,000 trained networks take to be collected into one table, and into its files.

Makes the folders of such a study, as the five systems leave them: a `result.json` with all its fields and layers for
each network, and beside it, empty, the other files that a run has, which cost time because they are looked through.
Then runs `tfprune.overview.table.overview_table` on it, as `python -m tfprune.results` does, and writes CSV and
Parquet. The limit is 10 s for the table, in seconds of this process's processor, which other programs do not lengthen;
those of the clock stand beside them. A second number says how much of it is bare reading: every `result.json` found
with `os.walk` and parsed; `ratio` is that of the two.

Prints one JSON line; exits with 1 above the limit.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tfprune.overview.files import write_csv, write_parquet
from tfprune.overview.table import overview_table
from tfprune.records.result import Result, is_result_name, result_path

LIMIT = 10.0
SHARES = {"one_shot": 4000, "lottery": 1400, "imp": 1000, "filters": 400, "energy": 200}
LAYERS = {"one_shot": 21, "lottery": 22, "imp": 4, "filters": 13, "energy": 20}
_RUN = ("sparsities_direct.npy", "sparsities_effective_synflow.npy", "sparsities_effective_custom.npy")
FILES = {
    "one_shot": (*_RUN, "accuracies.npy", "losses.npy", "masks.npz", "run.json", "info.log", "layers.csv"),
    "lottery": ("run.json", "logger", "mask.npz", "sparsity_report.json", "hparams.log", "model_ep0_it0.npz"),
    "imp": (),
    "filters": ("logger", "metrics.json", "model.keras", "run.json"),
    "energy": ("log", "loss_a.txt", "test_a.txt", "args_a.json", "states_a.npz", "model.keras", "masks.npz"),
}
PRUNERS = ("snip", "synflow", "lamp", "random/erk", "random/igq", "magnitude/global", "magnitude/erk", "snip/iterative")


def places(family: str, count: int) -> Iterator[tuple[str, str, int | None, dict]]:
    """Folder, prefix, number and settings of each network."""
    for index in range(count):
        match family:
            case "one_shot":
                rest, sample = divmod(index, 5)
                rest, exponent = divmod(rest, 20)
                kind, pruner = ("direct", "effective")[rest // 8 % 2], PRUNERS[rest % 8]
                network = f"vgg{rest // 16}"
                told = {"architecture": network, "pruner": pruner, "sample": str(sample), "pruning_type": kind}
                told |= {"compression": round(10 ** (exponent / 5), 6), "data": "cifar10", "iterations": 62500}
                yield f"{network}/{pruner}/{kind}", f"{sample}_{told['compression']:.6g}", None, told
            case "lottery":
                rest, level = divmod(index, 20)
                run, replicate = divmod(rest, 5)
                groups = {"model": {"model_name": "cifar_resnet_20"}, "dataset": {"dataset_name": "cifar10"}}
                groups |= {"training": {"lr": 0.1 * (run + 1)}, "pruning": {"pruning_fraction": 0.2}}
                place = f"lottery_{run:032x}/replicate_{replicate + 1}/level_{level}/main"
                yield place, "", None, groups | {"replicate": replicate + 1}
            case "imp":
                run, level = divmod(index, 20)
                told = {"arch": "f1000:f1000:f1000:x", "dataset": "mnist", "seed": run, "prune_ratio": 0.3}
                yield f"run_{run}", "IMP", level, told
            case "filters":
                run, version = divmod(index, 20)
                told = {"scoring": "l2", "version": f"v{version}", "p": [0.5] * 13, "seed": run}
                unpruned = {"model": "vgg16", "data": "cifar10", "seed": run}
                yield f"vgg_{run}/finetuned/l2/v{version}", "", None, told | {"unpruned": unpruned}
            case "energy":
                yield f"run_{index}", "", None, {"nnmodel": "resnet18", "dataset": "cifar10", "seed": index}


def result(family: str, settings: dict, seed: int, level: int | None) -> Result:
    layers = {
        f"block_{n}/conv/kernel": {"weights": 9216, "kept": 900 - n, "effective": 800} for n in range(LAYERS[family])
    }
    sums = {name: sum(layer[name] for layer in layers.values()) for name in ("weights", "kept", "effective")}
    counts = {f"{name}{end}": 10_000_000 // by for name in ("parameters", "flops") for end, by in ENDS.items()}
    facts = {"digest": "0123abcd", "method": settings.get("pruner", "magnitude"), "seed": seed % 5, "level": level}
    more = {"target_sparsity": 0.9, "ratios": [0.5, 0.7, 0.9]}
    measured = {"accuracy": 0.9 - seed * 1e-5, "loss": 0.4, "steps": 62500, "seconds": 812.5, "versions": "tfprune 0.1"}
    return Result(family, f"{family} {seed}", settings, layers=layers, more=more, **facts, **sums, **counts, **measured)


ENDS = {"": 1, "_masked": 10, "_compacted": 8}


def make(root: Path, networks: int) -> int:
    """The folders; gives the number of networks."""
    made = 0
    for family, share in SHARES.items():
        for index, (place, prefix, number, settings) in enumerate(places(family, share * networks // 7000)):
            folder = root / family / place
            folder.mkdir(parents=True, exist_ok=True)
            start = f"{prefix}_" if prefix else ""
            write(result_path(folder, prefix, number), result(family, settings, index, number))
            names = [f"IMP_itdata_{number}.pkl"] if family == "imp" else [start + name for name in FILES[family]]
            for name in names:
                (folder / name).touch()
            made += 1
    return made


def write(path: Path, of: Result) -> None:
    """As `write_result`, without waiting for the disk."""
    content = {name: value for name, value in vars(replace(of)).items() if name != "more"}
    path.write_text(json.dumps({"tfprune_result": 1, **content, **of.more}, indent=1) + "\n")


def bare(root: Path) -> int:
    found = 0
    for folder, _, files in os.walk(root):
        for name in filter(is_result_name, files):
            found += "family" in json.loads(Path(folder, name).read_text())
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=7000)
    networks = parser.parse_args().networks
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "runs")
        made = make(root, networks)
        seconds, clock, sizes = {}, {}, {}

        def timed(name, function, *arguments):
            began, began_clock = time.process_time(), time.perf_counter()
            value = function(*arguments)
            seconds[name] = round(time.process_time() - began, 3)
            clock[name] = round(time.perf_counter() - began_clock, 3)
            return value

        assert timed("bare", bare, root) == made
        table = timed("table", overview_table, root)
        assert len(table) == made and table["layers"].notna().all()
        for name, write_table in (("csv", write_csv), ("parquet", write_parquet)):
            path = Path(folder, f"table.{name}")
            timed(name, write_table, path, table)
            sizes[name] = path.stat().st_size
    told = {"benchmark": "results_collecting", "networks": made, "limit": LIMIT, "seconds": seconds, "clock": clock}
    print(json.dumps(told | {"ratio": round(seconds["table"] / seconds["bare"], 2), "bytes": sizes}))
    return int(seconds["table"] > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
