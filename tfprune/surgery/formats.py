"""The files a model is exported to: how each is written, and how it is run again."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from tfprune.errors import InputError
from tfprune.records.atomic import temporary_folder
from tfprune.records.extras import extra
from tfprune.surgery.twins import steps_back_over_masks, unrolled

Arrays = Sequence[np.ndarray]
Run = Callable[[Arrays], list[np.ndarray]]


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        name: `keras`, `savedmodel` or `litert`.
        tolerances: the precisions it can have -> the largest difference from the model, relative to the scale of the
            outputs, that rounding explains.
        write: `write(model, path, precision, batches)` makes the file of a plain model; `batches` are the examples
            that int8 is calibrated with, None otherwise.
        single: whether it holds float32 only, so that a model of another precision is written as its float32 twin.
        load: `load(path, model, threads)` gives a function from inputs in the order of `model.inputs` to outputs in
            that of `model.outputs`; `threads` is the number of threads, where the format can choose.
    """

    name: str
    tolerances: dict[str, float]
    write: Callable[[keras.Model, Path, str, Sequence[Arrays] | None], None]
    load: Callable[[Path, keras.Model, int], Run]
    single: bool = False


def format_of(path: Path) -> Format:
    """The format that a path's suffix asks for.

    Raises:
        InputError: there is none with this suffix.
    """
    if path.suffix not in FORMATS or path.name in FORMATS:  # `.keras` alone is a name without suffix
        raise InputError(
            f"the path of an export ends in .keras or .tflite, or has no suffix (a SavedModel). Received: {path}"
        )
    return FORMATS[path.suffix]


def model_runner(model: keras.Model) -> Run:
    """A model as what `Format.load` gives."""

    @tf.function
    def outputs(inputs):
        return tree.flatten(model(tree.pack_sequence_as(_inputs(model), inputs), training=False))

    return lambda inputs: [output.numpy() for output in outputs([tf.constant(array) for array in inputs])]


def _write_keras(model, path, precision, batches) -> None:
    model.save(path)


def _load_keras(path, model, threads) -> Run:
    return model_runner(keras.saving.load_model(path, compile=False))


def _write_saved_model(model, path, precision, batches) -> None:
    _save(model, path, None)


def _save(model: keras.Model, path, batch: int | None) -> None:
    """A SavedModel for batches of one size, or of any."""
    _input_names(model), _output_names(model)  # refuse what TensorFlow would refuse in other words
    specs = tree.map_structure(lambda x: tf.TensorSpec((batch, *x.shape[1:]), x.dtype, x.name), _inputs(model))
    # `model.export` tracks the model as well as its endpoint, which puts every variable into the file twice. That is
    # needed for resources that are no variables, such as tables of vocabularies, alone.
    try:
        for tracked in (False, True):
            archive = keras.export.ExportArchive()
            if tracked:
                archive.track(model)
            archive.add_endpoint("serve", lambda inputs: model(inputs, training=False), input_signature=[specs])
            try:
                return archive.write_out(path, verbose=False)
            except AssertionError:
                if tracked:
                    raise
    except (ValueError, TypeError, AssertionError, NotImplementedError, tf.errors.OpError) as error:
        raise InputError(f"model {model.name!r} cannot become a SavedModel: {reason_of(error)}") from error


def _load_saved_model(path, model, threads) -> Run:
    loaded = tf.saved_model.load(path)
    signature = loaded.signatures["serving_default"]
    names, outputs = _input_names(model), _output_names(model)

    def run(inputs):
        found = signature(**dict(zip(names, map(tf.constant, inputs), strict=True)))
        return [found[name].numpy() for name in outputs]

    run.loaded = loaded  # its variables live as long as it does
    return run


def _write_litert(model, path, precision, batches) -> None:
    with temporary_folder() as folder:
        _save_for_litert(model, str(folder), precision)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
        # Nothing but LiteRT's own kernels: an interpreter alone has to run the file.
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if precision == "int8":
            names = _input_names(model)
            converter.representative_dataset = lambda: (dict(zip(names, batch, strict=True)) for batch in batches)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        try:
            content = converter.convert()
        except Exception as error:  # the converter's own class, and RuntimeError and ValueError of its C++ parts
            raise InputError(f"LiteRT cannot hold model {model.name!r} in {precision}: {reason_of(error)}") from error
    path.write_bytes(content)


