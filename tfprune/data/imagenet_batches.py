"""Downsampled ImageNet in its published files: `train_data_batch_1` .. `_10` and `val_data`.

Each is a pickled dict with `data` uint8 (N, 3·s·s) in order c, y, x, `labels` a list of N integers 1 .. 1000, and in
the training files `mean` float (3·s·s,). Reference: Chrabaszcz, Loshchilov & Hutter 2017, arXiv 1707.08819.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfprune.data.limits import check_val_size, train_count
from tfprune.data.rows import Rows, Source, empty_rows
from tfprune.errors import InputError
from tfprune.records.pickles import is_mapped, load_pickle

CLASSES = 1000
TRAIN_TOTAL = 1_281_167
"""Training images of the complete set, of which the original code takes its share even if files are missing."""

_TRAIN_FILES = 10
_MAP_FROM = 1 << 20


class Batch(NamedTuple):
    """One file: uint8 rows (N, D), int32 labels (N,) from 0, mean float32 (D,) or None where the file has none."""

    rows: np.ndarray
    labels: np.ndarray
    mean: np.ndarray | None


def load_imagenet(side: int, folder: str | Path, preload: bool, data_ratio: float, val_size: int) -> Source:
    """Loads the first int(data_ratio · total) training images in file order, and the first `val_size` of `val_data`.

    `total` is what the ten files hold. If files are missing it is 1,281,167, and those needed must be there. The mean
    is the one stored in the first file, as in Pellegrini & Biroli's code.

    Args:
        side: 32 or 64.
        folder: where the files lie.
        preload: True reads the images into memory once; False leaves them in the files and maps them.
        data_ratio: share of the training images, clipped to [0, 1].
        val_size: number of validation images.

    Raises:
        InputError: a file is missing, damaged, of another format or size, or holds too few images.
    """
    folder, width = Path(folder), 3 * side * side
    check_files(folder)
    validation = read_batch(folder / "val_data", width)
    check_val_size(val_size, len(validation.labels), f"{folder / 'val_data'}")
    counts = _counts(folder, width, data_ratio)
    take = _in_memory if preload else _in_files
    mean = read_batch(_train_file(folder, 1), width).mean
    if mean is None:
        raise InputError(f"{_train_file(folder, 1)}: has no entry 'mean' with {width} numbers")
    return Source(
        train=take((read_batch(_train_file(folder, i), width) for i in range(1, len(counts) + 1)), counts, width),
        validation=take(iter([validation]), [val_size], width),
        mean=mean,
        scale=1 / 255,
        image_shape=(3, side, side),
        classes=CLASSES,
        mapped=not preload,
    )


def check_files(folder: str | Path) -> None:
    """Refuses a folder that lacks the files that every run needs; looks into none of them.

    Raises:
        InputError: names the folder or the file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"[Data] dataloc = {folder}: no such folder, it should hold train_data_batch_1 and val_data")
    for path in (folder / "val_data", _train_file(folder, 1)):
        if not path.exists():
            raise InputError(f"cannot read {path}: No such file or directory")


def read_batch(path: str | Path, width: int) -> Batch:
    """Reads one file; its rows stay in the file and are mapped where the pickle's protocol allows it (3 and above).

    Raises:
        InputError: missing, damaged or hostile file, rows of another width, labels that are missing or out of range.
    """
    content = load_pickle(path, encoding="bytes", map_from=_MAP_FROM)
    if not isinstance(content, dict):
        raise InputError(f"{path}: a dict with 'data' and 'labels' is needed, not a {type(content).__name__}")
    content = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in content.items()}
    missing = [name for name in ("data", "labels") if name not in content]
    if missing:
        raise InputError(f"{path}: has no entry {missing[0]!r}, a dict with 'data' and 'labels' is needed")
    rows = content["data"]
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != width:
        came = f"{rows.dtype} {rows.shape}" if isinstance(rows, np.ndarray) else type(rows).__name__
        raise InputError(f"{path}: 'data' must be uint8 rows of {width} numbers, came {came}")
    labels = _labels(content["labels"], len(rows), path)
    return Batch(rows, labels, _mean(content.get("mean"), width, path))


