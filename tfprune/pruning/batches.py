"""Whatever a user has as data, as batches that can be read more than once."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import InputError

GROUP_BYTES = 8 << 20  # of batches that are handed to one call
# Where data do not say how long they are: more looks endless.
MOST_BATCHES = 10_000
MOST_BYTES = 4 << 30  # of an iterator, which is read into memory


def with_labels(data):
    """Inputs alone, an array or a dict of arrays, as a pair with labels of 0: for what looks at no labels."""
    if hasattr(data, "shape") or isinstance(data, Mapping):
        return data, np.zeros(len(tf.nest.flatten(data)[0]))
    return data


def inputs_of_batch(batch):
    """The inputs of a batch, which need have no labels."""
    return batch[0] if isinstance(batch, (tuple, list)) else batch


def as_batches(data, batch_size: int = 128, steps: int | None = None, inputs: int = 1) -> Iterable[tuple] | None:
    """Re-iterable batches (inputs, labels) or (inputs, labels, sample weights), as `fit` takes them.

    Args:
        data: a batched `tf.data.Dataset`, a `keras.utils.PyDataset`, a pair of arrays (inputs, labels), or any iterable
            of batches; an iterator or generator is read into memory. Instead of an array there can be a list or a dict
            of them, for models with several inputs or outputs, and sample weights can come third. A data set that
            shuffles should do so the same way each time it is read. None stays None.
        batch_size: for arrays.
        steps: the first so many batches alone; needed where there is no end.
        inputs: how many the model has, by which a pair of lists of arrays is told from a list of batches.

    Raises:
        InputError: an endless, empty or ill-formed data set.
    """
    if steps is not None:
        _require_positive("steps", steps)
    if data is None:
        return None
    if isinstance(data, tf.data.Dataset):
        size = int(data.cardinality())
        if size == tf.data.INFINITE_CARDINALITY and steps is None:
            raise InputError("data is an endless tf.data.Dataset: say how many batches to use, steps= or data.take(n)")
        if size == 0:
            raise InputError("data is an empty tf.data.Dataset")
        return _Limited(data, steps) if steps is not None or size == tf.data.UNKNOWN_CARDINALITY else data
    if isinstance(data, keras.utils.PyDataset):
        return _of_py_dataset(data, steps)
    if isinstance(data, (tuple, list)) and _is_whole(data, inputs):
        return _limited(_array_batches(data, batch_size), steps)
    if not isinstance(data, Iterable) or isinstance(data, (Mapping, str, bytes)) or hasattr(data, "shape"):
        raise InputError(
            "data must be a tf.data.Dataset, a keras.utils.PyDataset, a pair (inputs, labels) of arrays or an iterable "
            f"of such pairs; received {type(data).__name__}"
        )
    if isinstance(data, Iterator):
        return _read(data, steps)
    return _Limited(data, steps) if not hasattr(data, "__len__") else _limited(data, steps)


def grouped(batches: Iterable[tuple]) -> Iterator[tuple]:
    """Consecutive batches of one form, stacked along a new first axis.

    A call per batch costs more than a small network's gradients, a call per group does not.

    Args:
        batches: structures of NumPy arrays, as `fitted` makes them.
    """
    group: list[tuple] = []
    form, most = None, 1
    for batch in batches:
        arrays = tf.nest.flatten(batch)
        own = [(array.shape, array.dtype) for array in arrays]
        if group and (own != form or len(group) >= most):
            yield _stacked(group)
            group = []
        group.append(batch)
        form, most = own, max(1, GROUP_BYTES // sum(array.nbytes for array in arrays))
    if group:
        yield _stacked(group)


def _stacked(group: list[tuple]) -> tuple:
    return tf.nest.map_structure(lambda *arrays: np.stack(arrays), *group)


class _Limited:
    """The first `steps` batches of a source; all, up to a bound, where that is None."""

    def __init__(self, source: Iterable, steps: int | None):
        self._source, self._steps = source, steps

    def __iter__(self) -> Iterator[tuple]:
        found = 0
        for batch in islice(self._source, self._steps and min(self._steps, sys.maxsize)):
            found += 1
            if self._steps is None and found > MOST_BATCHES:
                raise InputError(_endless(f"{MOST_BATCHES:,} batches"))
            yield batch
        if self._steps is not None and found < self._steps:
            raise InputError(f"data ended after {found} batches, fewer than steps={self._steps}")


def _limited(source: Iterable, steps: int | None) -> Iterable:
    return source if steps is None else _Limited(source, steps)


def _read(iterator: Iterator, steps: int | None) -> list:
    kept, held = [], 0
    for batch in _Limited(iterator, steps):
        kept.append(batch)
        held += sum(np.asarray(part).nbytes for part in tf.nest.flatten(batch))
        if steps is None and held > MOST_BYTES:
            raise InputError(_endless(f"{len(kept):,} batches, {held / 1e9:.1f} GB"))
    return kept


def _endless(so_much: str) -> str:
    return f"data have not ended after {so_much}, and may be endless: say how many batches to use with steps="


def _of_py_dataset(data: keras.utils.PyDataset, steps: int | None) -> Iterable:
    try:
        size = data.num_batches
    except NotImplementedError:
        size = None
    if size is None and steps is None:
        raise InputError("data is a PyDataset without a length: say how many batches to use with steps=")
    if size == 0:
        raise InputError("data is an empty PyDataset")
    return _limited(_Indexed(data, range(sys.maxsize if size is None else size)), steps)


class _Indexed:
    """`source[key]` for each key, read anew at every iteration."""

    def __init__(self, source, keys: Iterable):
        self._source = source
        self._keys = keys

    def __iter__(self) -> Iterator[tuple]:
        return (self._source[key] for key in self._keys)


class _Rows:
    def __init__(self, arrays: tuple):
        self._arrays = arrays

    def __getitem__(self, rows: slice) -> tuple:
        return tf.nest.map_structure(lambda array: array[rows], self._arrays)


def _is_whole(data: tuple | list, inputs: int) -> bool:
    """Whether this is all inputs and all labels (and weights), not a list of batches.

    A batch is no array and no dict. A list of arrays is a batch, unless it has as many of them as the model has inputs
    and, if that is one, could not be a pair.
    """
    if len(data) not in (2, 3):
        return False
    first = data[0]
    if _is_array(first) or isinstance(first, Mapping):
        return True
    return isinstance(first, (tuple, list)) and len(first) == inputs and all(map(_is_array, first))


def _is_array(value) -> bool:
    return hasattr(value, "shape")


def _array_batches(data: tuple | list, batch_size: int) -> _Indexed:
    inputs, labels, *weights = data
    parts = (inputs, labels, *(part for part in weights if part is not None))
    parts = tuple(np.asarray(part) if _is_plain(part) else part for part in parts)
    arrays = tf.nest.flatten(parts)
    shapes = [tuple(getattr(array, "shape", ())) for array in arrays]
    if any(not shape or shape[0] != shapes[0][0] for shape in shapes) or shapes[0][0] == 0:
        raise InputError(
            "data needs as many labels as inputs (and sample weights, if any), at least one; received shapes "
            f"{' and '.join(map(str, shapes))}"
        )
    _require_positive("batch_size", batch_size)
    starts = range(0, shapes[0][0], batch_size)
    return _Indexed(_Rows(parts), [slice(start, start + batch_size) for start in starts])


def _is_plain(part) -> bool:
    """A list of numbers, as labels often are."""
    return isinstance(part, (tuple, list)) and len(part) > 0 and all(isinstance(x, (int, float)) for x in part)


def _require_positive(name: str, number) -> None:
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 1:
        raise InputError(f"{name} must be a positive integer; received {number!r}")
