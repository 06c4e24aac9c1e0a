"""Channels as tensors: what activation functions make of them on data, and what the loss makes of these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from tfprune.errors import InputError
from tfprune.layers.topology import flat_inputs, is_nested, layers_of, run
from tfprune.layers.variants import in_full_precision
from tfprune.pruning.channel_network import ChannelNetwork
from tfprune.pruning.fitted import blamed, fitted
from tfprune.pruning.loss_values import loss_value
from tfprune.pruning.losses import Loss

Found = list[tuple[np.ndarray, np.ndarray]]


class Activations:
    """The tensors of a model that stand for channels: outputs of activation functions.

    Channels that no activation function makes are those of the outputs of the layers that make them. Within layers made
    of layers, the tensors between these count, if no rule knows the layer and it is called once; else none.

    Args:
        network: of a model.
    """

    def __init__(self, network: ChannelNetwork):
        self._model, seen = network.model, network.trace.seen
        self._inside = {key: opened.graph for key, opened in network.trace.opened.items() if len(seen[key]) == 1}
        classes = network.classes
        makers = {id(layer) for maker in network.makers.values() for layer in maker.layers}
        active, plain = {}, {}  # (id of an operation, its use, its output) -> (classes, axis)
        for operation in self._operations(self._model):
            for use, outputs in enumerate(seen.get(id(operation), ())):
                for number, signal in enumerate(outputs):
                    if signal.axis is not None and len(signal.channels):
                        place = (id(operation), use, number)
                        told = classes[signal.channels], signal.axis
                        if _activates(operation):
                            active[place] = told
                        elif id(operation) in makers:
                            plain[place] = told
        covered = np.zeros(len(classes), bool)
        for own, _ in active.values():
            covered[own] = True
        self._places = {place: (own, axis, np.arange(len(own))) for place, (own, axis) in active.items()}
        for place, (own, axis) in plain.items():
            if not covered[own].all():
                self._places[place] = own, axis, np.flatnonzero(~covered[own])

    def _operations(self, model: keras.Model) -> Iterator[keras.Operation]:
        """Layers and operations of a graph, of those nested in it and of the layers that are looked into."""
        for operation in layers_of(model) if isinstance(model, keras.Sequential) else model.operations:
            inner = operation if is_nested(operation) else self._inside.get(id(operation))
            if inner is None:
                yield operation
            else:
                yield from self._operations(inner)

    def values(self, batches: Iterable[tuple]) -> Iterator[Found]:
        """Of each batch (classes, values (examples, positions, channels)) of every tensor, in inference."""

        @tf.function(autograph=False)
        def compute(inputs):
            return self._run(inputs)[1]

        for batch in _some(batches):
            inputs, _, _ = fitted(self._model, _no_loss, batch)
            yield self._found(self._called(compute, inputs))

    def products(self, batches: Iterable[tuple], loss: Loss) -> Iterator[Found]:
        """Of each batch (classes, gradient times value (examples, positions, channels)) of every tensor, in inference.

        The gradient is that of each example's own loss.

        Args:
            batches: see `fitted`.
            loss: from `chosen_loss`.
        """

        @tf.function(autograph=False)
        def compute(inputs, labels, weights):
            with tf.GradientTape() as tape:
                outputs, tensors = self._run(inputs, tape)
                value = loss_value(loss, labels, outputs, weights if tf.nest.flatten(weights) else None)
                value *= tf.cast(tf.shape(tf.nest.flatten(inputs)[0])[0], value.dtype)
            gradients = tape.gradient(value, tensors, unconnected_gradients="zero")
            return [tensor * gradient for tensor, gradient in zip(tensors, gradients, strict=True)]

        for batch in _some(batches):
            inputs, labels, weights = fitted(self._model, loss, batch)
            yield self._found(self._called(compute, inputs, labels, weights))

    def _called(self, compute, *batch):
        specs = tf.nest.map_structure(lambda array: tf.TensorSpec([None, *array.shape[1:]], array.dtype), batch)
        with in_full_precision(self._model):
            concrete = compute.get_concrete_function(*specs)
        with blamed("loss"):
            return concrete(*tf.nest.map_structure(tf.convert_to_tensor, batch))

    def _run(self, inputs, tape: tf.GradientTape | None = None):
        """Outputs in the model's structure, and the tensors of all places."""
        uses: dict[int, int] = {}
        seen: dict[tuple, tf.Tensor] = {}

        def call(operation: keras.Operation, *args, **kwargs):
            if is_nested(operation):
                (given,) = args or (kwargs["inputs"],)
                outputs = run(operation, flat_inputs(operation, given), call)
                return _packed(operation, outputs)
            if id(operation) in self._inside:
                graph = self._inside[id(operation)]
                given = [x for x in tree.flatten((args, kwargs)) if tf.is_tensor(x)]
                return tree.pack_sequence_as(graph.output, run(graph, given, call))
            outputs = operation(*args, **kwargs)
            use = uses[id(operation)] = uses.get(id(operation), -1) + 1
            flat = tree.flatten(outputs)
            for number, tensor in enumerate(flat):
                place = (id(operation), use, number)
                if place in self._places:
                    if tape is not None:
                        tape.watch(tensor)
                    seen[place] = tensor
            return outputs

        flat = [
            tf.cast(x, tensor.dtype) if tensor.dtype != "string" else x
            for x, tensor in zip(tree.flatten(inputs), self._model.inputs, strict=True)
        ]
        with keras.StatelessScope():
            outputs = run(self._model, flat, call)
        missing = [place for place in self._places if place not in seen]
        if missing:
            raise InputError(
                f"model {self._model.name!r} computes otherwise than its graph says: no scores of activations"
            )
        return _packed(self._model, outputs), [seen[place] for place in self._places]

    def _found(self, tensors: list[tf.Tensor]) -> Found:
        found = []
        for (classes, axis, which), tensor in zip(self._places.values(), tensors, strict=True):
            array = np.moveaxis(tensor.numpy(), axis, -1)[..., which]
            found.append((classes[which], array.reshape(len(array), -1, len(which))))
        return found


def _some(batches: Iterable[tuple]) -> Iterator[tuple]:
    empty = True
    for batch in batches:
        empty = False
        yield batch
    if empty:
        raise InputError("data holds no batches")


def _packed(model: keras.Model, outputs: list):
    if isinstance(model, keras.Sequential):
        return outputs[0]
    return tree.pack_sequence_as(model.output, outputs) if tree.is_nested(model.output) else outputs[0]


def _activates(operation: keras.Operation) -> bool:
    """Whether what comes out has passed an activation function."""
    if isinstance(operation, keras.layers.Layer):
        function = getattr(operation, "activation", None)
        if callable(function) and function is not keras.activations.linear:
            return True
        return isinstance(operation, _LAYERS)
    return type(operation).__name__ in _OPERATIONS


def _no_loss(labels, outputs):
    raise NotImplementedError


_LAYERS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.PReLU, keras.layers.ELU)
# As `keras.ops.relu` and its like are called in a graph.
_OPERATIONS = frozenset(
    {"Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Celu", "Gelu", "Silu", "Sigmoid", "Tanh", "Softplus"}
    | {"HardSwish", "HardSilu", "HardSigmoid", "Mish"}
)
