"""The layers of a model whose time depends on how many channels they read and make: what each is, and each alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import keras
from keras import tree

from tfprune.layers.kinds import channel_axis, channel_kernels, kind_of, plain_type, resize
from tfprune.layers.topology import flat_inputs, is_nested, named_layers, run

# What decides beside the widths how long a layer takes.
_KEYS = (
    *("kernel_size", "strides", "padding", "output_padding", "dilation_rate", "data_format", "depth_multiplier"),
    *("equation", "activation", "use_bias"),
)


@dataclass(frozen=True)
class LayerCall:
    """One use of a layer of `tfprune.layers.kinds.KINDS`.

    Attributes:
        path: of the layer.
        layer: itself.
        shape: of what it reads, with the batch axis, None where a size is open.
    """

    path: str
    layer: keras.layers.Layer
    shape: tuple[int | None, ...]

    @property
    def key(self) -> str:
        """What it is but for its widths: one text for all that take equally long at equal widths."""
        config = self.layer.get_config()
        about = {name: config[name] for name in _KEYS if config.get(name) is not None}
        about |= {"type": plain_type(self.layer).__name__, "dtype": self.layer.compute_dtype}
        about["shape"] = [size for axis, size in enumerate(self.shape) if axis not in (0, self._channels)]
        return json.dumps(about, sort_keys=True, default=str)

    @property
    def inputs(self) -> int:
        """Channels that it reads."""
        return int(self.shape[self._channels])

    @property
    def outputs(self) -> int | None:
        """Channels that it makes; None where those that it reads say it, as of a depthwise convolution."""
        kind = kind_of(self.layer)
        return None if kind.size is None else int(self.axes[1][2])

    @property
    def axes(self) -> tuple[tuple[str, int, int], tuple[str, int, int] | None]:
        """(path of a kernel, its axis, size) of the channels that it reads, and of those that it makes."""
        kernels = channel_kernels(self.layer)
        first, last = kernels[0], kernels[-1]
        of_inputs = self._axis(first.name, first.inputs)
        return of_inputs, None if kind_of(self.layer).size is None else self._axis(last.name, last.outputs[0])

    def alone(self, inputs: int, outputs: int | None, batch: int) -> keras.Model:
        """A model of the layer with other widths, untrained."""
        config = {**self.layer.get_config(), "name": "layer"}
        if outputs is not None:
            resize(self.layer, config, outputs, bool(config.get("use_bias", config.get("bias_axes"))))
        shape = [batch, *self.shape[1:]]
        shape[self._channels] = inputs
        x = keras.Input(batch_shape=shape, name="x", dtype=self.layer.compute_dtype)
        return keras.Model(x, plain_type(self.layer).from_config(config)(x))

    @property
    def _channels(self) -> int:
        return channel_axis(self.layer) % len(self.shape)

    def _axis(self, name: str, axis: int) -> tuple[str, int, int]:
        shape = getattr(self.layer, name).shape
        return f"{self.path}/{name}", len(shape) + axis, int(shape[axis])


def layer_calls(model: keras.Model, batch: int | None = None) -> tuple[list[LayerCall], list[str]]:
    """Every use of a layer whose widths say how long it takes; paths of other layers with weights of several axes.

    Args:
        model: a graph, nested models included.
        batch: size of it, where the model leaves it open.
    """
    paths = {id(layer): path for path, layer in named_layers(model)}
    found = list(_met(model, batch))
    calls = [LayerCall(paths[id(layer)], layer, shape) for layer, shape in found if channel_kernels(layer)]
    known = {id(call.layer) for call in calls}
    others = [
        paths[id(layer)]
        for layer in dict.fromkeys(layer for layer, _ in found)
        if id(layer) not in known and any(len(variable.shape) > 1 for variable in layer.trainable_variables)
    ]
    return calls, others


def _met(model: keras.Model, batch: int | None) -> Iterator[tuple[keras.layers.Layer, tuple]]:
    met = []

    def call(operation: keras.Operation, *args, **kwargs):
        if is_nested(operation):
            (given,) = args or (kwargs["inputs"],)
            outputs = run(operation, flat_inputs(operation, given), call)
            if isinstance(operation, keras.Sequential):
                return outputs[0]
            return tree.pack_sequence_as(operation.output, outputs)
        if isinstance(operation, keras.layers.Layer):
            first = next((one for one in tree.flatten((args, kwargs)) if isinstance(one, keras.KerasTensor)), None)
            if first is not None:
                met.append((operation, tuple(first.shape)))
        return operation.compute_output_spec(*args, **kwargs)

    run(model, [keras.KerasTensor((one.shape[0] or batch, *one.shape[1:]), one.dtype) for one in model.inputs], call)
    return iter(met)