def _train_file(folder: Path, number: int) -> Path:
    return folder / f"train_data_batch_{number}"


def _counts(folder: Path, width: int, data_ratio: float) -> list[int]:
    """How many rows are used of each training file, from the first; files that aren't needed are left out."""
    files = [_train_file(folder, i) for i in range(1, _TRAIN_FILES + 1)]
    missing = [file for file in files if not file.exists()]
    held = [len(read_batch(file, width).labels) for file in files[: files.index(missing[0]) if missing else None]]
    wanted = train_count(data_ratio, TRAIN_TOTAL if missing else sum(held))
    if wanted > sum(held):
        raise InputError(
            f"{missing[0]}: no such file; [Data] data_ratio = {data_ratio} of {TRAIN_TOTAL} images is {wanted}, "
            f"the files before it hold {sum(held)}"
        )
    counts = []
    for count in held:
        counts.append(min(count, wanted - sum(counts)))
        if sum(counts) == wanted:
            return counts
    raise AssertionError("unreachable: the files hold enough")


def _in_memory(batches: Iterator[Batch], counts: list[int], width: int) -> Rows:
    """Copies the rows into one array; one file at a time is open."""
    rows, labels, at = empty_rows(sum(counts), width), [], 0
    for count in counts:
        batch = next(batches)
        rows[at : at + count] = batch.rows[:count]
        labels.append(batch.labels[:count])
        at += count
        del batch  # unmaps the file before the next one is opened
    return Rows([rows], np.concatenate(labels))


def _in_files(batches: Iterator[Batch], counts: list[int], width: int) -> Rows:
    parts, labels = [], []
    for count in counts:
        batch = next(batches)
        rows = batch.rows[:count]
        parts.append(rows if is_mapped(rows) else _spilled(rows))
        labels.append(batch.labels[:count])
        del batch, rows
    return Rows(parts, np.concatenate(labels))


def _spilled(rows: np.ndarray) -> np.ndarray:
    """The rows in a temporary file without a name. A pickle of protocol 2 holds them as text: nothing to be mapped."""
    try:
        with tempfile.TemporaryFile() as file:
            file.write(memoryview(np.ascontiguousarray(rows)).cast("B"))
            file.flush()
            return np.memmap(file, np.uint8, "r", shape=rows.shape)
    except OSError as error:
        raise InputError(
            f"cannot write a temporary file in {tempfile.gettempdir()}: {error.strerror}; "
            "set TMPDIR, or [Data] preload = yes"
        ) from error


def _labels(labels: object, count: int, path: str | Path) -> np.ndarray:
    # NumPy is not asked what a list holds: one whose parts are shared lists has no end for it.
    if isinstance(labels, list | tuple) and all(type(label) is int and abs(label) < 2**31 for label in labels):
        labels = np.array(labels, np.int64)
    array = labels if isinstance(labels, np.ndarray) else np.array(None)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and len(array)):
        raise InputError(f"{path}: 'labels' must be a list of whole numbers from 1 to {CLASSES}")
    if len(array) != count:
        raise InputError(f"{path}: has {len(array)} labels for {count} rows of 'data'")
    wrong = np.flatnonzero((array < 1) | (array > CLASSES))
    if len(wrong):
        raise InputError(f"{path}: label {wrong[0] + 1} is {array[wrong[0]]}, allowed are 1 to {CLASSES}")
    return array.astype(np.int32) - 1


def _mean(mean: object, width: int, path: str | Path) -> np.ndarray | None:
    if mean is None:
        return None
    array = np.asarray(mean) if isinstance(mean, np.ndarray | np.number | float) else np.empty(0)
    if array.shape in ((), (width,)) and array.dtype.kind in "fiu":
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
        if np.isfinite(array).all():
            return np.broadcast_to(array, (width,)).copy()
    raise InputError(f"{path}: 'mean' must be {width} finite numbers")
