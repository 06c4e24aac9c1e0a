"""Pickles from others, read without running anything, and our own, written the same for the same values.

What a pickle may say, and what its words mean here, stands in `pickle_vocabulary`.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.errors import InputError
from tfprune.records.atomic import atomic_write
from tfprune.records.pickle_scan import Buffer, scan
from tfprune.records.pickle_vocabulary import NumbersUnpickler
from tfprune.records.reading import open_file, readable

_PLAIN = (type(None), bool, int, float)


def load_pickle(path: str | Path, encoding: str = "ASCII", map_from: int | None = None) -> Any:
    """Reads a pickle of plain containers, numbers, text, bytes and NumPy arrays or scalars of numbers.

    Args:
        path: a file written by any Python and NumPy, protocols 0 to 5.
        encoding: how text of Python 2 is read; `"bytes"` leaves it as bytes.
        map_from: arrays of at least so many bytes (65,537 or more) are not read but mapped from the file, where its
            protocol holds them as bytes: 3 and above, and Python 2's 2 with `encoding="bytes"`. None maps nothing.

    Returns:
        The object. Its arrays are read-only.

    Raises:
        InputError: missing, empty, truncated or foreign file, or one that needs anything else than the above; the
            message names what. Nothing of the file is executed.
    """
    with open_file(path) as file, readable(path, "a pickle of NumPy arrays, numbers and plain containers"):
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise InputError(f"cannot read {path}: it is empty, a pickle is needed")
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # stays open while an array needs it
        large = scan(data, sys.maxsize if map_from is None else map_from, encoding)
        if not large:
            return NumbersUnpickler(file, encoding, size).load()
        stream = io.BytesIO(_without(data, large))
        parts = [memoryview(data)[buffer.offset :][: buffer.size] for buffer in large]
        return NumbersUnpickler(stream, encoding, size, parts).load()


def is_mapped(array: np.ndarray) -> bool:
    """Whether `load_pickle` mapped the array (or the one it is a view of) from its file instead of reading it."""
    base = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, memoryview) and isinstance(base.obj, mmap.mmap)


def save_pickle(path: str | Path, value: Any) -> None:
    """Writes `value` atomically as a pickle of protocol 4 whose bytes depend on its values and types alone.

    Python's pickler writes an object that occurs twice as a reference, so equal values give different bytes if one of
    them shares parts. Here containers are never shared and equal leaves always are. A dict's order counts as value.

    Args:
        path: the file to make or replace.
        value: lists, tuples, dicts, None, bool, int, float, str, bytes, NumPy arrays and scalars of numbers.

    Raises:
        TypeError: another type, or an array of objects, text or records.
        InputError: the file can't be written.
    """
    canonical = _Canonical().of(value)
    atomic_write(path, lambda file: pickle.Pickler(file, protocol=4).dump(canonical))


def _without(data: mmap.mmap, large: list[Buffer]) -> bytes:
    """The stream with each large bytes object replaced by the opcode that takes the next buffer handed in."""
    parts, position = [], 0
    for buffer in large:
        parts += data[position : buffer.start], pickle.NEXT_BUFFER
        position = buffer.offset + buffer.size
    return b"".join([*parts, data[position:]])


class _Canonical:
    """Copies a structure so that what its pickle shares is decided by the values, not by the caller's objects."""

    def __init__(self):
        self._leaves = {}

    def of(self, value: Any) -> Any:
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind is str:
            return sys.intern(value)  # the pickler itself writes interned strings, e.g. module names
        if kind is bytes:
            return self._leaves.setdefault(value, value)
        if kind in (list, tuple):
            return kind([self.of(item) for item in value])
        if kind is dict:
            return {self.of(key): self.of(item) for key, item in value.items()}
        if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufc":
            # One dtype object for equal dtypes; unpickled arrays bring their own copies.
            dtype = np.dtype(f"{value.dtype.kind}{value.dtype.itemsize}")
            array = np.array(value, dtype=dtype, order="C", copy=None).view(dtype, np.ndarray)
            if isinstance(value, np.ndarray):
                return array
            return self._leaves.setdefault((dtype.str, array.tobytes()), array[()])
        raise TypeError(f"can't save {kind.__module__}.{kind.__qualname__}: only numbers, text and plain containers")
