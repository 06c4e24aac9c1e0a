"""Inference from arrays to arrays, without what Keras and TensorFlow do around a call."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from tfprune.layers.convert import without_masks
from tfprune.layers.flowing import beginning, few_examples, flows_of, let_flow
from tfprune.layers.subclassed import as_graph
from tfprune.layers.topology import functional
from tfprune.layers.verify import check_copy
from tfprune.surgery.examples import one_batch
from tfprune.surgery.signatures import inputs_of

_SHAPES = 8  # of batches, the first ones, that have graphs of their own: to look for one takes TensorFlow 0.2 ms


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
    copy = let_flow(as_graph(without_masks(model)), to_the_end=True)
    if verify:
        check_copy(copy, model)
        if flows_of(copy):
            with few_examples():
                check_copy(copy, model)
    return Predictor(copy)


class Predictor:
    """What `tfprune.predictor` gives. Several threads may call it at a time."""

    def __init__(self, model: keras.Model):
        self._model, self._output = model, functional(model).output
        self._whole, self._beginning, self._rest = _Compiled(model), beginning(model), None
        if self._beginning is not None and self._beginning.made is not functional(model).outputs[0]:
            self._rest = _Compiled(keras.Model(self._beginning.made, self._output))

    def __call__(self, inputs):
        """The outputs for some examples, of any number.

        Args:
            inputs: array (B, ...); for several inputs a dict by their names, or a list.

        Returns:
            What calling the model gives, of arrays (B, ...).

        Raises:
            InputError: an array does not fit; says which input has which shape.
        """
        arrays = one_batch(self._model, inputs, "inputs")
        if self._beginning is None or not self._beginning.takes(len(arrays[0])):
            return self._whole(arrays)
        made = self._beginning.outputs(arrays[0])
        if self._rest is not None:
            return self._rest([made])
        return tree.pack_sequence_as(self._output, [made]) if isinstance(self._output, dict) else made


class _Compiled:
    """A model in TensorFlow, from a list of arrays to arrays."""

    def __init__(self, model: keras.Model):
        self._model, self._dtypes = model, [tensor.dtype for tensor in model.inputs]
        self._of_any = tf.function(self._outputs, reduce_retracing=True)
        self._of_shapes: dict[tuple, Callable] = {}

    def __call__(self, arrays: list[np.ndarray]):
        shapes = tuple(array.shape for array in arrays)
        if shapes not in self._of_shapes and len(self._of_shapes) < _SHAPES:
            specs = [tf.TensorSpec(*both) for both in zip(shapes, self._dtypes, strict=True)]
            self._of_shapes[shapes] = tf.function(self._outputs).get_concrete_function(specs)
        outputs = self._of_shapes.get(shapes, self._of_any)([tf.constant(array) for array in arrays])
        return tree.map_structure(lambda output: output.numpy(), outputs)

    def _outputs(self, inputs):
        return self._model(tree.pack_sequence_as(inputs_of(self._model), inputs), training=False)
