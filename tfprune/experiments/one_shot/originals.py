"""Results of runs without result files, from the published ones: the original code's, and earlier versions' of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.errors import InputError
from tfprune.experiments.one_shot.files import ACCURACIES, COUNTS, DIRECT, EFFECTIVE, METHODS, read_array, recorded
from tfprune.experiments.one_shot.names import NAME
from tfprune.experiments.one_shot.settings import DENSE, study_digest
from tfprune.records.listing import Listing
from tfprune.records.reading import MissingInputError
from tfprune.records.result import ORIGINAL, OURS, Result, result_path, tolerated

_RUN = re.compile(rf"(?P<prefix>{NAME.pattern})_(?:{re.escape(DIRECT)}|{re.escape(ACCURACIES)})")
_TYPES = ("direct", "effective")
_GROUPS = ("random", "magnitude", "snip", "tfmot")  # of pruners that are named `<group>/<name>`


def find(listing: Listing) -> Iterator[tuple[str, Result, str]]:
    """Whose code pruned a network in a folder, its result, and whence, where it left no result file.

    They lie in `<out_path>/<architecture>/<pruner>/<pruning type>` and `<out_path>/<architecture>/dense`. The losses in
    the files hold the weight decay, so `loss` is None. The original tests every 1,000 steps and not at the end.
    """
    folder, settings = listing.folder, _settings(listing.folder)
    if settings is None:
        return
    found = {match["prefix"]: match for name in sorted(listing.names) if (match := _RUN.fullmatch(name))}
    for prefix, match in sorted(found.items()):
        if result_path("", prefix).name not in listing.results:
            with tolerated(folder / f"{prefix}_*.npy"):
                told = settings | {"compression": float(match["compression"])}
                yield from _of_run(folder, match, told)


def _of_run(folder: Path, name: re.Match, settings: dict[str, Any]) -> Iterator[tuple[str, Result, str]]:
    prefix, sample = name["prefix"], name["sample"]
    source, key, steps, record = ORIGINAL, None, None, recorded(folder, prefix)
    if record is not None and not record["finished"]:
        return
    if record is not None:
        source, settings = OURS, record["input"]
        key, steps = study_digest(settings), settings.get("iterations")
    pruner = settings.get("pruner")
    asked = settings.get("compression")
    if type(asked) not in (int, float):
        raise InputError(f"cannot read {folder / f'{prefix}_run.json'}: compression must be a number")
    label = DENSE if pruner == DENSE else f"{pruner}, {settings.get('pruning_type')} compression {asked:.6g}"
    seed = int(sample) if sample.isdecimal() else sample
    reached = _reached(folder, prefix)
    steps = steps if "accuracy" in reached else None  # it may have been pruned alone
    study = {"settings": settings, "digest": key, "seed": seed, "method": pruner, "steps": steps}
    yield source, Result("one_shot", label, **study, **reached), name.string


def _settings(folder: Path) -> dict[str, Any] | None:
    """What the names of the folders above tell; None where they are no run's."""
    if folder.name == DENSE:
        return {"architecture": folder.parent.name, "pruner": DENSE}
    if folder.name not in _TYPES:
        return None
    pruner, above = folder.parent.name, folder.parent.parent
    if above.name in _GROUPS:
        pruner, above = f"{above.name}/{pruner}", above.parent
    return {"architecture": above.name, "pruner": pruner, "pruning_type": folder.name}


def _reached(folder: Path, prefix: str) -> dict[str, int | float | None]:
    counts, direct, effective = layer_arrays(folder, prefix)
    accuracies = _read(folder / f"{prefix}_{ACCURACIES}", 1.0)
    found: dict[str, int | float | None] = {"weights": None if counts is None else int(counts.sum())}
    for name, sparsities in (("kept", direct), ("effective", effective)):
        if counts is not None and sparsities is not None:
            found[name] = int(np.round(counts * (1 - sparsities)).sum())
    # Of a network without a path the original notes the accuracy of guessing, and measures nothing.
    guessed = found.get("effective") == 0 and accuracies is not None and len(accuracies) == 1
    if accuracies is not None and len(accuracies) and not guessed:
        found["accuracy"] = float(accuracies[-1])
    return found


def layer_arrays(folder: Path, prefix: str) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Number of weights, direct and effective sparsity of each kernel, float64; None each where no file tells it.

    Raises:
        InputError: a damaged file, or files that do not fit together.
    """
    names = (DIRECT, EFFECTIVE.format(METHODS[0]))
    counts, sparsities = _counts(folder, prefix), [_read(folder / f"{prefix}_{name}", 1.0) for name in names]
    for part in sparsities:
        if counts is not None and part is not None and len(counts) != len(part):
            raise InputError(f"{folder}: {prefix} has {len(part)} layers, its counts.npy has {len(counts)}")
    return counts, sparsities[0], sparsities[1]


def _counts(folder: Path, prefix: str) -> np.ndarray | None:
    """Number of weights of each kernel: of the run itself, or of the dense runs.

    The original begins the file's name with the dense run's prefix, we leave that out.
    """
    dense = [folder] if folder.name == DENSE else [above / DENSE for above in folder.parents[1:3]]
    shared = (path for top in dense for path in (top / COUNTS, *sorted(top.glob(f"*_1_{COUNTS}"))))
    for path in (folder / f"{prefix}_{COUNTS}", *shared):
        if (counts := _read(path, 2.0**40)) is not None:
            return counts
    return None


def _read(path: Path, most: float) -> np.ndarray | None:
    try:
        values = read_array(path)
    except MissingInputError:
        return None
    if not ((values >= 0) & (values <= most)).all():
        raise InputError(f"cannot read {path}: a list of numbers in [0, {most:g}] is needed")
    return values
