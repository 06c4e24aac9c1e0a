"""Masks on disk: one `.npz` without pickles, one bit per weight, in the order of the network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tfprune.records.arrays import read_npz, write_npz
from tfprune.records.reading import readable

_VERSION = 1
_WHAT = "a mask file"
_KEYS = {"tfprune_masks", "paths", "shapes", "bits"}


def write_masks(path: str | Path, masks: Mapping[str, np.ndarray]) -> None:
    """Writes bool arrays atomically; the same masks give the same bytes.

    The file holds `tfprune_masks` (version), `paths` (unicode), `shapes` (int64, one row per mask, filled up with −1)
    and `bits` (uint8: all masks flattened in C order, concatenated, eight per byte, the first in the highest bit).

    Raises:
        InputError: the file cannot be written.
    """
    rank = max((mask.ndim for mask in masks.values()), default=0)
    shapes = np.full((len(masks), rank), -1, np.int64)
    for row, mask in zip(shapes, masks.values(), strict=True):
        row[: mask.ndim] = mask.shape
    flat = [np.ravel(mask) for mask in masks.values()]
    content = {
        "tfprune_masks": np.int64(_VERSION),
        "paths": np.array(list(masks), dtype=np.str_),
        "shapes": shapes,
        "bits": np.packbits(np.concatenate(flat) if flat else np.zeros(0, bool)),
    }
    write_npz(path, content)


def read_masks(path: str | Path) -> dict[str, np.ndarray]:
    """Reads what `write_masks` wrote.

    Returns:
        Path -> bool array, in the order written.

    Raises:
        InputError: a missing, damaged or foreign file; nothing in it is ever executed.
    """
    content = read_npz(path, _KEYS, kinds="iuU", what=_WHAT)
    with readable(path, _WHAT):
        return _unpack(**content)


def _unpack(tfprune_masks, paths, shapes, bits) -> dict[str, np.ndarray]:
    if tfprune_masks.shape != () or tfprune_masks != _VERSION:
        raise ValueError(f"version {tfprune_masks} is not {_VERSION}")
    if paths.dtype.kind != "U" or paths.ndim != 1 or len(set(paths.tolist())) != len(paths):
        raise ValueError("paths must be different names")
    if shapes.dtype != np.int64 or shapes.ndim != 2 or len(shapes) != len(paths) or bits.dtype != np.uint8:
        raise ValueError("shapes or bits have the wrong form")
    sizes = [[int(entry) for entry in row if entry != -1] for row in shapes]
    if any(entry < 0 for row in sizes for entry in row):
        raise ValueError("a shape is negative")
    # Python integers: a product of hostile shapes must not wrap around.
    counts = [_product(row) for row in sizes]
    if bits.ndim != 1 or len(bits) != -(-sum(counts) // 8):
        raise ValueError(f"{sum(counts)} weights need {-(-sum(counts) // 8)} bytes, there are {bits.size}")
    flat = np.unpackbits(bits, count=sum(counts)).view(bool)
    ends = np.cumsum([0, *counts])
    return {
        str(path): flat[start:end].reshape(shape)
        for path, shape, start, end in zip(paths, sizes, ends[:-1], ends[1:], strict=True)
    }


def _product(numbers: list[int]) -> int:
    result = 1
    for number in numbers:
        result *= number
    return result
