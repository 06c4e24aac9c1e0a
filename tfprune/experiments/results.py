"""The results of any runs as one table: of all systems, of earlier versions, and of the original codes.

A run leaves a `result.json` for each network (`tfprune.records.result`). What has none is read by its system's
`originals.py`: `find(listing)` gives, for each network in a folder, whose code made it, `OURS` or `ORIGINAL`, its
`Result`, and the name of the file there that tells of it.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from tfprune.errors import InputError
from tfprune.records.listing import Listing
from tfprune.records.result import (
    COUNTED,
    NUMBERS,
    OURS,
    WHOLE,
    Result,
    find_result,
    is_result_name,
    tolerated,
)

Found = tuple[str, Result, str]
_DENSITIES = ("density", "effective_density")
COLUMNS = (
    *("family", "label", "seed", "level", "version", "method"),
    *COUNTED[:3],
    *_DENSITIES,
    *COUNTED[3:],
    *(
        "accuracy",
        "loss",
        "steps",
        "seconds",
        "engine",
        "kept_layers",
        "digest",
        "settings",
        "layers",
        "versions",
        "more",
    ),
    *("folder", "file", "source"),
)


def read_results(*roots: str | Path) -> pd.DataFrame:
    """One row for every trained network below one folder or several, whatever systems made them.

    Also read are runs of earlier versions of this package, and the files of the original codes:
    `<prefix>_itdata_<k>.pkl` of iterative magnitude pruning, `<sample>_<compression>_sparsities_direct.npy` of
    effective sparsity, OpenLTH's folders `lottery_<digest>` and `train_<digest>`, `vgg_<scoring>_<data>_metrics.json`
    of filter pruning, and `args_<name>.json` with `loss_<name>.txt` of energy-based pruning.

    Args:
        *roots: folders, searched to any depth.

    Returns:
        A row per network, by folder, in these columns; what was not measured, or is not known, is missing, never 0.

        - `family`: the system, `imp`, `one_shot`, `lottery`, `filters`, `energy` or another one's name; `label`: the
          network in a few words; `seed`: seed, sample or replicate; `level`: number of prunings; `version`; `method`:
          pruner, scoring or branch.
        - `weights`, `kept`, `effective`: numbers of prunable weights, of those kept, of those that are effective, too;
          `density`, `effective_density`: as fractions of `weights`, in [0, 1].
        - `parameters`, `parameters_masked`, `parameters_compacted`, and `flops` alike: of the dense network, of what
          the masks keep, and of the network that `tfprune.compact` makes; two floating-point operations for each
          prunable weight and position of one example.
        - `accuracy`, in [0, 1], and `loss`, in nats: on the test images at the end of the training.
        - `steps`, `seconds`: of the training; `engine`: `dense`, or `sparse` where layers were computed by their kept
          weights alone, and `kept_layers`, how many.
        - `digest`: tells studies apart; `settings`: a dict; `layers`: a dict, path of a kernel -> its `weights`, `kept`
          and `effective`; `versions`: of the packages; `more`: a dict of what the system tells beside; `folder`: where
          it lies, and `file`: which one there the row is from; `source`: `tfprune` or `original`.

    Raises:
        InputError: there is no such folder, or it is no path. A damaged file in it costs its own row and a warning
            that names it.
    """
    rows = [
        {"folder": str(folder), "file": file, "source": source} | _values(result)
        for folder, files in _folders(roots)
        for source, result, file in _found(folder, files)
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    kinds = dict.fromkeys(WHOLE, "Int64") | dict.fromkeys((*NUMBERS, *_DENSITIES), "float64")
    return table.astype(kinds)


def _folders(roots: Iterable[str | Path]) -> Iterator[tuple[Path, list[str]]]:
    seen = set()

    def unreadable(error: OSError) -> None:
        warnings.warn(f"cannot read {error.filename}: {error.strerror}", stacklevel=4)

    for root in roots:
        if not isinstance(root, str | Path):
            raise InputError(f"a folder of results must be text or a path. Received: {root!r:.80}")
        if not Path(root).is_dir():
            why = "it is no folder" if Path(root).exists() else "no such folder"
            raise InputError(f"cannot read results in {root}: {why}")
        for folder, names, files in os.walk(root, onerror=unreadable):
            names[:] = sorted((name for name in names if not name.startswith(".")), key=_by_number)
            if (place := _identity(folder)) not in seen:
                seen.add(place)
                yield Path(folder), files


def _identity(folder: str) -> object:
    """The same for two names of one folder."""
    try:
        status = os.stat(folder)
    except OSError:  # gone meanwhile
        return folder
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(folder)


def _found(folder: Path, files: list[str]) -> Iterator[Found]:
    results = set()
    for name in sorted(filter(is_result_name, files), key=_by_number):
        path = folder / name
        with tolerated(path):
            results.add(name)
            result = find_result(path)
            if result is None:
                results.remove(name)
            else:
                yield OURS, result, name
    listing = Listing(folder.absolute(), frozenset(files), frozenset(results))
    for find in _finders():
        with tolerated(listing.folder):
            yield from find(listing)


@cache
def _finders() -> list[Callable[[Listing], Iterable[Found]]]:
    from tfprune.experiments.family import FAMILIES

    names = [f"tfprune.experiments.{family.name}.originals" for family in FAMILIES.values()]
    return [import_module(name).find for name in names if find_spec(name)]


def _values(result: Result) -> dict[str, object]:
    names = (*(field.name for field in fields(result)), *_DENSITIES)
    return {name: getattr(result, name) for name in names}


def _by_number(name: str) -> list[tuple[int, str]]:
    """`level_10` after `level_2`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name)]
