"""The files of a run of one-shot pruning: names and contents of the published code, NumPy arrays without pickles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tfprune.errors import InputError
from tfprune.experiments.one_shot.settings import OneShotSettings
from tfprune.records.arrays import Header, read_npy, read_npz, write_npy
from tfprune.records.object_arrays import read_object_array
from tfprune.records.reading import MissingInputError
from tfprune.records.run_folder import RECORD, Layout, RunFolder, file_of, read_record

DIRECT, EFFECTIVE = "sparsities_direct.npy", "sparsities_effective_{}.npy"
METHODS = ("synflow", "custom")  # of the published code, of which ours is the exact answer: the same numbers for both
ACCURACIES, LOSSES, COUNTS = "accuracies.npy", "losses.npy", "counts.npy"
INITS, FINAL = "inits", "final_weights"
MASKS = "masks.npz"
PRUNED = "masks"  # the stage at which everything of a run without training is there
EVALUATE_EVERY = 1000
LAYOUT = Layout(
    results=(
        *(DIRECT, *map(EFFECTIVE.format, METHODS), ACCURACIES, LOSSES, COUNTS, MASKS),
        *("result.json", "info.log", "layers.csv", f"{INITS}.npz", f"{FINAL}.npz", "training.png", "densities.png"),
    ),
    stages=(PRUNED,),
)


def evaluation_steps(number: int, steps: int) -> list[int]:
    """Before which steps the test set was measured, and after the last one: 0, 1000, ..., `steps`."""
    return [min(EVALUATE_EVERY * index, steps) for index in range(number)]


def write_counts(folder: RunFolder, dense: Path, counts: Sequence[int], published: bool) -> None:
    """Writes the number of weights of each kernel.

    Args:
        folder: of the run.
        dense: folder of the dense runs.
        counts: in network order.
        published: to `counts.npy` in the folder of dense runs, unless it is there and of another network; else to
            `<prefix>_counts.npy`.
    """
    path, array = dense / COUNTS, np.array(counts, np.int64)
    if published:
        dense.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_npy(path, array)
    if not published or read_array(path).tolist() != list(counts):
        write_npy(folder.path(COUNTS), array)


def read_array(path: str | Path) -> np.ndarray:
    """Reads a one-dimensional `.npy` file of numbers, ours or the published code's.

    Raises:
        InputError: missing, damaged or foreign file.
    """
    values = read_npy(path, kinds="fiu")
    if values.ndim != 1:
        raise InputError(f"cannot read {path}: not a list of numbers, but of shape {values.shape}")
    return values.astype(np.float64)


def recorded(folder: str | Path, prefix: str) -> dict | None:
    """The record of a run, `input` and `finished`; None where there is none, as the published code leaves it.

    Raises:
        InputError: a damaged one.
    """
    try:
        return read_record(folder, LAYOUT, prefix)
    except MissingInputError:
        return None
    except InputError as error:
        raise InputError(f"{error}; delete it to start anew") from None


def run_prefix(settings: OneShotSettings) -> str:
    """Beginning of a run's file names: its name, or the rounded one where earlier versions left an equal run under it.

    Raises:
        InputError: a damaged record.
    """
    name, rounded = settings.prefix, settings.rounded_prefix
    if name == rounded or file_of(settings.folder, RECORD, name).exists():
        return name
    found = recorded(settings.folder, rounded)
    return name if found is None or settings.differing(found["input"]) else rounded


def dense_file(dense: OneShotSettings, name: str) -> Path | None:
    """`<prefix>_<name>` of a dense run, ours (`.npz`) or, without record, the published code's (`.npy`).

    Returns:
        None where there is neither.

    Raises:
        InputError: a damaged record.
    """
    prefix = run_prefix(dense)
    found = recorded(dense.folder, prefix)
    if found is not None and dense.differing(found["input"]):
        return None
    paths = (file_of(dense.folder, f"{name}.{ending}", prefix) for ending in ("npz", "npy"))
    return next((path for path in paths if path.exists()), None)


def read_dense_weights(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Kernels of a dense run.

    Args:
        path: from `dense_file`.
        shapes: path -> shape of every kernel of the network, in order.

    Raises:
        InputError: a damaged file, or one of another network.
    """
    expected = list(shapes.values())

    def check(came: list[tuple[int, ...]]) -> None:
        if came != expected:
            raise InputError(f"{path}: kernels of shapes {came[:100]}, this network has {expected}")

    if path.suffix == ".npz":

        def check_headers(headers: Mapping[str, Header]) -> None:
            check([header.shape for header in headers.values()])

        most = 8 * sum(map(math.prod, expected))
        found = list(read_npz(path, check=check_headers, most=most, what="a file of weights").values())
    else:
        found = read_object_array(path)
        check([array.shape for array in found])
    return {name: _float32(path, array) for name, array in zip(shapes, found, strict=True)}


def _float32(path: Path, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "c":
        raise InputError(f"{path}: kernels must be real numbers. Received: {array.dtype}")
    return np.asarray(array, np.float32)
