"""The files of a run of one-shot pruning: names and contents of the published code, NumPy arrays without pickles."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tfprune.errors import InputError
from tfprune.records.atomic import atomic_write, atomic_write_bytes, atomic_write_text
from tfprune.records.object_arrays import read_object_array
from tfprune.records.run_folder import RunFolder

SPARSITIES = ("sparsities_direct", "sparsities_effective_synflow", "sparsities_effective_custom")
INITS, FINAL = "inits", "final_weights"
RESULT = "result.json"
_RESULTS = (
    *(f"{name}.npy" for name in (*SPARSITIES, "accuracies", "losses")),
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
        prefix: `<sample>_<compression>`.
        dense: folder of the dense runs, beside which the numbers of weights are written.
    """

    elsewhere = "another --out_path"

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
            self._write_record({**self._record(), "finished": "masks"})

    def write_array(self, name: str, values: Sequence[float] | np.ndarray) -> None:
        """Writes `<prefix>_<name>.npy`."""
        write_array(self.path(f"{name}.npy"), np.asarray(values))

    def write_weights(self, name: str, kernels: Mapping[str, np.ndarray]) -> None:
        """Writes `<prefix>_<name>.npz`: path -> kernel, in network order."""
        buffer = io.BytesIO()
        np.savez(buffer, **kernels)
        atomic_write_bytes(self.path(f"{name}.npz"), buffer.getbuffer())

    def write_result(self, values: Mapping[str, object]) -> None:
        """Writes `<prefix>_result.json`: what was asked for and what was reached, as JSON values."""
        atomic_write_text(self.path(RESULT), json.dumps(values, indent=1, ensure_ascii=False) + "\n")

    def read_result(self) -> dict:
        """What `write_result` wrote; empty where nothing was written.

        Raises:
            InputError: the file is damaged.
        """
        path = self.path(RESULT)
        try:
            return dict(json.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, RecursionError):
            raise InputError(f"{path}: not the result of a run; delete it and the masks to prune again") from None

    def write_counts(self, counts: Sequence[int]) -> None:
        """Writes `counts.npy`, the number of weights of each kernel, into the folder of dense runs.

        Raises:
            InputError: a file of another network is there.
        """
        path = self.dense / "counts.npy"
        self.dense.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_array(path, np.array(counts, np.int64))
        elif list(found := read_array(path)) != list(counts):
            raise InputError(
                f"{path} counts {found.astype(int).tolist()} weights, this network has {list(counts)}: another --data "
                "needs another --out_path"
            )

    def _has_work(self) -> bool:
        return any(self.path(name).exists() for name in (*_RESULTS, "checkpoint.npz"))

    def _foreign(self) -> str:
        found = [name for name in _RESULTS if self.path(name).exists()]
        return f"results ({', '.join(found)})" if found else ""

    def _clear(self) -> None:
        for name in ("run.json", *_RESULTS, "checkpoint.npz"):
            self.path(name).unlink(missing_ok=True)


def write_array(path: str | Path, values: np.ndarray) -> None:
    """Writes a `.npy` file of numbers, atomically."""
    atomic_write(path, lambda file: np.save(file, values, allow_pickle=False))


def read_array(path: str | Path) -> np.ndarray:
    """Reads a one-dimensional `.npy` file of numbers, ours or the published code's.

    Raises:
        InputError: missing, damaged or foreign file.
    """
    try:
        values = np.load(path, allow_pickle=False)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"cannot read {path}: not a .npy file of numbers ({error})") from None
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind not in "fiu":
        raise InputError(f"cannot read {path}: not a list of numbers")
    return values.astype(np.float64)


def dense_file(folder: str | Path, sample: str, name: str) -> Path | None:
    """`<sample>_1_<name>` of a dense run, ours (`.npz`) or the published code's (`.npy`); None if there is neither."""
    for ending in ("npz", "npy"):
        path = Path(folder, f"{sample}_1_{name}.{ending}")
        if path.exists():
            return path
    return None


def is_unfinished(folder: str | Path, prefix: str) -> bool:
    """Whether a run of ours was begun there and has not come to its end; the published code leaves no record."""
    path = Path(folder, f"{prefix}_run.json")
    try:
        return json.loads(path.read_text("utf-8"))["finished"] is not True
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not the record of a run; delete it to start anew") from None


def read_dense_weights(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Kernels of a dense run.

    Args:
        path: from `dense_file`.
        shapes: path -> shape of every kernel of the network, in order.

    Raises:
        InputError: a damaged file, or one of another network.
    """
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as arrays:
                found = [arrays[name] for name in arrays.files]
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"cannot read {path}: {error}") from None
    else:
        found = read_object_array(path)
    came = [tuple(array.shape) for array in found]
    if came != list(shapes.values()):
        raise InputError(f"{path}: kernels of shapes {came}, this network has {list(shapes.values())}")
    return {name: np.asarray(array, np.float32) for name, array in zip(shapes, found, strict=True)}
