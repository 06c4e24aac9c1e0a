"""ONNX files: how they are written, and how they are run again."""

from __future__ import annotations

import tensorflow as tf
from keras import tree

from tfprune.errors import InputError
from tfprune.records.extras import extra
from tfprune.surgery.signatures import input_names, inputs_of, output_names, reason_of


def write_onnx(model, path, precision, batches) -> None:
    """A file for ONNX Runtime, with the names of a SavedModel's signature; see `Format.write`."""
    names, outputs = input_names(model), output_names(model)
    onnx, _ = extra("onnx", "writing .onnx files"), extra("tf2onnx", "writing .onnx files")
    fixed = model.inputs[0].shape[0]
    specs = tree.map_structure(lambda x: tf.TensorSpec((fixed, *x.shape[1:]), x.dtype, x.name), inputs_of(model))
    try:
        model.export(path, format="onnx", verbose=False, input_signature=[specs])
    except OSError:
        raise
    except Exception as error:  # of two packages, which raise what comes
        raise InputError(f"model {model.name!r} cannot become an ONNX file: {reason_of(error)}") from error
    written = onnx.load(path)
    graph = written.graph
    if {tensor.name for tensor in graph.input} != {*names} or len(graph.output) != len(outputs):
        raise InputError(f"model {model.name!r} cannot become an ONNX file: inputs or outputs are lost on the way")
    if {tensor.name for tensor in graph.output} != {*outputs}:  # those of a dict keep their keys
        for tensor, name in zip(graph.output, outputs, strict=True):
            graph.node.append(onnx.helper.make_node("Identity", [tensor.name], [name]))  # `Identity:0` says nothing
            tensor.name = name
    for tensor in (*graph.input, *graph.output):
        if not fixed and tensor.type.tensor_type.shape.dim:
            tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(written, path)


class OnnxRun:
    """A session of ONNX Runtime on the CPU."""

    def __init__(self, path, model, threads):
        runtime = extra("onnxruntime", f"running {path.name}")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or 0  # 0: as many as there are cores
        options.log_severity_level = 4
        self._names, self._outputs = input_names(model), output_names(model)
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # classes of its own, which are nothing but exceptions
            raise InputError(f"ONNX Runtime: {reason_of(error)}") from error

    def __call__(self, inputs):
        try:
            return self._session.run(self._outputs, dict(zip(self._names, inputs, strict=True)))
        except Exception as error:
            raise InputError(f"ONNX Runtime: {reason_of(error)}") from error
