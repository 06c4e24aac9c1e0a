"""The few names that a pickle may use here, and what stands behind them.

A pickle is a program. The names are NumPy's, the functions behind them are not: NumPy's originals trust what they are
given (a dtype's state can declare floats to be Python objects, a shape can ask for any amount of memory).
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable
from functools import partial
from typing import Any, BinaryIO

import numpy as np

from tfprune.records.arrays import check_bools

Encode = Callable[[Any, Any], bytes]

_NUMBER_CODE = re.compile(r"[biufc](1|2|4|8|16)")
_MOST_DIMENSIONS = 32


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
            told = f"{text!r:.40}" if isinstance(text, str) else type(text).__name__
            raise pickle.UnpicklingError(f"an array of type {told}, only numbers are read")
        self.dtype = np.dtype(text)

    def __setstate__(self, state):
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("an array of structured type, only numbers are read")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stand-in for an array until the stream has ended."""

    __slots__ = ("_encode", "value")
    __hash__ = None

    def __init__(self, encode: Encode):
        self._encode = encode

    def __setstate__(self, state):
        _, shape, dtype, is_fortran, raw = state
        self.value = _array(raw, dtype, shape, "F" if is_fortran else "C", self._encode)


def _array(raw: Any, dtype: Any, shape: Any, order: Any, encode: Encode) -> np.ndarray:
    """The array over the bytes `raw`, read-only and without a copy."""
    if not isinstance(dtype, _Dtype):
        raise pickle.UnpicklingError("an array without a type")
    if isinstance(raw, str):  # Python 2's bytes, read with encoding="latin1"
        raw = encode(raw, "latin1")
    shape = (shape,) if isinstance(shape, int) else shape
    # Sizes beyond 62 bits are no sizes, and their product would take time without bounds.
    if not isinstance(shape, tuple) or not all(type(n) is int and 0 <= n < 2**62 for n in shape[:_MOST_DIMENSIONS]):
        raise pickle.UnpicklingError("an array whose shape is no tuple of sizes")
    if type(order) is not str or order not in ("C", "F"):
        raise pickle.UnpicklingError("an array in an unknown order")
    if len(shape) > _MOST_DIMENSIONS or not isinstance(raw, bytes | bytearray | memoryview):
        raise pickle.UnpicklingError("an array that is not held as bytes")
    if len(raw) != math.prod(shape) * dtype.dtype.itemsize:
        raise pickle.UnpicklingError(f"an array of shape {shape} in {len(raw)} bytes")
    array = np.frombuffer(raw, dtype.dtype) if raw else np.empty(0, dtype.dtype)
    check_bools(array)
    array = array.reshape(shape, order=order)
    array.flags.writeable = False
    return array


def _reconstruct(subtype: Any, shape: Any, code: Any, encode: Encode) -> _Array:
    # NumPy always writes an empty array here and the real shape into the state; another shape only costs memory.
    if subtype is not _NDARRAY or shape not in ((0,), 0) or code not in (b"b", "b"):
        raise pickle.UnpicklingError("an array made in an unknown way")
    return _Array(encode)


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any, encode: Encode) -> _Array:
    array = _Array(encode)
    array.value = _array(raw, dtype, shape, order, encode)
    return array


def _scalar(dtype: Any, raw: Any, encode: Encode) -> np.generic:
    if not isinstance(dtype, _Dtype):
        raise pickle.UnpicklingError("a number without a type")
    raw = encode(raw, "latin1") if isinstance(raw, str) else raw
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
_FUNCTIONS = {("multiarray", "_reconstruct"): _reconstruct, ("multiarray", "scalar"): _scalar}
_FUNCTIONS |= {("numeric", "_frombuffer"): _from_buffer}
_PACKAGES = ("numpy.core", "numpy._core")  # before and since NumPy 2


class NumbersUnpickler(pickle.Unpickler):
    """Reads plain containers, numbers, text, bytes and NumPy arrays and scalars of numbers, and nothing else.

    Args:
        file: open for binary reading.
        encoding: how text of Python 2 is read.
        size: bytes of the file; no more text than this is encoded.
        buffers: for a stream whose large bytes objects were taken out.

    `load` raises `pickle.UnpicklingError` for what isn't admitted, and about anything for damaged streams.
    """

    def __init__(self, file: BinaryIO, encoding: str, size: int, buffers: list[memoryview] | None = None):
        super().__init__(file, encoding=encoding, buffers=buffers)
        # Not a method: an unpickler that refers to itself would keep its mapped file open until garbage is collected.
        self._encode = _latin1_encoder(size)
        self._names = _GLOBALS | {("_codecs", "encode"): _Global(self._encode)}
        for (module, name), function in _FUNCTIONS.items():
            known = _Global(partial(function, encode=self._encode))
            self._names |= {(f"{package}.{module}", name): known for package in _PACKAGES}

    def find_class(self, module: str, name: str) -> _Global:
        try:
            return self._names[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {f'{module}.{name}'[:80]!r}") from None

    def load(self) -> Any:
        return _with_arrays(super().load(), {})


def _latin1_encoder(bytes_left: int) -> Encode:
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
    if kind not in (list, tuple, dict, memoryview):
        return value
    if id(value) in seen:
        return seen[id(value)][1]
    if kind is memoryview:  # large bytes that no array took
        seen[id(value)] = value, bytes(value)
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
