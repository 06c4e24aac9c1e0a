"""Whatever a user has as data, as batches that can be read more than once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import InputError

GROUP_BYTES = 8 << 20  # of batches that are handed to one call


def as_batches(data, batch_size: int = 128) -> Iterable[tuple] | None:
    """Re-iterable (inputs, labels) batches.

    Args:
        data: a batched `tf.data.Dataset` of pairs, a pair of arrays (inputs, labels), a `keras.utils.PyDataset`, or any
            iterable of pairs; an iterator is read into memory. A data set that shuffles should do so the same way each
            time it is read. None stays None.
        batch_size: for a pair of arrays.

    Raises:
        InputError: an endless, empty or ill-formed data set.
    """
    if data is None:
        return None
    if isinstance(data, tf.data.Dataset):
        if data.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise InputError("data is an endless tf.data.Dataset: say how many batches to use with data.take(n)")
        if data.cardinality() == 0:
            raise InputError("data is an empty tf.data.Dataset")
        return data
    if isinstance(data, keras.utils.PyDataset):
        return _Indexed(data, range(len(data)))
    if isinstance(data, (tuple, list)) and len(data) == 2 and all(hasattr(part, "shape") for part in data):
        return _array_batches(*data, batch_size)
    if not isinstance(data, Iterable):
        raise InputError(
            "data must be a tf.data.Dataset, a pair of arrays or an iterable of (inputs, labels); "
            f"received {type(data).__name__}"
        )
    return list(data) if isinstance(data, Iterator) else data


def grouped(batches: Iterable[tuple], check: Callable[..., None]) -> Iterator[tuple]:
    """Consecutive batches of one form, stacked along a new first axis: (inputs, labels) of NumPy arrays.

    A call per batch costs more than a small network's gradients, a call per group does not.

    Args:
        batches: (inputs, labels) pairs of arrays or tensors, or structures of them.
        check: called with the inputs and labels of every batch, raises if they are unusable.

    Raises:
        InputError: a batch is not a pair or has no batch axis.
    """
    group: list[tuple] = []
    form, most = None, 1
    for batch in batches:
        if not isinstance(batch, (tuple, list)) or len(batch) < 2:
            raise InputError(f"every batch of data must be a pair (inputs, labels); received {type(batch).__name__}")
        pair = tf.nest.map_structure(np.asarray, (batch[0], batch[1]))
        arrays = tf.nest.flatten(pair)
        if any(array.ndim == 0 or len(array) == 0 for array in arrays):
            raise InputError("inputs and labels of every batch must be arrays with at least one example")
        check(*pair)
        own = [(array.shape, array.dtype) for array in arrays]
        if group and (own != form or len(group) >= most):
            yield _stacked(group)
            group = []
        group.append(pair)
        form, most = own, max(1, GROUP_BYTES // sum(array.nbytes for array in arrays))
    if group:
        yield _stacked(group)


def _stacked(group: list[tuple]) -> tuple:
    return tf.nest.map_structure(lambda *arrays: np.stack(arrays), *group)


class _Indexed:
    """Pairs `source[key]` for each key, read anew at every iteration."""

    def __init__(self, source, keys: Iterable):
        self._source = source
        self._keys = keys

    def __iter__(self) -> Iterator[tuple]:
        return (self._source[key] for key in self._keys)


class _Rows:
    def __init__(self, inputs: np.ndarray, labels: np.ndarray):
        self._arrays = inputs, labels

    def __getitem__(self, rows: slice) -> tuple:
        return tuple(array[rows] for array in self._arrays)


def _array_batches(inputs, labels, batch_size: int) -> _Indexed:
    if not inputs.shape or not labels.shape or inputs.shape[0] != labels.shape[0] or inputs.shape[0] == 0:
        raise InputError(
            f"data needs as many labels as inputs, at least one; received shapes {tuple(inputs.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise InputError(f"batch_size must be a positive integer; received {batch_size!r}")
    starts = range(0, inputs.shape[0], batch_size)
    return _Indexed(_Rows(inputs, labels), [slice(start, start + batch_size) for start in starts])
