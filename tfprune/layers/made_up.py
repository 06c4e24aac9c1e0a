"""Small made-up inputs of a model: what a check can run it on when nobody gave any data."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf
from keras import layers, tree

from tfprune.layers.topology import flat_inputs, is_nested, run

_SIZES = 8, 32, 96  # of axes that are open; some networks halve an image five times, or need 75 pixels
_LARGE = 1 << 17  # entries of an example, from which on one is enough: an image of 224 x 224
_TOO_LARGE = 1 << 22


def made_up_inputs(model: keras.Model) -> Iterator:
    """Inputs that the model may take, in the structure that it is called with, most likely ones first.

    One or two examples (more where the model's batch is fixed): noise of two magnitudes, for tokens numbers that all
    embeddings know, for strings words of the model's vocabularies. Nothing for huge or ragged inputs.
    """
    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    specs = tree.flatten(structure)
    if any(getattr(spec, "ragged", False) for spec in specs):
        return
    inner = list(model._flatten_layers(include_self=False, recursive=True))
    is_open = any(None in spec.shape[1:] for spec in specs)
    for size in _SIZES if is_open else _SIZES[:1]:
        if not _fits(model, specs, size):
            continue
        for positive in (False, True):
            rng = np.random.default_rng(0)
            arrays = [_array(spec, size, inner, rng, positive) for spec in specs]
            if any(array is None for array in arrays):
                return
            yield tree.pack_sequence_as(structure, arrays) if tree.is_nested(structure) else arrays[0]


def _fits(model: keras.Model, specs: list, size: int) -> bool:
    """Whether every layer has something to compute with: a convolution of nothing can end the whole process."""

    def call(operation: keras.Operation, *args, **kwargs):
        if is_nested(operation):
            (given,) = args or (kwargs["inputs"],)
            outputs = run(operation, flat_inputs(operation, given), call)
            return (
                outputs[0]
                if isinstance(operation, keras.Sequential)
                else tree.pack_sequence_as(operation.output, outputs)
            )
        outputs = operation.compute_output_spec(*args, **kwargs)
        if any(0 in output.shape for output in tree.flatten(outputs)):
            raise ValueError("an output without entries")
        return outputs

    shapes = [(spec.shape[0] or 2, *_closed(spec, size)) for spec in specs]
    try:
        run(model, [keras.KerasTensor(shape, spec.dtype) for shape, spec in zip(shapes, specs, strict=True)], call)
    except Exception:  # whatever shape inference raises
        return False
    return True


def _closed(spec: keras.KerasTensor, size: int) -> tuple[int, ...]:
    """The shape of an example."""
    return tuple(size if length is None else length for length in spec.shape[1:])


def _array(spec: keras.KerasTensor, size: int, inner: list, rng: np.random.Generator, positive: bool):
    shape = _closed(spec, size)
    entries = int(np.prod(shape))
    if entries * (spec.shape[0] or 1) > _TOO_LARGE:
        return None
    batch = spec.shape[0] or (2 if entries < _LARGE else 1)
    if spec.dtype == "string":
        words, count = _words(inner), 4 if _takes_text(inner) else 1
        texts = [" ".join(rng.choice(words, count)) for _ in range(batch * entries)]
        return tf.constant(texts, shape=(batch, *shape))
    if spec.dtype == "bool":
        return _as_tensor(rng.random((batch, *shape)) < 0.5, spec)
    if "int" in spec.dtype:
        return _as_tensor(rng.integers(0, _tokens(inner, spec.dtype), (batch, *shape)), spec)
    array = rng.random((batch, *shape)) if positive else rng.normal(size=(batch, *shape))
    # The first example stays in the middle of an activation's range, the second leaves it.
    scales = np.where(np.arange(batch) % 2 == 0, 1.0, 1.0 if positive else 8.0)
    return _as_tensor(array * scales.reshape(-1, *[1] * len(shape)), spec)


def _as_tensor(array: np.ndarray, spec: keras.KerasTensor):
    tensor = tf.cast(tf.constant(array), spec.dtype)
    return tf.sparse.from_dense(tensor) if spec.sparse else tensor


def _tokens(inner: list, dtype: str) -> int:
    """How many numbers from 0 on every layer knows that may look one up."""
    known = [layer.input_dim for layer in inner if isinstance(layer, layers.Embedding)]
    known += [layer.num_tokens for layer in inner if isinstance(layer, layers.CategoryEncoding) and layer.num_tokens]
    return min(known) if known else 256 if dtype == "uint8" else 2


def _takes_text(inner: list) -> bool:
    return any(isinstance(layer, layers.TextVectorization) for layer in inner)


def _words(inner: list) -> list[str]:
    """Words that a layer of the model knows."""
    for layer in inner:
        if isinstance(layer, layers.StringLookup) and layer.vocabulary_size() > layer._token_start_index():
            return [str(word) for word in layer.get_vocabulary(include_special_tokens=False)[:50]]
    return ["word"]
