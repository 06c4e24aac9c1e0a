"""Models that compute several layers at once in inference, by the engine; in training each layer as ever."""

from __future__ import annotations

import contextlib
import inspect
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

import keras
import numpy as np
import tensorflow as tf

from tfprune.engine.compiling import kernels
from tfprune.engine.flow import Flow
from tfprune.engine.products import apart, operation, place_of, unchanged, use_threads
from tfprune.errors import InputError
from tfprune.layers.flows import Plan, plans
from tfprune.layers.kept_layers import has_kept
from tfprune.layers.topology import calls, functional, graph_class, is_nested, layers_of, run_as_called

# Examples from which on it is done: a block is for 16.
_least: ContextVar[int] = ContextVar("least", default=12)


def let_flow(model: keras.Model, to_the_end: bool = False) -> keras.Model:
    """Lets a model, and models in its graph, compute layers at once where they can, from batches of 12 examples on.

    Args:
        model: Sequential or Functional; any other stays as it is.
        to_the_end: see `tfprune.layers.flows.plans`.

    Returns:
        The model itself.
    """
    if not is_nested(model) or not has_kept(model):
        return model
    for inner in layers_of(model):
        if is_nested(inner):
            let_flow(inner, to_the_end)
    found = []
    for plan in plans(model, to_the_end):
        with contextlib.suppress(InputError):  # images that are too large
            found.append(_Flowing(plan))
    if found:
        kernels("flow_kernels")
        vars(model)["call"] = _Calling(model, found)  # not by `setattr`, which Keras watches
    return model


def flows_of(model: keras.Model) -> list[list[str]]:
    """Names of the layers of a model and of models in its graph that it computes at once, in order."""
    if not is_nested(model):
        return []
    found = [flows for inner in layers_of(model) if is_nested(inner) for flows in flows_of(inner)]
    calling = vars(model).get("call")
    own = calling.flowing if isinstance(calling, _Calling) else []
    return [*found, *([call.operation.name for call in flowing.plan.calls] for flowing in own)]


@contextlib.contextmanager
def few_examples() -> Iterator[None]:
    """Meanwhile that is done with a batch of any size."""
    token = _least.set(1)
    try:
        yield
    finally:
        _least.reset(token)


class Beginning:
    """What a model computes at once from its input on, with its weights of now, from array to array.

    Attributes:
        made: the tensor of the model's graph.
    """

    def __init__(self, flowing: _Flowing):
        self._plan, self.made = flowing.plan, flowing.plan.calls[-1].made[0]
        self._flow = Flow(self._plan.image, self._plan.steps)
        self._flow.set_weights(flowing.weights())

    def takes(self, examples: int) -> bool:
        """Whether it is done with so many."""
        return examples >= _least.get()

    def outputs(self, images: np.ndarray) -> np.ndarray:
        """float32 (B, ...), of float32 (B, height, width, channels)."""
        use_threads()
        return self._plan.finished(self._flow.outputs(images))


def beginning(model: keras.Model) -> Beginning | None:
    """That of a model that `let_flow` was given; None where nothing is computed at once that alone reads its input."""
    calling = vars(model).get("call")
    graph = functional(model)
    for flowing in calling.flowing if isinstance(calling, _Calling) else []:
        given, own = flowing.plan.given, {id(call.operation) for call in flowing.plan.calls}
        others = [call for call in calls(model) if id(call.operation) not in own]
        elsewhere = [*graph.outputs, *(tensor for call in others for tensor in call.given)]
        if list(map(id, graph.inputs)) == [id(given)] and id(given) not in map(id, elsewhere):
            return Beginning(flowing)
    return None


class _Calling:
    """The `call` of one model."""

    def __init__(self, model: keras.Model, flowing: Sequence[_Flowing]):
        self._model, self._graph = model, functional(model)
        self.flowing = list(flowing)

    def __call__(self, inputs, training=None, mask=None, **arguments):
        model = self._model
        symbolic = any(isinstance(one, keras.KerasTensor) for one in keras.tree.flatten(inputs))
        changed = functional(model) is not self._graph  # as a Sequential model that layers were added to
        if training or symbolic or changed or mask is not None or arguments:
            return graph_class(model).call(model, inputs, training=training, mask=mask, **arguments)
        members: dict[int, _Run] = {}
        for flowing in self.flowing:
            if flowing.is_as_planned():
                run = _Run(flowing)
                members |= {id(call.operation): run for call in flowing.plan.calls}

        def other(operation):
            run = members.get(id(operation))
            return operation if run is None else lambda *given, **named: run(operation, (given, named))

        outputs = run_as_called(model, inputs, other, training)
        return outputs[0] if isinstance(outputs, (list, tuple)) and len(outputs) == 1 else outputs


