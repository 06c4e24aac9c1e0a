"""Masks: which weights of a model are kept.

The value lives beside the layers because surgery, connectivity, pruning and training all take or give it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfprune.errors import InputError
from tfprune.records.mask_file import read_masks, write_masks

if TYPE_CHECKING:
    import keras

# `prunable` is imported where a model is given: figures read masks from files without waiting for TensorFlow.


class Masks(Mapping[str, np.ndarray]):
    """An ordered, immutable mapping from a variable's path to a bool array of its shape; True is kept.

    Paths and their order are those of `prunable`. Density is the fraction kept, sparsity is 1 − density.

    Args:
        arrays: path -> array of bool, or of numbers that are all 0 or 1. The arrays are copied.

    Raises:
        InputError: no mapping, a path is not a string, or an array holds something else than 0 and 1; names the path.
    """

    __slots__ = ("_arrays",)

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        if not isinstance(arrays, Mapping):
            raise InputError(
                "masks must be a mapping from kernel paths to arrays of bool, such as tfprune.Masks. "
                f"Received: {type(arrays).__name__}"
            )
        self._arrays = {path: _as_bool(path, array) for path, array in arrays.items()}

    @classmethod
    def dense(cls, model: keras.Model) -> Masks:
        """Masks that keep every prunable weight of `model`."""
        from tfprune.layers.prunable import prunable

        return cls({path: np.ones(variable.shape, bool) for path, variable in prunable(model).items()})

    def check(self, model: keras.Model) -> Masks:
        """These masks, in the order of `model`, once it is certain that they fit.

        Raises:
            InputError: a path is missing or unknown, or a shape differs; names the path and the shapes.
        """
        from tfprune.layers.prunable import prunable

        variables = prunable(model)
        for path, mask in self.items():
            if path not in variables:
                raise InputError(
                    f"mask {path!r}: the model {model.name!r} has no such kernel; it has {_some(variables)}"
                )
            if mask.shape != tuple(variables[path].shape):
                raise InputError(f"mask {path!r} has shape {mask.shape}, the kernel has {tuple(variables[path].shape)}")
        for path in variables:
            if path not in self:
                raise InputError(f"kernel {path!r} of model {model.name!r} has no mask; there are {_some(self)}")
        return self if list(variables) == list(self) else Masks({path: self[path] for path in variables})

    def __getitem__(self, path: str) -> np.ndarray:
        return self._arrays[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __eq__(self, other: object) -> bool:
        """Same paths in the same order, same shapes, same entries."""
        if not isinstance(other, Masks):
            return NotImplemented
        return list(self) == list(other) and all(np.array_equal(self[path], other[path]) for path in self)

    __hash__ = None

    def __and__(self, other: Masks) -> Masks:
        """What both keep; both must have the same paths and shapes."""
        if {path: mask.shape for path, mask in self.items()} != {path: mask.shape for path, mask in other.items()}:
            raise InputError("only masks of the same paths and shapes can be combined")
        return Masks({path: mask & other[path] for path, mask in self.items()})

    def __repr__(self) -> str:
        return f"Masks({len(self)} kernels, {self.kept:,} of {self.size:,} weights kept, density {self.density:.6g})"

    @property
    def size(self) -> int:
        """Number of prunable weights."""
        return sum(mask.size for mask in self.values())

    @property
    def kept(self) -> int:
        """Number of weights kept."""
        return sum(self.counts.values())

    @property
    def counts(self) -> dict[str, int]:
        """Path -> number of weights kept."""
        return {path: int(np.count_nonzero(mask)) for path, mask in self.items()}

    @property
    def density(self) -> float:
        """Fraction of weights kept, in [0, 1]; 1 for masks of nothing."""
        return self.kept / self.size if self.size else 1.0

    @property
    def sparsity(self) -> float:
        """1 − density."""
        return 1.0 - self.density

    @property
    def densities(self) -> dict[str, float]:
        """Path -> fraction of its weights kept."""
        return {path: count / self[path].size for path, count in self.counts.items()}

    @property
    def sparsities(self) -> dict[str, float]:
        """Path -> 1 − density."""
        return {path: 1.0 - density for path, density in self.densities.items()}


def save_masks(path: str | PathLike, masks: Mapping[str, np.ndarray]) -> None:
    """Writes masks to an `.npz` file, atomically, one bit per weight, without pickles.

    Args:
        path: of the file; path and masks may come in either order.
        masks: path -> bool array.

    Raises:
        InputError: no path, no masks, or the file cannot be written.
    """
    if isinstance(path, Mapping):
        path, masks = masks, path
    if not isinstance(path, (str, PathLike)):
        raise InputError(f"save_masks needs the path of a file and masks. Received: {type(path).__name__} for the path")
    write_masks(path, masks if isinstance(masks, Masks) else Masks(masks))


def load_masks(path: str | Path) -> Masks:
    """Reads masks that `save_masks` wrote.

    Raises:
        InputError: a missing, damaged or foreign file.
    """
    return Masks(read_masks(path))


def _as_bool(path: str, array) -> np.ndarray:
    if not isinstance(path, str):
        raise InputError(f"the path of a mask is a string. Received: {path!r}")
    try:
        given = np.asarray(array)
    except ValueError:
        raise InputError(f"mask {path!r} must be an array. Received: rows of different lengths") from None
    if given.dtype != bool and not (given.dtype.kind in "iuf" and bool(np.all((given == 0) | (given == 1)))):
        raise InputError(f"mask {path!r} must hold only 0 and 1, or bool. Received: dtype {given.dtype}")
    mask = np.array(given, dtype=bool)
    mask.setflags(write=False)
    return mask


def _some(paths: Mapping) -> str:
    names = list(paths)
    return ", ".join(map(repr, names[:4])) + (f", ... ({len(names)} in all)" if len(names) > 4 else "") or "none"
