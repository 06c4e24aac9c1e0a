"""Reads `.npy` files of lists of arrays that NumPy pickled as arrays of objects, without running anything of them."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.errors import InputError
from tfprune.records import pickle_vocabulary as words


def read_object_array(path: str | Path) -> list[np.ndarray]:
    """The arrays of a one-dimensional `.npy` array of number arrays, pickled or not.

    Args:
        path: written by `numpy.save` of a list of arrays, any Python 3 and NumPy.

    Returns:
        The arrays, read-only. An ordinary array gives its rows.

    Raises:
        InputError: missing, damaged or foreign file, or one that holds anything else; the message names the file.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            _, _, dtype = read(file)
            if dtype.hasobject:
                return _ListUnpickler(file, "latin1", path.stat().st_size).load()
        return list(np.load(path, allow_pickle=False))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # a hostile stream can raise nearly anything, MemoryError and RecursionError included
        reason = error if isinstance(error, pickle.UnpicklingError) else f"{type(error).__name__}: {error}"
        text = " ".join(str(reason).split())[:200]
        raise InputError(f"cannot read {path}: not a .npy file of a list of number arrays ({text})") from error


class _Objects(words._Dtype):
    """Stand-in for the dtype of Python objects."""

    def __init__(self):
        self.dtype = None

    def __setstate__(self, state):
        pass


class _ArrayOrList(words._Array):
    """Stand-in for an array of numbers, or for the outer array, which becomes the list of its elements."""

    def __setstate__(self, state):
        _, shape, dtype, _, raw = state
        if not isinstance(dtype, _Objects):
            super().__setstate__(state)
        elif not isinstance(raw, list) or len(shape) != 1 or math.prod(shape) != len(raw):
            raise pickle.UnpicklingError("an array of objects that is no list")
        else:
            self.value = raw


def _dtype(code: Any, *rest: Any) -> words._Dtype:
    return _Objects() if code in ("O8", "O") else words._Dtype(code, *rest)


def _reconstruct(*arguments: Any) -> _ArrayOrList:
    words._reconstruct(*arguments)  # its checks
    return _ArrayOrList()


_OWN = {"dtype": words._Global(_dtype), "_reconstruct": words._Global(_reconstruct)}


class _ListUnpickler(words.NumbersUnpickler):
    def find_class(self, module: str, name: str):
        found = super().find_class(module, name)  # refuses what is not admitted
        return _OWN.get(name, found)

    def load(self) -> list[np.ndarray]:
        outer = pickle.Unpickler.load(self)
        if not isinstance(outer, _ArrayOrList) or not isinstance(outer.value, list):
            raise pickle.UnpicklingError("no array of objects")
        arrays = [item.value if isinstance(item, words._Array) else None for item in outer.value]
        if not all(isinstance(array, np.ndarray) for array in arrays):
            raise pickle.UnpicklingError("an element that is no array of numbers")
        return arrays
