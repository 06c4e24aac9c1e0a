"""The files a model is exported to: how each is written, and how it is run again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from tfprune.errors import InputError
from tfprune.surgery.litert import LiteRun, write_litert, write_sparse_litert
from tfprune.surgery.onnx_files import OnnxRun, write_onnx
from tfprune.surgery.signatures import Arrays, Run, input_names, model_runner, output_names, save_signature


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        name: `keras`, `savedmodel`, `litert` or `onnx`.
        tolerances: the precisions it can have -> the largest difference from the model, relative to the scale of the
            outputs, that rounding explains.
        write: `write(model, path, precision, batches)` makes the file of a plain model; `batches` are the examples
            that int8 is calibrated with, None otherwise.
        single: whether it holds float32 only, so that a model of another precision is written as its float32 twin.
        load: `load(path, model, threads)` gives a function from inputs in the order of `model.inputs` to outputs in
            that of `model.outputs`; `threads` is the number of threads, where the format can choose.
        write_sparse: as `write`, with the kernels of a pruned model stored without their zeros; refuses where they
            cannot be, or would be read wrongly. None for a format that has no such encoding.
    """

    name: str
    tolerances: dict[str, float]
    write: Callable[[keras.Model, Path, str, Sequence[Arrays] | None], None]
    load: Callable[[Path, keras.Model, int], Run]
    single: bool = False
    write_sparse: Callable[[keras.Model, Path, str, Sequence[Arrays] | None], None] | None = None


def format_of(path: Path) -> Format:
    """The format that a path's suffix asks for.

    Raises:
        InputError: there is none with this suffix.
    """
    if path.suffix not in FORMATS or path.name in FORMATS:  # `.keras` alone is a name without suffix
        raise InputError(
            f"the path of an export ends in .keras, .tflite or .onnx, or has no suffix (a SavedModel). Received: {path}"
        )
    return FORMATS[path.suffix]


def _write_keras(model, path, precision, batches) -> None:
    model.save(path)


def _load_keras(path, model, threads) -> Run:
    return model_runner(keras.saving.load_model(path, compile=False))


def _write_saved_model(model, path, precision, batches) -> None:
    save_signature(model, path, None)


def _load_saved_model(path, model, threads) -> Run:
    loaded = tf.saved_model.load(path)
    signature = loaded.signatures["serving_default"]
    names, outputs = input_names(model), output_names(model)

    def run(inputs):
        found = signature(**dict(zip(names, map(tf.constant, inputs), strict=True)))
        return [found[name].numpy() for name in outputs]

    run.loaded = loaded  # its variables live as long as it does
    return run


_LITERT = {"float32": 1e-4, "float16": 1e-2, "int8": 0.2}
FORMATS = {
    ".keras": Format("keras", {"float32": 1e-5}, _write_keras, _load_keras),
    "": Format("savedmodel", {"float32": 1e-5}, _write_saved_model, _load_saved_model),
    ".tflite": Format("litert", _LITERT, write_litert, LiteRun, True, write_sparse_litert),
    ".onnx": Format("onnx", {"float32": 1e-4}, write_onnx, OnnxRun, True),
}
