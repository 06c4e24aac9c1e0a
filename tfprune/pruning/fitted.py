"""A batch of a user's data in the form in which a model and its loss take it, or one line about why it does not fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from tfprune.errors import InputError
from tfprune.pruning.compiled import CompiledLoss
from tfprune.pruning.loss_values import checks_labels
from tfprune.pruning.losses import LOSSES, Loss, check_labels
from tfprune.records.reading import operation_line


def fitted(model: keras.Model, loss: Loss, batch) -> tuple:
    """(inputs, labels, sample weights) of NumPy arrays.

    Args:
        model: Sequential or Functional.
        loss: from `chosen_loss`; a function gets the labels in the structure that the data have.
        batch: a pair (inputs, labels), or with sample weights as its third. Inputs are an array, arrays in the order of
            the model's inputs, or a dict by their names; labels and weights likewise by the names of outputs.

    Returns:
        Inputs in the model's own structure; labels; weights, `()` where there are none.

    Raises:
        InputError: a batch that is no pair, has no examples or does not fit the model or the loss; says what is wrong.
    """
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
        raise InputError(
            "every batch of data must be a pair (inputs, labels), or with sample weights as its third; "
            f"received {_form(batch)}"
        )
    inputs, labels, *rest = batch
    weights = rest[0] if rest else None
    inputs = fitted_inputs(model, inputs)
    examples = len(tf.nest.flatten(inputs)[0])
    labels = _arrays(labels)
    if loss in LOSSES.values() or isinstance(loss, CompiledLoss):
        labels = _by_outputs(model, labels)
    if checks_labels(loss) and len(model.outputs) == 1 and isinstance(labels, np.ndarray):
        check_labels(labels, model.outputs[0].shape[-1])
    if weights is None:
        weights = ()
    else:
        weights = tf.nest.map_structure(lambda part: np.ones(examples, "f4") if part is None else part, weights)
        weights = _by_outputs(model, _arrays(weights))
    for name, arrays in (("labels", labels), ("sample weights", weights)):
        _check_numbers(name, arrays, strings=name == "labels")
        if any(len(array) != examples for array in tf.nest.flatten(arrays)):
            sizes = ", ".join(str(len(array)) for array in tf.nest.flatten(arrays))
            raise InputError(f"data needs as many {name} as inputs; received {sizes} for {examples} in a batch")
    if any(not np.isfinite(array).all() for array in tf.nest.flatten(weights)):
        raise InputError("sample weights hold NaN or infinite numbers")
    return inputs, labels, weights


def fitted_inputs(model: keras.Model, inputs):
    """NumPy arrays in the model's own structure.

    Args:
        model: Sequential or Functional.
        inputs: of a batch, see `fitted`.

    Raises:
        InputError: no examples, or they do not fit the model; says what is wrong.
    """
    return _inputs(model, _arrays(inputs))


@contextmanager
def blamed(what: str) -> Iterator[None]:
    """Errors of TensorFlow in a compiled function of a batch as one line.

    Args:
        what: beside the model computes with the batch.

    Raises:
        InputError: in their place; says what TensorFlow does, without where it was.
    """
    try:
        yield
    except (tf.errors.InvalidArgumentError, tf.errors.UnknownError, tf.errors.ResourceExhaustedError) as error:
        raise InputError(
            f"the model or the {what} cannot use a batch of the data: {operation_line(error.message)}"
        ) from error


def _arrays(structure):
    arrays = tf.nest.map_structure(np.asarray, structure)
    flat = tf.nest.flatten(arrays)
    if not flat or any(array.ndim == 0 or len(array) == 0 for array in flat):
        raise InputError("inputs and labels of every batch must be arrays with at least one example")
    return arrays


def _inputs(model: keras.Model, arrays):
    """In the model's structure, whose order of leaves is that of `model.inputs`."""
    # A Sequential model has no structure before it is called as a layer.
    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    names = [tensor.name for tensor in model.inputs]
    if isinstance(arrays, Mapping):
        wanted = list(structure) if isinstance(structure, Mapping) else names
        missing = [name for name in wanted if name not in arrays]
        if missing:
            raise InputError(
                f"model {model.name!r} takes inputs {', '.join(wanted)}; the data have {', '.join(map(str, arrays))}"
            )
        arrays = {name: arrays[name] for name in wanted}
        flat = tree.flatten(arrays) if isinstance(structure, Mapping) else list(arrays.values())
    else:
        flat = tf.nest.flatten(arrays)
    if len(flat) != len(names):
        raise InputError(
            f"model {model.name!r} takes {_count(len(names), 'input')} ({', '.join(names)}); the data have {len(flat)}"
        )
    for tensor, array in zip(model.inputs, flat, strict=True):
        wanted, given = tuple(tensor.shape[1:]), array.shape[1:]
        if not any(_fits(wanted, shape) for shape in (given, _squeezed(given), (*given, 1))):
            which = f" {tensor.name!r}" if len(names) > 1 else "s"
            raise InputError(f"model {model.name!r} takes batches of input{which} of shape {wanted}; received {given}")
        _check_numbers("inputs", array, strings=tensor.dtype == "string")
    lengths = {len(array) for array in flat}
    if len(lengths) > 1:
        raise InputError(f"the inputs of a batch have different numbers of examples: {sorted(lengths)}")
    return tree.pack_sequence_as(structure, flat)


def _fits(wanted: tuple, given: tuple) -> bool:
    return len(given) == len(wanted) and all(own in (None, size) for own, size in zip(wanted, given, strict=True))


def _squeezed(shape: tuple) -> tuple:
    """Keras drops or adds a last axis of one."""
    return shape[:-1] if shape[-1:] == (1,) else shape


def _by_outputs(model: keras.Model, arrays):
    """What is wrapped up for one output unwrapped; else a list, or a dict by names of outputs, as the data have it."""
    names = getattr(model, "output_names", None) or [model.layers[-1].name]
    known = [*names, *model.output] if isinstance(arrays, Mapping) and _named(model) else names
    if isinstance(arrays, Mapping) and any(name not in known for name in arrays):
        raise InputError(
            f"model {model.name!r} has outputs {', '.join(names)}; the data have labels or sample weights for "
            f"{', '.join(map(str, arrays))}"
        )
    if tf.nest.is_nested(arrays) and len(model.outputs) == 1 and not _named(model):
        flat = tf.nest.flatten(arrays)
        if len(flat) != 1:
            raise InputError(f"model {model.name!r} has one output; the data have {len(flat)} arrays of labels")
        return flat[0]
    return list(arrays) if isinstance(arrays, tuple) else arrays


def _named(model: keras.Model) -> bool:
    return not isinstance(model, keras.Sequential) and isinstance(model.output, Mapping)


def _check_numbers(name: str, arrays, strings: bool) -> None:
    for array in tf.nest.flatten(arrays):
        if array.dtype.kind not in "biuf" and not (strings and array.dtype.kind in "OSU"):
            # NumPy knows bfloat16 as a void type that TensorFlow has registered.
            if array.dtype.kind == "V" and array.dtype.name.startswith(("bfloat", "float8")):
                continue
            raise InputError(f"{name} must be real numbers; received {array.dtype}{array.shape}")


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")


def _form(batch) -> str:
    kind = type(batch).__name__
    return f"a {kind} of {len(batch)}" if isinstance(batch, (tuple, list, Mapping)) else kind