def _save_for_litert(model: keras.Model, folder, precision: str) -> None:
    """LiteRT has loops for batches of one size alone, and calibrating int8 cannot pass through them."""
    batch, chain = model.inputs[0].shape[0], unrolled(model)
    try:
        if batch and precision != "int8" and chain is not model:
            _save(model, folder, batch)
        elif chain is not model and steps_back_over_masks(model):
            raise InputError(
                f"LiteRT cannot hold model {model.name!r} in {precision}: a recurrent layer that goes backwards over "
                "masked steps (Bidirectional with return_sequences) cannot be unrolled in Keras; for float32 and "
                "float16 fix the size of a batch, keras.Input(batch_shape=(1, steps))"
            )
        else:
            _save(chain, folder, None)
    except InputError as error:
        if "Cannot unroll" not in str(error.__cause__):
            raise
        fixed = "" if precision == "int8" else ", or the size of a batch, keras.Input(batch_shape=(1, None, features))"
        raise InputError(
            f"LiteRT cannot hold model {model.name!r} in {precision}: its recurrent layers take any number of steps; "
            f"fix it with keras.Input((steps, features)){fixed}"
        ) from error


class _LiteRun:
    """An interpreter that is prepared anew only where the shapes of the inputs change."""

    def __init__(self, path, model, threads):
        litert = extra("ai_edge_litert.interpreter", f"running {path.name}")
        self._interpreter = litert.Interpreter(model_path=str(path), num_threads=threads)
        runner = self._interpreter.get_signature_runner()
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
        self._inputs = [inputs[name]["index"] for name in _input_names(model)]
        self._outputs = [outputs[name]["index"] for name in _output_names(model)]
        self._shapes = None

    def __call__(self, inputs):
        shapes = [array.shape for array in inputs]
        if shapes != self._shapes:
            for index, shape in zip(self._inputs, shapes, strict=True):
                self._interpreter.resize_tensor_input(index, shape)
            try:
                self._interpreter.allocate_tensors()
            except RuntimeError as error:
                raise InputError(f"the file cannot take inputs of shapes {shapes}: {reason_of(error)}") from error
            self._shapes = shapes
        for index, array in zip(self._inputs, inputs, strict=True):
            self._interpreter.set_tensor(index, array)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


def _inputs(model: keras.Model):
    """The inputs as the model is called with: one tensor, or a structure of them."""
    return model.inputs[0] if isinstance(model, keras.Sequential) else model.input


def _input_names(model: keras.Model) -> list[str]:
    """Names of the inputs in a signature, in the order of `model.inputs`."""
    names = [tensor.name for tensor in model.inputs]
    if len({*names}) < len(names) or not all(re.fullmatch(r"\w+", name, re.ASCII) for name in names):
        raise InputError(
            f"model {model.name!r}: outside of .keras files, inputs need different names of letters, digits and _. "
            f"Received: {', '.join(names)}"
        )
    return names


def _output_names(model: keras.Model) -> list[str]:
    """Names of the outputs in a signature, in the order of `model.outputs`: keys of a dict, or numbered by Keras."""
    if isinstance(model, keras.Sequential) or not tree.is_nested(model.output):
        return ["output_0"]
    named = isinstance(model.output, dict)
    if any(tree.is_nested(output) for output in (model.output.values() if named else model.output)):
        raise InputError(f"model {model.name!r} has outputs within outputs, which only a .keras file can hold")
    if named:
        return tree.flatten({key: key for key in model.output})
    return [f"output_{number}" for number in range(len(model.outputs))]


def reason_of(error: BaseException) -> str:
    """What a message of many lines says that a user can act on, in one line."""
    missing = sorted(set(re.findall(r"'tf\.(\w+)' op is neither", str(error))))
    if missing:
        return f"it has no kernel for {', '.join(missing)}"
    places = r"loc\(.*\): "  # in the graph, one call within the other
    lines = [re.sub(places, "", line).strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "error:" in line), (lines or [type(error).__name__])[0])[:300]


FORMATS = {
    ".keras": Format("keras", {"float32": 1e-5}, _write_keras, _load_keras),
    "": Format("savedmodel", {"float32": 1e-5}, _write_saved_model, _load_saved_model),
    ".tflite": Format("litert", {"float32": 1e-4, "float16": 1e-2, "int8": 0.2}, _write_litert, _LiteRun, True),
}
