"""Inference from arrays to arrays, without what Keras and TensorFlow do around a call."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from tfprune.errors import InputError
from tfprune.layers.convert import without_masks
from tfprune.layers.flowing import beginning, flows_of, let_flow
from tfprune.layers.subclassed import as_graph
from tfprune.layers.topology import functional
from tfprune.layers.verify import check_copy
from tfprune.records.reading import operation_line
from tfprune.surgery.examples import one_batch
from tfprune.surgery.signatures import called

_SHAPES = 8  # of batches, the first ones, that have graphs of their own: to look for one takes TensorFlow 0.2 ms
_FEW = 4096  # numbers of an example that are copied for what follows in TensorFlow


def predictor(model: keras.Model, *, verify: bool = True) -> Predictor:
    """A function from arrays to arrays that computes what a model does in inference, with its weights of now.

    It is the quickest way to predict with what `tfprune.accelerate` made. What the engine computes at once from the
    model's input on gets the arrays themselves; masked layers become plain ones with zeros, which need no product with
    a mask at each call. It computes with a copy: what is done with `model` afterwards makes no difference.

    Args:
        model: built model, accelerated or not.
        verify: compares the outputs of model and copy on a small made-up input, as `tfprune.masked` does.

    Returns:
        A function, see `Predictor`.

    Raises:
        InputError: a model without weights, a layer that cannot be copied, or a copy that computes something else.
    """
    copy = without_masks(model)
    if verify:
        check_copy(copy, model)
    return Predictor(let_flow(as_graph(copy), to_the_end=True))


class Predictor:
    """What `tfprune.predictor` gives. Several threads may call it at a time."""

    def __init__(self, model: keras.Model):
        self._model, self._output = model, functional(model).output
        self._whole, self._beginning, self._rest = _Compiled(model), beginning(model), None
        if self._beginning is not None and not self._is_all():
            self._rest = self._behind()
            if self._rest is None:
                self._beginning = None

    def __call__(self, inputs):
        """The outputs for some examples, of any number.

        Args:
            inputs: array (B, ...); for several inputs a list, a dict by their names, or what the model is called with.

        Returns:
            What calling the model gives, of arrays (B, ...).

        Raises:
            InputError: an array does not fit, and which input has which shape; or what TensorFlow says of its numbers.
        """
        arrays = one_batch(self._model, inputs, "inputs")
        if self._beginning is None or not self._beginning.takes(len(arrays[0])):
            return self._whole(arrays)
        made = self._beginning.outputs(arrays[0])
        if self._rest is not None:
            return self._rest([made])
        return tree.pack_sequence_as(self._output, [made]) if isinstance(self._output, dict) else made

    def _is_all(self) -> bool:
        """Whether the model makes nothing but what the beginning does."""
        outputs = self._output
        if tree.is_nested(outputs):
            outputs = list(outputs.values() if isinstance(outputs, dict) else outputs)
            return len(outputs) == 1 and outputs[0] is self._beginning.made
        return outputs is self._beginning.made

    def _behind(self) -> _Compiled | None:
        """What follows; None where it is quicker to leave all to TensorFlow: much is to be copied, or more flows."""
        made = self._beginning.made
        is_made = any(made is output for output in functional(self._model).outputs)
        if is_made or math.prod(made.shape[1:]) > _FEW or len(flows_of(self._model)) > 1:
            return None
        return _Compiled(keras.Model(made, self._output))


class _Compiled:
    """A model in TensorFlow, from a list of arrays to arrays."""

    def __init__(self, model: keras.Model):
        self._model, self._dtypes = model, [tensor.dtype for tensor in model.inputs]
        self._of_any = tf.function(self._outputs, reduce_retracing=True)
        self._of_shapes: dict[tuple, Callable] = {}
        self._lock = threading.Lock()

    def __call__(self, arrays: list[np.ndarray]):
        shapes = tuple(array.shape for array in arrays)
        with tf.init_scope():
            function = self._of_shapes.get(shapes) or self._function(shapes)
            try:
                outputs = function([tf.constant(array) for array in arrays])
            except tf.errors.OpError as error:
                told = operation_line(error.message)
                raise InputError(f"model {self._model.name!r} cannot compute with these inputs: {told}") from error
            return tree.map_structure(lambda output: np.asarray(output.numpy()), outputs)

    def _function(self, shapes: tuple[tuple[int, ...], ...]) -> Callable:
        with self._lock:
            if shapes not in self._of_shapes and len(self._of_shapes) < _SHAPES:
                specs = [tf.TensorSpec(*both) for both in zip(shapes, self._dtypes, strict=True)]
                self._of_shapes[shapes] = tf.function(self._outputs).get_concrete_function(specs)
            return self._of_shapes.get(shapes, self._of_any)

    def _outputs(self, inputs):
        return called(self._model, inputs)
