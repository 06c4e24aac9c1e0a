"""Pickles from others, read without running anything, and our own, written the same for the same values.

A pickle is a program. The reader here gives it a vocabulary of a few NumPy names, and stands behind each of them with
a function of its own: NumPy's originals trust what they are given (a dtype's state can declare floats to be Python
objects, a shape can ask for any amount of memory).
"""

from __future__ import annotations

import io
import math
import mmap
import os
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tfprune.errors import InputError
from tfprune.records.atomic import atomic_write
from tfprune.records.pickle_scan import Buffer, scan

_NUMBER_CODE = re.compile(r"[biufc](1|2|4|8|16)")
_PLAIN = (type(None), bool, int, float)
_MOST_DIMENSIONS = 32


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
    path = Path(path)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise InputError(f"cannot read {path}: it is empty, a pickle is needed")
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # stays open while an array needs it
            large = scan(data, sys.maxsize if map_from is None else map_from, encoding)
            if not large:
                return _Unpickler(file, encoding, size).load()
            stream = io.BytesIO(_without(data, large))
            return _Unpickler(stream, encoding, size, [memoryview(data)[b.offset :][: b.size] for b in large]).load()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except InputError:
        raise
    except Exception as error:  # a hostile stream can raise nearly anything, MemoryError and RecursionError included
        reason = error if isinstance(error, pickle.UnpicklingError) else f"{type(error).__name__}: {error}"
        text = " ".join(str(reason).split())[:200]
        raise InputError(
            f"cannot read {path}: not a pickle of NumPy arrays, numbers and plain containers ({text})"
        ) from error


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


class _Global:
    """What the stream gets for a name it may use: callable, and deaf to every attempt to change it."""

    __slots__ = ("_function",)
    __hash__ = None

    def __init__(self, function: Callable):
        self._function = function

    def __call__(self, *args):
        return self._function(*args)

    def __setstate__(self, state):
        raise pickle.UnpicklingError("it changes a global")


class _Dtype:
    """Stand-in for a dtype; never a real one, whose state could claim that numbers are Python objects."""

    __slots__ = ("dtype",)
    __hash__ = None

    def __init__(self, code: Any, align: Any = False, copy: Any = True):
        text = code.decode("latin1") if isinstance(code, bytes) else code
        if not isinstance(text, str) or not _NUMBER_CODE.fullmatch(text):
            raise pickle.UnpicklingError(f"an array of type {text!r:.40}, only numbers are read")
        self.dtype = np.dtype(text)

    def __setstate__(self, state):
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("an array of structured type, only numbers are read")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stand-in for an array until the stream has ended."""

    __slots__ = ("value",)
    __hash__ = None

    def __setstate__(self, state):
        _, shape, dtype, is_fortran, raw = state
        self.value = _array(raw, dtype, shape, "F" if is_fortran else "C")


def _array(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """The array over the bytes `raw`, read-only and without a copy."""
    if not isinstance(dtype, _Dtype):
        raise pickle.UnpicklingError("an array without a type")
    if isinstance(raw, str):  # Python 2's bytes, read with encoding="latin1"
        raw = raw.encode("latin1")
    shape = (shape,) if isinstance(shape, int) else shape
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape) or order not in ("C", "F"):
        raise pickle.UnpicklingError("an array whose shape is no tuple of sizes")
    if len(shape) > _MOST_DIMENSIONS or not isinstance(raw, bytes | bytearray | memoryview):
        raise pickle.UnpicklingError("an array that is not held as bytes")
    if len(raw) != math.prod(shape) * dtype.dtype.itemsize:
        raise pickle.UnpicklingError(f"an array of shape {shape} in {len(raw)} bytes")
    array = np.frombuffer(raw, dtype.dtype) if raw else np.empty(0, dtype.dtype)
    array = array.reshape(shape, order=order)
    array.flags.writeable = False
    return array


def _reconstruct(subtype: Any, shape: Any, code: Any) -> _Array:
    # NumPy always writes an empty array here and the real shape into the state; another shape only costs memory.
    if subtype is not _NDARRAY or shape not in ((0,), 0) or code not in (b"b", "b"):
        raise pickle.UnpicklingError("an array made in an unknown way")
    return _Array()


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.value = _array(raw, dtype, shape, order)
    return array


def _scalar(dtype: Any, raw: Any) -> np.generic:
    if not isinstance(dtype, _Dtype):
        raise pickle.UnpicklingError("a number without a type")
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    if not isinstance(raw, bytes) or len(raw) != dtype.dtype.itemsize:
        raise pickle.UnpicklingError("a number of the wrong size")
    return np.frombuffer(raw, dtype.dtype)[0]


def _no_call(*_: Any):
    raise pickle.UnpicklingError("it calls numpy.ndarray")


def _empty_bytes(*args: Any) -> bytes:
    if args:
        raise pickle.UnpicklingError("it calls bytes")
    return b""


_NDARRAY = _Global(_no_call)
_GLOBALS = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Global(_Dtype),
    # Protocols 0 to 2 have no bytes; Python 3 writes them as text to be encoded, and empty ones as a call.
    ("builtins", "bytes"): _Global(_empty_bytes),
    ("__builtin__", "bytes"): _Global(_empty_bytes),
}
for _package in ("numpy.core", "numpy._core"):  # before and since NumPy 2
    _GLOBALS[_package + ".multiarray", "_reconstruct"] = _Global(_reconstruct)
    _GLOBALS[_package + ".multiarray", "scalar"] = _Global(_scalar)
    _GLOBALS[_package + ".numeric", "_frombuffer"] = _Global(_from_buffer)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, encoding: str, size: int, buffers: list[memoryview] | None = None):
        super().__init__(file, encoding=encoding, buffers=buffers)
        # Not a method: an unpickler that refers to itself would keep its mapped file open until garbage is collected.
        self._encode = _Global(_latin1_encoder(size))

    def find_class(self, module: str, name: str) -> _Global:
        if (module, name) == ("_codecs", "encode"):
            return self._encode
        try:
            return _GLOBALS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {f'{module}.{name}'[:80]!r}") from None

    def load(self) -> Any:
        return _with_arrays(super().load(), {})


def _latin1_encoder(bytes_left: int) -> Callable[[Any, Any], bytes]:
    """`_codecs.encode` for Latin-1; one long text encoded again and again would need memory without bounds."""

    def encode(text: Any, codec: Any) -> bytes:
        nonlocal bytes_left
        if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError("it encodes text")
        bytes_left -= len(text)
        if bytes_left < 0:
            raise pickle.UnpicklingError("it encodes more than it holds")
        return text.encode("latin1")

    return encode


def _with_arrays(value: Any, seen: dict[int, Any]) -> Any:
    """`value` with the arrays in place of their stand-ins; lists and dicts are changed in place.

    `seen` keeps what was done by id: shared parts are walked once, however often they occur, and cycles end.
    """
    kind = type(value)
    if kind is _Array:
        return value.value
    if kind in (_Dtype, _Global):
        raise pickle.UnpicklingError("it holds a type instead of data")
    if kind is memoryview:  # large bytes that no array took
        return bytes(value)
    if kind not in (list, tuple, dict):
        return value
    if id(value) in seen:
        return seen[id(value)][1]
    if kind is tuple:
        result = tuple([_with_arrays(item, seen) for item in value])
        seen[id(value)] = value, result  # the old tuple is kept, or its id could come again
        return result
    seen[id(value)] = value, value
    if kind is list:
        value[:] = [_with_arrays(item, seen) for item in value]
    else:
        for key in value:
            value[key] = _with_arrays(value[key], seen)
    return value