class _Run:
    """Calls of a plan, one after the other: the first gives what they all read, the last what they make."""

    def __init__(self, flowing: _Flowing):
        self._flowing, self._given = flowing, None

    def __call__(self, operation: keras.Operation, given):
        calls = self._flowing.plan.calls
        if operation is calls[0].operation:
            self._given = keras.tree.flatten(given)[0]  # twice the same where a sum is the first; by name: `inputs`
        return self._flowing(self._given) if operation is calls[-1].operation else self._given


class _Flowing:
    """What a plan's layers make of images, with their weights of now, and its gradients."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.layers = [call.operation for call in plan.calls if isinstance(call.operation, keras.layers.Layer)]
        self._flow = Flow(plan.image, plan.steps)
        self._settings = [dict(vars(layer)) for layer in self.layers]
        self._variables = [variable for layer in self.layers for variable in layer.variables]
        self._known: tuple[np.ndarray, ...] = ()  # held, as TensorFlow would write into what nobody holds
        self._places: list[tuple] = []
        self._lock = threading.Lock()

    def is_as_planned(self) -> bool:
        """Whether the layers' settings are what they were, and nothing stands around their calls."""
        return all(map(_is_same, self._settings, map(vars, self.layers)))

    def weights(self, arrays: Sequence[np.ndarray] | None = None) -> list:
        """What each step computes with, with these values of its variables, or those of now."""
        arrays = [variable.numpy() for variable in self._variables] if arrays is None else arrays
        values = dict(zip(map(id, self._variables), arrays, strict=True))
        return [weights(values) for weights in self.plan.weights]

    def __call__(self, images):
        """float32 (B, ...), of float32 (B, height, width, channels); layer by layer where those are few examples."""
        images = tf.convert_to_tensor(images)
        tensors = _read(self._variables)
        halves = any(tensor.dtype in (tf.float16, tf.bfloat16) for tensor in tensors)  # Keras cast them
        if halves or images.shape[1:] != self.plan.image:
            return self._one_by_one(images)

        def at_once():
            return apart(self, weakref.proxy(self)._made, images, *tensors)

        number, least = images.shape[0], _least.get()
        if number is None:
            return tf.cond(tf.shape(images)[0] >= least, at_once, lambda: self._one_by_one(images))
        return at_once() if number >= least else self._one_by_one(images)

    def _one_by_one(self, images):
        made = {id(self.plan.given): images}
        for call in self.plan.calls:
            made[id(call.made[0])] = outputs = _called(call.operation, [made[id(one)] for one in call.given])
        return outputs

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
            outputs = self._one_by_one(images)
        found = dict(zip(map(id, given), tape.gradient(outputs, given, upstream), strict=True))
        return tuple(found.get(id(tensor)) for tensor in (images, *tensors))

    def _outputs(self, images: np.ndarray, *arrays: np.ndarray) -> np.ndarray:
        with self._lock:
            self._take(arrays)
            outputs = self._flow.outputs(images)
        return self.plan.finished(outputs)

    def _take(self, arrays: tuple[np.ndarray, ...]) -> None:
        """Weights, unless they are those of the last call."""
        places = list(map(place_of, arrays))
        if places == self._places:
            return
        if not self._known or not all(map(unchanged, self._known, arrays)):
            self._flow.set_weights(self.weights(arrays))
        self._known, self._places = arrays, places


def _read(variables: Sequence[keras.Variable]) -> list:
    """Their values, read one after the other: TensorFlow would wake its threads to read many at once."""
    tensors: list = []
    for variable in variables:
        with tf.control_dependencies(list(filter(tf.is_symbolic_tensor, tensors[-1:]))):
            tensors.append(tf.convert_to_tensor(variable))
    return tensors


def _is_same(before: dict, now: dict) -> bool:
    """Of public attributes of a layer."""
    public = [[name for name in one if not name.startswith("_")] for one in (before, now)]
    return public[0] == public[1] and all(before[name] is now[name] for name in public[0])


def _called(operation: keras.Operation, inputs: list):
    if not isinstance(operation, keras.layers.Layer):
        return operation(*inputs)
    knows = "training" in inspect.signature(operation.call).parameters
    return operation(inputs if len(inputs) > 1 else inputs[0], **({"training": False} if knows else {}))
