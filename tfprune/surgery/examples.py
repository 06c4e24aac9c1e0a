"""Examples of a model's inputs, in whatever form they come: one array per input, in the order of `model.inputs`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from tfprune.errors import InputError
from tfprune.surgery.signatures import inputs_of

MOST = 256
RANDOM = 16
CHUNK = 32


def read_examples(model: keras.Model, given, argument: str) -> list[np.ndarray]:
    """The first `MOST` examples.

    Args:
        model: says how many inputs there are, their names, shapes and dtypes.
        given: array (N, ...), of texts for an input of strings; for several inputs a dict by the inputs' names, or a
            list, of such arrays; or an iterable of batches that each are one of these (a `tf.data.Dataset`, a
            generator), of which no more is taken than needed.
        argument: what to call it in an error.

    Returns:
        One array (n, ...) of the input's dtype (objects for texts) per input, 1 ≤ n ≤ `MOST`; full batches, if the
        model's are of one size.

    Raises:
        InputError: there are none, or they do not fit; says which input has which shape.
    """
    batches, count = [], 0
    for batch in [given] if _is_batch(model, given) else _iterate(given, argument):
        if not _is_batch(model, batch):
            raise InputError(f"{argument}: {_wanted(model)}. Received: {type(batch).__name__}")
        batches.append(_arrays(model, batch, argument))
        count += len(batches[-1][0])
        if count >= MOST:
            break
    size = model.inputs[0].shape[0] or 1
    count = min(count, MOST) // size * size
    if not count:
        raise InputError(f"{argument}: at least {size} examples are needed, {_wanted(model)}. Received: too few")
    return [np.concatenate(parts)[:count] for parts in zip(*batches, strict=True)]


def one_batch(model: keras.Model, given, argument: str) -> list[np.ndarray]:
    """All examples of one array, or of several as `read_examples` takes them or in the structure of the model's inputs.

    Returns:
        One array (n, ...) of the input's dtype per input; the given ones where they are of that.

    Raises:
        InputError: they do not fit; says which input has which shape.
    """
    structure = inputs_of(model)
    if not _is_array(given) and tree.is_nested(structure) and _alike(structure, given):
        both = zip(tree.flatten(structure), tree.flatten(given), strict=True)
        given = {tensor.name: array for tensor, array in both}
    if not _is_batch(model, given):
        raise InputError(f"{argument}: {_wanted(model)}. Received: {type(given).__name__}")
    arrays, size = _arrays(model, given, argument), model.inputs[0].shape[0]
    if size not in (None, len(arrays[0])):
        raise InputError(f"{argument}: model {model.name!r} takes {size} examples. Received: {len(arrays[0])}")
    return arrays


def _alike(structure, given) -> bool:
    try:
        tree.assert_same_structure(structure, given)
    except (ValueError, TypeError):
        return False
    return True


def random_examples(model: keras.Model) -> list[np.ndarray]:
    """Normal noise, always the same, for models of float inputs: `RANDOM` examples, or as many as a batch must have.

    Raises:
        InputError: an input of integers or one whose size is open: only real examples say what it takes.
    """
    rng = np.random.default_rng(0)
    for tensor in model.inputs:
        if "float" not in tensor.dtype or None in tensor.shape[1:]:
            wanted = f"{tensor.dtype} {_shape(tensor)}"
            raise InputError(
                f"input {tensor.name!r} of model {model.name!r} ({wanted}) cannot be made up: give examples"
            )
    count = model.inputs[0].shape[0] or RANDOM
    return [rng.normal(size=(count, *tensor.shape[1:])).astype(tensor.dtype) for tensor in model.inputs]


def in_batches(examples: list[np.ndarray], size: int) -> list[list[np.ndarray]]:
    """The examples in batches of `size`, the last one smaller."""
    return [[array[start : start + size] for array in examples] for start in range(0, len(examples[0]), size)]


def repeated(examples: list[np.ndarray], size: int) -> list[np.ndarray]:
    """One batch of `size` examples, the given ones over and over."""
    return [np.resize(array, (size, *array.shape[1:])) for array in examples]


def _is_batch(model: keras.Model, given) -> bool:
    if isinstance(given, Mapping):
        return True
    if len(model.inputs) > 1:
        return isinstance(given, (tuple, list)) and all(hasattr(array, "shape") for array in given)
    if isinstance(given, (tuple, list)):
        # The one input in a list, as LiteRT's own converter wants it, or an array that is written as lists.
        return (len(given) == 1 and _is_array(given[0])) or _is_plain(given, len(model.inputs[0].shape))
    return _is_array(given)


def _is_array(given) -> bool:
    return hasattr(given, "shape") and hasattr(given, "dtype")


def _is_plain(given, rank: int) -> bool:
    """Whether these are lists of numbers or texts, as deep as an array of this rank."""
    if rank == 0:
        return isinstance(given, (bool, int, float, str, bytes, np.number))
    return isinstance(given, (tuple, list)) and len(given) > 0 and all(_is_plain(part, rank - 1) for part in given)


def _iterate(given, argument: str) -> Iterable:
    try:
        return iter(given)
    except TypeError:
        raise InputError(f"{argument}: arrays or an iterable of them are needed. Received: {given!r}") from None


def _arrays(model: keras.Model, batch, argument: str) -> list[np.ndarray]:
    names = [tensor.name for tensor in model.inputs]
    if isinstance(batch, Mapping):
        if set(batch) != set(names):
            raise InputError(f"{argument}: inputs are {', '.join(names)}. Received: {', '.join(map(str, batch))}")
        batch = [batch[name] for name in names]
    elif len(names) == 1 and not (isinstance(batch, (tuple, list)) and _is_array(batch[0])):
        batch = [batch]
    if any(map(tf.is_symbolic_tensor, batch)):
        raise InputError(f"{argument}: {_wanted(model)}. Received: a tensor of a graph, which has no numbers yet")
    arrays = [_array(array) for array in batch]
    fits = len(arrays) == len(names) and all(map(_fits, arrays, model.inputs))
    if not fits or len({len(array) for array in arrays}) > 1:
        received = ", ".join(f"{array.dtype} {array.shape}" for array in arrays)
        raise InputError(f"{argument}: {_wanted(model)}. Received: {received}")
    return [_typed(array, tensor) for array, tensor in zip(arrays, model.inputs, strict=True)]


def _array(given) -> np.ndarray:
    try:
        return np.asarray(given)
    except ValueError:  # lists of different lengths
        return np.asarray(None)


def _typed(array: np.ndarray, tensor) -> np.ndarray:
    return array.astype(object if tensor.dtype == "string" else tensor.dtype, copy=False)


def _fits(array: np.ndarray, tensor) -> bool:
    if array.ndim != len(tensor.shape):
        return False
    if tensor.dtype == "string":
        if array.dtype.kind not in "SUO" or not all(isinstance(text, (str, bytes)) for text in array.flat):
            return False
    elif array.dtype.kind not in "fiub":
        return False
    return all(want in (None, got) for want, got in zip(tensor.shape[1:], array.shape[1:], strict=True))


def _wanted(model: keras.Model) -> str:
    texts = {True: " of strings", False: ""}
    shapes = ", ".join(f"{tensor.name} {_shape(tensor)}{texts[tensor.dtype == 'string']}" for tensor in model.inputs)
    return f"shapes must be {shapes}, with as many examples N in each"


def _shape(tensor) -> str:
    return f"(N, {', '.join('any' if size is None else str(size) for size in tensor.shape[1:])})"
