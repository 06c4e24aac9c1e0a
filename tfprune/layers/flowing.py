"""Models that compute several layers at once in inference, by the engine; in training each layer as ever."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfprune.engine.compiling import kernels
from tfprune.engine.flow import Flow
from tfprune.engine.products import apart, operation
from tfprune.layers.flows import Plan, plans
from tfprune.layers.kept_layers import has_kept
from tfprune.layers.topology import graph_class, is_nested, layers_of, run_as_called

LEAST = 12  # examples: a block is for 16


def let_flow(model: keras.Model) -> None:
    """Lets a model, and models in its graph, compute layers at once where they can, from batches of 12 examples on.

    Args:
        model: Sequential or Functional; stays of its class. Any other stays as it is.
    """
    if not is_nested(model) or not has_kept(model):
        return
    for inner in layers_of(model):
        if is_nested(inner):
            let_flow(inner)
    found = [_Flowing(plan) for plan in plans(model)]
    if found:
        kernels("flow_kernels")
        vars(model)["call"] = _Calling(model, found)  # the class's own stays what a graph computes


class _Calling:
    """The `call` of one model."""

    def __init__(self, model: keras.Model, flowing: Sequence[_Flowing]):
        self._model = weakref.ref(model)
        self._flowing = list(flowing)

    def __call__(self, inputs, training=None, mask=None, **arguments):
        model = self._model()
        plain = graph_class(model).call
        number = None if training or mask is not None or arguments else _batch(inputs)
        if number is None or (isinstance(number, int) and number < LEAST):
            return plain(model, inputs, training=training, mask=mask, **arguments)
        if isinstance(number, int):
            return self._at_once(model, inputs)
        return tf.cond(number >= LEAST, lambda: self._at_once(model, inputs), lambda: plain(model, inputs))

    def _at_once(self, model, inputs):
        members: dict[int, _Run] = {}
        for flowing in self._flowing:
            run = _Run(flowing)
            members |= {id(call.operation): run for call in flowing.plan.calls}

        def other(operation):
            run = members.get(id(operation))
            return operation if run is None else lambda *given, **_: run(operation, given)

        outputs = run_as_called(model, inputs, other)
        return outputs[0] if isinstance(outputs, (list, tuple)) and len(outputs) == 1 else outputs


def _batch(inputs):
    """Examples, as a number or a tensor; None where the inputs are symbolic, or no tensors."""
    first = keras.tree.flatten(inputs)[0]
    if isinstance(first, np.ndarray) and first.ndim:
        return len(first)
    if not tf.is_tensor(first) or not first.shape.rank:
        return None
    return first.shape[0] if first.shape[0] is not None else tf.shape(first)[0]


class _Run:
    """Calls of a plan, one after the other: the first gives what they all read, the last what they make."""

    def __init__(self, flowing: _Flowing):
        self._flowing, self._given = flowing, None

    def __call__(self, operation: keras.Operation, given):
        calls = self._flowing.plan.calls
        if operation is calls[0].operation:
            (self._given,) = keras.tree.flatten(given)
        return self._flowing(self._given) if operation is calls[-1].operation else self._given


class _Flowing:
    """What a plan's layers make of images, with their weights of now, and its gradients."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self._flow = Flow(plan.image, plan.steps)
        found = [call.operation.variables for call in plan.calls if isinstance(call.operation, keras.layers.Layer)]
        self._variables = [variable for variables in found for variable in variables]
        self._known: list[np.ndarray] = []

    def __call__(self, images):
        """float32 (B, ...), of float32 (B, height, width, channels)."""
        tensors = [tf.convert_to_tensor(variable) for variable in self._variables]
        return apart(self, weakref.proxy(self)._made, tf.convert_to_tensor(images), *tensors)

    def _made(self, images, *tensors):
        this = weakref.proxy(self)

        @tf.custom_gradient
        def made(images, *tensors):
            outputs = operation(this._outputs, [images, *tensors])
            outputs.set_shape([images.shape[0], *this.plan.shape])
            return outputs, lambda upstream: this._gradients(upstream, images, *tensors)

        return made(images, *tensors)

    def _gradients(self, upstream, images, *tensors):
        """By the layers one by one."""
        given = [images, *(tensor for tensor in tensors if tensor.dtype.is_floating)]
        with keras.StatelessScope(zip(self._variables, tensors, strict=True)), tf.GradientTape() as tape:
            tape.watch(given)
            made = {id(self.plan.given): images}
            for call in self.plan.calls:
                inputs = [made[id(tensor)] for tensor in call.given]
                is_sum = len(inputs) > 1 and isinstance(call.operation, keras.layers.Layer)
                outputs = call.operation(inputs) if is_sum else call.operation(*inputs)
                made[id(call.made[0])] = outputs
        found = dict(zip(map(id, given), tape.gradient(outputs, given, upstream), strict=True))
        return tuple(found.get(id(tensor)) for tensor in (images, *tensors))

    def _outputs(self, images: np.ndarray, *arrays: np.ndarray) -> np.ndarray:
        known = self._known
        if not known or not all(map(np.array_equal, known, arrays)):
            self._known = [array.copy() for array in arrays]
            values = dict(zip(map(id, self._variables), self._known, strict=True))
            self._flow.set_weights([weights(values) for weights in self.plan.weights])
        outputs = self._flow.outputs(images)
        return outputs.reshape(len(images), *self.plan.shape)
