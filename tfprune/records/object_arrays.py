"""Reads `.npy` files of lists of arrays that NumPy pickled as arrays of objects, without running anything of them."""

from __future__ import annotations

import io
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.records import pickle_vocabulary as words
from tfprune.records.arrays import read_header, read_npy
from tfprune.records.pickle_scan import scan
from tfprune.records.reading import open_file, readable


def read_object_array(path: str | Path) -> list[np.ndarray]:
    """The arrays of a one-dimensional `.npy` array of number arrays, pickled or not.

    Args:
        path: written by `numpy.save` of a list of arrays, any Python 3 and NumPy.

    Returns:
        The arrays, read-only. An ordinary array gives its rows.

    Raises:
        InputError: missing, damaged or foreign file, or one that holds anything else; the message names the file.
    """
    with open_file(path) as file, readable(path, "a .npy file of a list of number arrays"):
        if not read_header(file).dtype.hasobject:
            return list(read_npy(path))
        stream = file.read()
        scan(stream)
        return _ListUnpickler(io.BytesIO(stream), "latin1", len(stream)).load()


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
        elif not isinstance(raw, list) or shape != (len(raw),):
            raise pickle.UnpicklingError("an array of objects that is no list")
        else:
            self.value = raw


def _dtype(code: Any, *rest: Any) -> words._Dtype:
    return _Objects() if code in ("O8", "O") else words._Dtype(code, *rest)


class _ListUnpickler(words.NumbersUnpickler):
    def find_class(self, module: str, name: str):
        found = super().find_class(module, name)  # refuses what is not admitted
        if name == "dtype":
            return words._Global(_dtype)
        return words._Global(partial(_reconstruct, encode=self._encode)) if name == "_reconstruct" else found

    def load(self) -> list[np.ndarray]:
        outer = pickle.Unpickler.load(self)
        if not isinstance(outer, _ArrayOrList) or not isinstance(outer.value, list):
            raise pickle.UnpicklingError("no array of objects")
        arrays = [item.value if isinstance(item, words._Array) else None for item in outer.value]
        if not all(isinstance(array, np.ndarray) for array in arrays):
            raise pickle.UnpicklingError("an element that is no array of numbers")
        return arrays


def _reconstruct(*arguments: Any, encode: words.Encode) -> _ArrayOrList:
    words._reconstruct(*arguments, encode)  # its checks
    return _ArrayOrList(encode)
