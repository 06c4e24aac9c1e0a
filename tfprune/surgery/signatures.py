"""A model's inputs and outputs by name, as SavedModel, LiteRT and ONNX files have them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from tfprune.errors import InputError

Arrays = Sequence[np.ndarray]
Run = Callable[[Arrays], list[np.ndarray]]


def model_runner(model: keras.Model) -> Run:
    """A model as what `Format.load` gives."""

    @tf.function
    def outputs(inputs):
        return tree.flatten(called(model, inputs))

    return lambda inputs: [output.numpy() for output in outputs([tf.constant(array) for array in inputs])]


def called(model: keras.Model, inputs: list):
    """What a model makes in inference of its inputs, one after the other in the order of `model.inputs`."""
    return model(tree.pack_sequence_as(inputs_of(model), inputs), training=False)


def save_signature(model: keras.Model, path, batch: int | None) -> None:
    """A SavedModel for batches of one size, or of any."""
    input_names(model), output_names(model)  # refuse what TensorFlow would refuse in other words
    specs = tree.map_structure(lambda x: tf.TensorSpec((batch, *x.shape[1:]), x.dtype, x.name), inputs_of(model))
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


def inputs_of(model: keras.Model):
    """The inputs as the model is called with: one tensor, or a structure of them."""
    return model.inputs[0] if isinstance(model, keras.Sequential) else model.input


def input_names(model: keras.Model) -> list[str]:
    """Names of the inputs in a signature, in the order of `model.inputs`."""
    names = [tensor.name for tensor in model.inputs]
    if len({*names}) < len(names) or not all(re.fullmatch(r"\w+", name, re.ASCII) for name in names):
        raise InputError(
            f"model {model.name!r}: outside of .keras files, inputs need different names of letters, digits and _. "
            f"Received: {', '.join(names)}"
        )
    return names


def output_names(model: keras.Model) -> list[str]:
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
    unknown = re.search(r"No Op registered for (\w+)", str(error))
    if unknown:
        return f"it has no operation {unknown[1]}"
    own = re.search(r"Could not locate (?:class|function) '(\w+)'", str(error))
    if own:
        return f"Keras does not know {own[1]}: decorate it with @keras.saving.register_keras_serializable()"
    places = r"loc\(.*\): "  # in the graph, one call within the other
    plain = re.sub(r"\x1b\[\d*m", "", str(error))  # Keras prints in bold
    lines = [re.sub(places, "", line).strip() for line in plain.splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].startswith("Exception encountered when calling"):
        del lines[0]
    return next((line for line in lines if "error:" in line), (lines or [type(error).__name__])[0])[:300]
