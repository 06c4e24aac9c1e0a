"""Results of runs without result files, from the published ones: the original code's, and earlier versions' of ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.experiments.imp.files.iterations import iterations_among, read_iteration
from tfprune.experiments.imp.files.records import IterationRecord
from tfprune.experiments.imp.settings import defining, study_digest
from tfprune.records.listing import Listing
from tfprune.records.reading import MissingInputError
from tfprune.records.result import ORIGINAL, OURS, Result, result_path, tolerated
from tfprune.records.run_folder import Layout, read_record

_RECORD = Layout(())


def find(listing: Listing) -> Iterator[tuple[str, Result, str]]:
    """Whose code made an iteration in a folder, its result, and whence, where it left no result file.

    `accuracy` is that on the validation images, which are the published code's test images; `steps` are those that the
    recorded weights have seen.
    """
    folder = listing.folder
    for prefix, iterations in iterations_among(listing.names).items():
        alone = {k: folder / name for k, name in iterations.items()}
        alone = {k: path for k, path in alone.items() if result_path("", prefix, k).name not in listing.names}
        if alone:
            with tolerated(folder / f"{prefix}_run.json"):
                yield from _of_run(folder, prefix, alone)


def _of_run(folder: Path, prefix: str, iterations: dict[int, Path]) -> Iterator[tuple[str, Result, str]]:
    try:
        source, settings = OURS, read_record(folder, _RECORD, prefix)["input"]
    except MissingInputError:
        source, settings = ORIGINAL, {}
    key = study_digest(settings) if settings else None
    study = {"settings": defining(settings), "seed": settings.get("seed"), "digest": key}
    for k, path in iterations.items():
        with tolerated(path):
            record = read_iteration(path)
            facts = _facts(record) | counted(record)
            yield source, Result("imp", f"level {k}", **study, level=k, **facts), path.name


def _facts(record: IterationRecord) -> dict[str, Any]:
    last, best = (1 - float(error) for error in (record.validation_errors[-1], min(record.validation_errors)))
    more = {"best_accuracy": best, "ratios": [float(ratio) for ratio in record.ratios]}
    return {"method": "magnitude", "accuracy": last, "steps": record.steps[-1], "more": more}


def counted(record: IterationRecord) -> dict[str, Any]:
    """What the masks and weights of an iteration count, by the names of `Result`.

    Where a network has convolutions, what depends on the size of the images is None: the files do not tell it.
    """
    kernels = {path: mask for path, mask in record.masks.items() if path.endswith("/kernel")}
    dense = all(layer.kind in "fx" for layer in record.layers)
    effective = _effective(list(kernels.values())) if dense else [None] * len(kernels)
    layers = {
        path: {"weights": mask.size, "kept": int(np.count_nonzero(mask)), "effective": alive}
        for (path, mask), alive in zip(kernels.items(), effective, strict=True)
    }
    weights, kept = (sum(layer[name] for layer in layers.values()) for name in ("weights", "kept"))
    parameters = sum(array.size for array in record.weights[-1].values())
    gone = record.masks.size - record.masks.kept
    return {
        "weights": weights,
        "kept": kept,
        "effective": sum(effective) if dense else None,
        "parameters": parameters,
        "parameters_masked": parameters - gone,
        "flops": 2 * weights if dense else None,
        "flops_masked": 2 * kept if dense else None,
        "layers": layers,
    }


def _effective(kernels: Sequence[np.ndarray]) -> list[int]:
    """Number of weights of each of a chain of dense layers that lie on a path from an input to an output.

    Args:
        kernels: bool (inputs, units) each.
    """
    reached = [np.ones(len(kernels[0]), bool)]
    for kernel in kernels:
        reached.append(kernel[reached[-1]].any(axis=0))
    needed, counts = np.ones(kernels[-1].shape[1], bool), []
    for kernel, alive in zip(reversed(kernels), reversed(reached[:-1]), strict=True):
        counts.append(int(np.count_nonzero(kernel[np.ix_(alive, needed)])))
        needed = kernel[:, needed].any(axis=1)
    return counts[::-1]
