"""The files of a run of one-shot pruning: names and contents of the published code, NumPy arrays without pickles."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tfprune.errors import InputError
from tfprune.experiments.one_shot.names import is_of
from tfprune.experiments.one_shot.settings import OneShotSpec, dense_spec, differing_flags
from tfprune.records.arrays import Header, read_npy, read_npz, write_npy, write_npz
from tfprune.records.atomic import atomic_write_text
from tfprune.records.object_arrays import read_object_array
from tfprune.records.reading import MissingInputError, read_json
from tfprune.records.run_folder_old import RunFolder, read_record

SPARSITIES = ("sparsities_direct", "sparsities_effective_synflow", "sparsities_effective_custom")
INITS, FINAL = "inits", "final_weights"
_PRUNED = "masks"
_ENDS = (False, True, _PRUNED)  # what `finished` may be in a record
RESULT, COUNTS = "result.json", "counts.npy"
_RESULTS = (
    *(f"{name}.npy" for name in (*SPARSITIES, "accuracies", "losses")),
    COUNTS,
    "info.log",
    "layers.csv",
    "masks.npz",
    RESULT,
    f"{INITS}.npz",
    f"{FINAL}.npz",
    "training.png",
    "densities.png",
)


class OneShotFolder(RunFolder):
    """Opens a folder for one run, alone; see `RunFolder`.

    Args:
        folder: of the runs of one pruner.
        prefix: of the run's files, see `run_prefix`.
        dense: folder of the dense runs, beside which the numbers of weights are written.
    """

    elsewhere = "another --out_path"
    ends = _ENDS

    def __init__(self, folder: str | Path, prefix: str, dense: str | Path):
        super().__init__(folder, prefix, named="--out_path: folder")
        self.dense = Path(dense)

    @property
    def pruned(self) -> bool:
        """Whether everything of a run without training is there."""
        return bool(self._record()["finished"])

    @property
    def finished(self) -> bool:
        """Whether everything of a run with training is there."""
        return self._record()["finished"] is True

    def mark_pruned(self) -> None:
        """Says so, for the next start."""
        if not self.finished:
            self._write_record({**self._record(), "finished": _PRUNED})

    def write_array(self, name: str, values: Sequence[float] | np.ndarray) -> None:
        """Writes `<prefix>_<name>.npy`."""
        write_npy(self.path(f"{name}.npy"), np.asarray(values))

    def write_weights(self, name: str, kernels: Mapping[str, np.ndarray]) -> None:
        """Writes `<prefix>_<name>.npz`: path -> kernel, in network order."""
        write_npz(self.path(f"{name}.npz"), kernels)

    def write_result(self, values: Mapping[str, object]) -> None:
        """Writes `<prefix>_result.json`: what was asked for and what was reached, as JSON values."""
        atomic_write_text(self.path(RESULT), json.dumps(values, indent=1, ensure_ascii=False) + "\n")

    def read_result(self) -> dict:
        """What `write_result` wrote; empty where nothing was written.

        Raises:
            InputError: the file is damaged.
        """
        try:
            return read_json(self.path(RESULT), "the result of a run")
        except MissingInputError:
            return {}

    def write_counts(self, counts: Sequence[int], published: bool) -> None:
        """Writes the number of weights of each kernel.

        Args:
            counts: in network order.
            published: to `counts.npy` in the folder of dense runs, unless it is there and of another network; else to
                `<prefix>_counts.npy`.
        """
        path = self.dense / COUNTS
        if published:
            self.dense.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                write_npy(path, np.array(counts, np.int64))
        if not published or read_array(path).tolist() != list(counts):
            write_npy(self.path(COUNTS), np.array(counts, np.int64))

    def _owns(self, name: str) -> bool:
        return is_of(name, self.prefix)

    def _has_work(self) -> bool:
        return any(self.path(name).exists() for name in (*_RESULTS, "checkpoint.npz"))

    def _foreign(self) -> str:
        found = [name for name in _RESULTS if self.path(name).exists()]
        return f"results ({', '.join(found)})" if found else ""

    def _clear(self) -> None:
        for name in ("run.json", *_RESULTS, "checkpoint.npz"):
            self.path(name).unlink(missing_ok=True)


def read_array(path: str | Path) -> np.ndarray:
    """Reads a one-dimensional `.npy` file of numbers, ours or the published code's.

    Raises:
        InputError: missing, damaged or foreign file.
    """
    values = read_npy(path, kinds="fiu")
    if values.ndim != 1:
        raise InputError(f"cannot read {path}: not a list of numbers, but of shape {values.shape}")
    return values.astype(np.float64)


def run_prefix(spec: OneShotSpec) -> str:
    """Beginning of a run's file names: its name, or the rounded one where earlier versions left an equal run under it.

    Raises:
        InputError: a damaged record.
    """
    if spec.prefix == spec.rounded_prefix or Path(spec.folder, f"{spec.prefix}_run.json").exists():
        return spec.prefix
    found = recorded(spec.folder, spec.rounded_prefix)
    return spec.prefix if found is None or differing_flags(spec, found["input"]) else spec.rounded_prefix


def dense_file(spec: OneShotSpec, name: str) -> Path | None:
    """`<prefix>_<name>` of the dense run that a spec needs, ours (`.npz`) or, without record, the published code's.

    Returns:
        None where there is neither.

    Raises:
        InputError: a damaged record.
    """
    dense = dense_spec(spec)
    prefix = run_prefix(dense)
    found = recorded(dense.folder, prefix)
    if found is not None and differing_flags(dense, found["input"]):
        return None
    paths = (Path(dense.folder, f"{prefix}_{name}.{ending}") for ending in ("npz", "npy"))
    return next((path for path in paths if path.exists()), None)


def is_unfinished(folder: str | Path, prefix: str) -> bool:
    """Whether a run of ours was begun there and has not come to its end; the published code leaves no record."""
    found = recorded(folder, prefix)
    return found is not None and found["finished"] is not True


def recorded(folder: str | Path, prefix: str) -> dict | None:
    """The record of a run, `input` and `finished`; None where there is none, as the published code leaves it.

    Raises:
        InputError: a damaged one.
    """
    try:
        return read_record(Path(folder, f"{prefix}_run.json"), ends=_ENDS)
    except MissingInputError:
        return None
    except InputError as error:
        raise InputError(f"{error}; delete it to start anew") from None


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
