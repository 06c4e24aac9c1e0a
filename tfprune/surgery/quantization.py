"""Fine-tuning that feels the rounding of int8, of pruned models with their masks."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops, tree
from keras.quantizers import fake_quant_with_min_max_vars

from tfprune.errors import InputError
from tfprune.layers.kernel_masks import MaskedKernels
from tfprune.layers.kinds import kind_of
from tfprune.layers.prunable import kernels_of
from tfprune.layers.reading import called_with
from tfprune.layers.subclassed import as_graph
from tfprune.layers.topology import flat_inputs, is_nested, run
from tfprune.surgery.examples import in_batches, read_examples

_SMALLEST = 1e-6
_BATCH = 32
# These become part of the layer before them, whose outputs are not rounded in between.
_ABSORBED = (layers.BatchNormalization, layers.ReLU)


def quantization_aware(model: keras.Model, representative, *, momentum: float = 0.99) -> keras.Model:
    """A second model over the same layers that rounds as the int8 file of `export` will, for fine-tuning.

    Kernels are read rounded to 255 steps, from −max |w| to max |w| of each output channel (of the whole kernel where a
    layer is neither dense nor convolutional), and what layers read from each other to 256 steps of a range. Gradients
    pass through the rounding. A weight that is 0 stays 0, so masks hold as before.

    Compile and fit this model: the layers of `model` are trained with it. Then export `model` itself.

        aware = tfprune.quantization_aware(sparse, x)
        aware.compile("adam", "sparse_categorical_crossentropy")
        aware.fit(x, y)
        tfprune.export(sparse, "sparse.tflite", precision="int8", representative=x)

    Args:
        model: built model, masked or plain; its layers are shared, not copied.
        representative: examples, as for `export`. The ranges start as those on them, and follow the batches of `fit`.
            The ranges in an exported file are again those on the examples given to `export`.
        momentum: of the moving averages of ranges, in [0, 1].

    Returns:
        A model for training alone; save `model`.

    Raises:
        InputError: examples that do not fit, a momentum outside [0, 1], or a model in half or double precision.

    Reference: Jacob et al. 2018, arXiv 1712.05877, section 3; rounding by Keras's `fake_quant_with_min_max_vars`.
    """
    if not 0 <= momentum <= 1:
        raise InputError(f"momentum must be in [0, 1]. Received: {momentum!r}")
    graph = as_graph(model)
    other = {inner.compute_dtype for inner in graph._flatten_layers()} - {"float32"}
    if other:
        raise InputError(
            f"model {model.name!r} computes in {', '.join(sorted(other))}: int8 is prepared in float32 only"
        )
    examples = read_examples(graph, representative, "representative")
    inputs = [keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name) for tensor in graph.inputs]
    rounding = _Rounding(momentum)
    outputs = [rounding.rounded(tensor) for tensor in run(graph, inputs, rounding.call)]
    if rounding.layers:
        seen = keras.Model(inputs, [layer.input for layer in rounding.layers])
        for batch in in_batches(examples, graph.inputs[0].shape[0] or _BATCH):
            for layer, values in zip(rounding.layers, tree.flatten(seen(batch, training=False)), strict=True):
                layer.widen(values)
        for layer in rounding.layers:
            layer.active.assign(True)
    if isinstance(graph, keras.Sequential):
        return keras.Model(inputs[0], outputs[0], name=f"{model.name}_int8")
    packed_inputs, packed_outputs = (
        tree.pack_sequence_as(structure, flat) for structure, flat in ((graph.input, inputs), (graph.output, outputs))
    )
    return keras.Model(packed_inputs, packed_outputs, name=f"{model.name}_int8")


class _Rounding:
    """Builds the graph: a tensor is rounded, once, where something reads it that does not become part of its maker."""

    def __init__(self, momentum: float):
        self._momentum = momentum
        self._rounded: dict[int, tuple] = {}
        self._kernels: dict[int, RoundedKernels] = {}
        self.layers: list[RoundedRange] = []

    def rounded(self, tensor):
        if not isinstance(tensor, keras.KerasTensor) or "float" not in tensor.dtype:
            return tensor
        if id(tensor) not in self._rounded:
            layer = RoundedRange(self._momentum)
            self.layers.append(layer)
            result = layer(tensor)
            self._rounded[id(tensor)] = tensor, result
            self._rounded[id(result)] = result, result
        return self._rounded[id(tensor)][1]

    def call(self, operation, *args, **kwargs):
        if is_nested(operation):
            outputs = run(operation, flat_inputs(operation, args[0]), self.call)
            single = isinstance(operation, keras.Sequential)
            return outputs[0] if single else tree.pack_sequence_as(operation.output, outputs)
        if not _absorbed(operation):
            args, kwargs = tree.map_structure(self.rounded, (args, kwargs))
        kernels = kernels_of(operation) if isinstance(operation, layers.Layer) else {}
        if kernels:
            operation = self._kernels.setdefault(id(operation), RoundedKernels(operation))
        return operation(*args, **kwargs)


def _absorbed(operation: keras.Operation) -> bool:
    if isinstance(operation, layers.Activation):
        return operation.activation in (keras.activations.relu, keras.activations.relu6)
    return isinstance(operation, _ABSORBED)


class RoundedKernels(layers.Layer):
    """Calls a layer whose kernels read as rounded to int8."""

    def __init__(self, layer: layers.Layer):
        super().__init__(name=f"{layer.name}_int8")
        self.layer = layer
        self.supports_masking = layer.supports_masking

    def call(self, *args, **kwargs):
        return called_with(self, self._values(), self.layer, args, kwargs)

    def _values(self) -> list[tuple]:
        masks = {}
        if isinstance(self.layer, MaskedKernels):
            masks = {id(kernel): mask for kernel, mask in self.layer.kernels_and_masks().values()}
        kind = kind_of(self.layer)
        axes = {} if kind is None else {kernel.name: kernel.outputs for kernel in kind.kernels}
        found = []
        for name, kernel in kernels_of(self.layer).items():
            value = ops.convert_to_tensor(kernel)
            if id(kernel) in masks:
                value = ops.multiply(value, ops.cast(masks[id(kernel)], value.dtype))
            found.append((kernel, rounded_kernel(value, axes.get(name, ()))))
        return found


class RoundedRange(layers.Layer):
    """Rounds what passes to 256 steps of a range with 0 in it, which follows the batches of training."""

    def __init__(self, momentum: float):
        super().__init__()
        self._momentum = momentum
        self.supports_masking = True

    def build(self, input_shape):
        self.low, self.high = (
            self.add_weight(name=name, shape=(), initializer="zeros", trainable=False) for name in ("low", "high")
        )
        self.active = self.add_weight(name="active", shape=(), initializer="zeros", dtype="bool", trainable=False)

    def widen(self, values) -> None:
        """Makes the range hold these values."""
        self.low.assign(ops.minimum(self.low, ops.min(values)))
        self.high.assign(ops.maximum(self.high, ops.max(values)))

    def call(self, inputs, training=False):
        if training:
            for bound, value in ((self.low, ops.min(inputs)), (self.high, ops.max(inputs))):
                extreme = ops.minimum(value, 0.0) if bound is self.low else ops.maximum(value, 0.0)
                bound.assign(self._momentum * bound + (1 - self._momentum) * ops.stop_gradient(extreme))
        high = ops.maximum(self.high, self.low + _SMALLEST)
        return ops.where(self.active, fake_quant_with_min_max_vars(inputs, self.low, high), inputs)


def rounded_kernel(kernel, axes: tuple[int, ...]):
    """A kernel rounded to 255 steps from −max |w| to max |w| over all but the axes of its channels."""
    rank, shape = len(kernel.shape), tuple(kernel.shape)
    own = sorted(axis % rank for axis in axes)
    others = [axis for axis in range(rank) if axis not in own]
    largest = ops.max(ops.abs(ops.stop_gradient(kernel)), axis=others, keepdims=True)
    largest = ops.maximum(largest, _SMALLEST)
    if not own:
        limit = ops.reshape(largest, ())
        return fake_quant_with_min_max_vars(kernel, -limit, limit, narrow_range=True)
    order = [*others, *own]
    moved = ops.reshape(ops.transpose(kernel, order), (-1, int(np.prod([shape[axis] for axis in own]))))
    limit = ops.reshape(ops.transpose(largest, order), (-1,))
    found = fake_quant_with_min_max_vars(moved, -limit, limit, narrow_range=True, axis=-1)
    found = ops.reshape(found, [shape[axis] for axis in order])
    return ops.transpose(found, np.argsort(order).tolist())
