"""LiteRT (TensorFlow Lite) files: how they are written, and how they are run again."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from tfprune.errors import InputError
from tfprune.records.atomic import temporary_folder
from tfprune.records.extras import extra
from tfprune.surgery.signatures import input_names, output_names, reason_of, save_signature
from tfprune.surgery.twins import steps_back_over_masks, unrolled


def write_litert(model, path, precision, batches, optimizations=()) -> None:
    """A file for LiteRT's interpreter; see `Format.write`."""
    with temporary_folder() as folder:
        _save_for_litert(model, str(folder), precision)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
        # Nothing but LiteRT's own kernels: an interpreter alone has to run the file.
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.optimizations = [*optimizations, *([] if precision == "float32" else [tf.lite.Optimize.DEFAULT])]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if precision == "int8":
            names = input_names(model)
            converter.representative_dataset = lambda: (dict(zip(names, batch, strict=True)) for batch in batches)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        try:
            content = converter.convert()
        except Exception as error:  # the converter's own class, and RuntimeError and ValueError of its C++ parts
            raise InputError(f"LiteRT cannot hold model {model.name!r} in {precision}: {reason_of(error)}") from error
    path.write_bytes(content)


def write_sparse_litert(model, path, precision, batches) -> None:
    """As `write_litert`, in LiteRT's sparse encoding: kernels of two or four axes with at least 30 % zeros.

    Two encodings that LiteRT writes it reads wrongly, without a word: blocks that do not divide the inputs of a dense
    layer, of which it loses the weights after the last whole block, and blocks in half precision. A third, dense layers
    in int8 whose zeros come in no blocks, its interpreter does not start with. All are refused.

    Raises:
        InputError: no kernel has that many zeros, or one cannot be read rightly.
    """
    write_litert(model, path, precision, batches, [tf.lite.Optimize.EXPERIMENTAL_SPARSITY])
    litert = extra("ai_edge_litert.interpreter", f"running {path.name}")
    plainly = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = litert.Interpreter(model_path=str(path), experimental_op_resolver_type=plainly)
    graphs = (interpreter.get_tensor_details(graph) for graph in range(interpreter.num_subgraphs()))
    encoded = [details for graph in graphs for details in graph if details["sparsity_parameters"]]
    start = f"LiteRT cannot hold model {model.name!r} in {precision} in its sparse encoding: "
    if not encoded:
        raise InputError(f"{start}none of its kernels has 30% zeros")
    for details in encoded:
        parameters, shape = details["sparsity_parameters"], tuple(map(int, details["shape"]))
        blocks = [int(block["dense_size"]) for block in parameters["dim_metadata"][len(shape) :]]
        kernel = (
            f"the kernel of shape {shape[::-1]}" if len(shape) == 2 else f"a kernel of {int(np.prod(shape))} weights"
        )
        if precision == "int8" and len(shape) == 2 and not blocks:
            raise InputError(f"{start}the zeros of dense layers must come in blocks of 16 inputs, not so in {kernel}")
        if precision == "float16" and blocks:
            raise InputError(f"{start}it reads blocks of zeros wrongly, as in {kernel}")
        for axis, size in zip(parameters["block_map"], blocks, strict=True):
            if shape[axis] % size:
                raise InputError(f"{start}it reads blocks of {size} that do not divide {kernel} wrongly")


def _save_for_litert(model: keras.Model, folder, precision: str) -> None:
    """LiteRT has loops for batches of one size alone, and calibrating int8 cannot pass through them."""
    batch, chain = model.inputs[0].shape[0], unrolled(model)
    try:
        if batch and precision != "int8" and chain is not model:
            save_signature(model, folder, batch)
        elif chain is not model and steps_back_over_masks(model):
            raise InputError(
                f"LiteRT cannot hold model {model.name!r} in {precision}: a recurrent layer that goes backwards over "
                "masked steps (Bidirectional with return_sequences) cannot be unrolled in Keras; for float32 and "
                "float16 fix the size of a batch, keras.Input(batch_shape=(1, steps))"
            )
        else:
            save_signature(chain, folder, None)
    except InputError as error:
        if "Cannot unroll" not in str(error.__cause__):
            raise
        fixed = "" if precision == "int8" else ", or the size of a batch, keras.Input(batch_shape=(1, None, features))"
        raise InputError(
            f"LiteRT cannot hold model {model.name!r} in {precision}: its recurrent layers take any number of steps; "
            f"fix it with keras.Input((steps, features)){fixed}"
        ) from error


class LiteRun:
    """An interpreter that is prepared anew only where the shapes of the inputs change."""

    def __init__(self, path, model, threads):
        litert = extra("ai_edge_litert.interpreter", f"running {path.name}")
        self._interpreter = litert.Interpreter(model_path=str(path), num_threads=threads)
        runner = self._interpreter.get_signature_runner()
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
        self._inputs = [inputs[name]["index"] for name in input_names(model)]
        self._outputs = [outputs[name]["index"] for name in output_names(model)]
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

    def again(self) -> None:
        """Computes once more on the inputs of the last call."""
        self._interpreter.invoke()
