"""Kernels as the matrices that layers multiply their inputs with, and these inputs as rows of features.

A layer of `tfprune.layers.kinds.KINDS`, alone or within others, computes features · matrix before bias and activation:
of a dense layer the features are what it is given, of a convolution the patch around each position, of an `EinsumDense`
the labels that its equation sums over. Where groups of outputs read features of their own (grouped and depthwise
convolutions, labels that go through an equation), each has a matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from tfprune.layers.inner import inner_layers
from tfprune.layers.kinds import CONVOLUTIONS, DEPTHWISE, SEPARABLE, TRANSPOSED, channel_axis, kind_of, plain_type
from tfprune.layers.prunable import prunable
from tfprune.layers.topology import named_layers

_PATCH_BYTES = 64 << 20  # of features that are held at once

Select = Callable[[tf.Tensor], tf.Tensor]


@dataclass(frozen=True)
class Linear:
    """How a layer uses a kernel.

    Attributes:
        layer: is called with tensors that `squares` and `grams` take.
        shape: of the kernel, an axis split where groups need it.
        groups, inputs, outputs: axes of that shape that number matrices, their rows and their columns.
        depth: length of the last of `inputs`, of what an N:M pattern may group.
        reads: what the features are of the layer's inputs; kernels that read alike have the same of the same inputs.
        given: inputs of the layer -> what features are selected from.
        select: that -> (groups, rows, features), each of them one of its numbers, or 0.
        copies: how often a number is selected, where examples lie along the first axis and do not mix; else 0.
    """

    layer: keras.layers.Layer
    shape: tuple[int, ...]
    groups: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    depth: int
    reads: tuple
    given: Select
    select: Select
    copies: int = 0

    def matrices(self, kernel: np.ndarray) -> np.ndarray:
        """(groups, inputs, outputs) of an array of the kernel's shape."""
        axes = self.groups, self.inputs, self.outputs
        shape = [prod(self.shape[axis] for axis in part) for part in axes]
        return kernel.reshape(self.shape).transpose(sum(axes, ())).reshape(shape)

    def kernel(self, matrices: np.ndarray) -> np.ndarray:
        """The way back from `matrices`, flat."""
        order = (*self.groups, *self.inputs, *self.outputs)
        return matrices.reshape([self.shape[axis] for axis in order]).transpose(np.argsort(order)).ravel()

    def squares(self, inputs: tf.Tensor) -> tf.Tensor:
        """(groups, inputs) in float32 or float64: the sum of each feature's squares over all rows."""
        given = tf.square(self.given(_full(inputs)))
        if self.copies:  # patches of the examples' sum are the sum of their patches
            given = tf.reduce_sum(given, 0, keepdims=True)
        return tf.reduce_sum(self.select(given), 1)

    def grams(self, inputs: tf.Tensor) -> Iterator[tf.Tensor]:
        """(groups, inputs, inputs), whose sum is that of the products of two features over all rows; eager tensors."""
        given = self.given(_full(inputs))
        step = examples = given.shape[0]
        if self.copies:
            step = max(1, _PATCH_BYTES // max(1, self.copies * prod(given.shape[1:]) * given.dtype.size))
        for start in range(0, examples, max(1, step)):
            features = self.select(given[start : start + step])
            yield tf.matmul(features, features, transpose_a=True)


def linear_kernels(model: keras.Model) -> dict[str, Linear]:
    """Those kernels of `prunable(model)`, by path and in that order, that one layer of `KINDS` multiplies with.

    Tables, kernels of recurrent cells and of layers of one's own, and those that several layers have, are left out.
    """
    found: dict[int, list[Linear | None]] = {}
    seen: set[int] = set()
    for _, outer in named_layers(model):
        for _, layer in inner_layers(outer):
            if id(layer) not in seen and kind_of(layer) is not None and layer.built:
                seen.add(id(layer))
                for name, linear in _of_layer(layer).items():
                    found.setdefault(id(getattr(layer, name)), []).append(linear)
    ways = {path: found.get(id(variable), []) for path, variable in prunable(model).items()}
    return {path: own[0] for path, own in ways.items() if len(own) == 1 and own[0] is not None}


def _of_layer(layer: keras.layers.Layer) -> dict[str, Linear | None]:
    plain = plain_type(layer)
    if plain is layers.Dense:
        return {"kernel": _dense(layer, tuple(layer.kernel.shape))}
    if plain is layers.EinsumDense:
        return {"kernel": _by_equation(layer)}
    if plain in TRANSPOSED:
        return {"kernel": _transposed(layer)}
    if plain in CONVOLUTIONS:
        return {"kernel": _convolution(layer, layer.kernel, layer.groups)}
    if plain in DEPTHWISE:
        return {"kernel": _convolution(layer, layer.kernel, layer.kernel.shape[-2], depthwise=True)}
    if plain in SEPARABLE:
        depthwise, pointwise = layer.depthwise_kernel, tuple(layer.pointwise_kernel.shape)
        return {
            "depthwise_kernel": _convolution(layer, depthwise, depthwise.shape[-2], depthwise=True),
            "pointwise_kernel": _dense(layer, pointwise, lambda x: _after_depthwise(layer, x)),
        }
    return {}


def _same(x: tf.Tensor) -> tf.Tensor:
    return x


def _full(x) -> tf.Tensor:
    x = tf.convert_to_tensor(x)
    return x if x.dtype == tf.float64 else tf.cast(x, tf.float32)


def _dense(layer, shape: tuple[int, ...], given: Select = _same, inputs: int | None = None) -> Linear:
    """Along the last axes of what is given, which are the kernel's first ones."""
    inputs = len(shape) - 1 if inputs is None else inputs
    size = prod(shape[:inputs])
    axes = tuple(range(inputs)), tuple(range(inputs, len(shape)))
    reads = ("rows", size) if given is _same else ("rows", size, id(layer))
    return Linear(layer, shape, (), *axes, size, reads, given, lambda x: tf.reshape(x, (1, -1, size)))


def _by_equation(layer: layers.EinsumDense) -> Linear | None:
    left, output = layer.equation.replace(" ", "").split("->")
    given, kernel = left.split(",")
    labels = given.replace("...", "")
    groups = [label for label in kernel if label in given and label in output]
    inputs = [label for label in kernel if label in given and label not in output]
    outputs = [label for label in kernel if label not in given and label in output]
    if len({*kernel}) < len(kernel) or len({*labels}) < len(labels) or not inputs:
        return None
    if len(groups) + len(inputs) + len(outputs) < len(kernel):
        return None
    shape = tuple(layer.kernel.shape)
    rest = [label for label in labels if label not in kernel and label in output]
    summed = len(groups) + len(inputs) + len(rest) < len(labels)
    if kernel == "".join(inputs + outputs) and given.endswith("".join(inputs)) and not summed:
        return _dense(layer, shape, inputs=len(inputs))
    size = dict(zip(kernel, shape, strict=True))
    rows = prod(size[label] for label in groups), -1, prod(size[label] for label in inputs)
    dots = "..." if "..." in given else ""
    kept = "".join((*groups, dots, *rest, *inputs))
    places = [tuple(kernel.index(label) for label in part) for part in (groups, inputs, outputs)]
    reads = (given, kept, rows)
    return Linear(
        *(layer, shape, *places, rows[2], reads),
        lambda x: tf.einsum(f"{given}->{kept}", x),
        lambda x: tf.reshape(x, rows),
    )


def _convolution(layer, kernel: keras.Variable, groups: int, depthwise: bool = False) -> Linear:
    *window, depth, filters = kernel.shape
    if depthwise:
        depth, filters = 1, filters * groups
    place = len(window)
    how = {"strides": _numbers(layer.strides, place), "dilation_rate": _numbers(layer.dilation_rate, place)}
    padding, before = layer.padding, None
    if padding == "causal":
        padding, before = "valid", how["dilation_rate"][0] * (window[0] - 1)

    def patches(x: tf.Tensor, one_hot: tf.Tensor) -> tf.Tensor:
        if before is not None:
            x = tf.pad(x, [(0, 0), (before, 0), (0, 0)])
        one_hot = tf.reshape(one_hot, (*window, 1, prod(window)))
        return ops.conv(x, one_hot, padding=padding, data_format="channels_last", **how)

    reads = ("patches", *window, layer.padding, groups, channel_axis(layer), *how["strides"], *how["dilation_rate"])
    return Linear(
        layer,
        (*window, depth, groups, filters // groups),
        (place + 1,),
        tuple(range(place + 1)),
        (place + 2,),
        depth,
        reads,
        _channels_last(layer),
        _patches(patches, prod(window), groups),
        copies=prod(window),
    )


def _transposed(layer) -> Linear:
    *window, filters, depth = layer.kernel.shape
    place = len(window)

    def patches(x: tf.Tensor, one_hot: tf.Tensor) -> tf.Tensor:
        return ops.conv_transpose(
            x,
            tf.reshape(one_hot, (*window, prod(window), 1)),
            strides=list(layer.strides),
            padding=layer.padding,
            output_padding=layer.output_padding,
            dilation_rate=layer.dilation_rate,
            data_format="channels_last",
        )

    return Linear(
        layer,
        (*window, filters, depth),
        (),
        (*range(place), place + 1),
        (place,),
        depth,
        ("transposed", id(layer)),
        _channels_last(layer),
        _patches(patches, prod(window), 1),
        copies=prod(window) * prod(layer.strides),
    )


def _channels_last(layer) -> Select:
    return _same if channel_axis(layer) == -1 else lambda x: tf.experimental.numpy.moveaxis(x, 1, -1)


def _patches(patches: Callable, places: int, groups: int) -> Select:
    """What an output reads at each place of its window, made channel by channel by a convolution of one-hot filters."""

    def select(x: tf.Tensor) -> tf.Tensor:
        *space, channels = x.shape[1:]
        alone = tf.reshape(tf.experimental.numpy.moveaxis(x, -1, 1), (-1, *space, 1))
        found = patches(alone, tf.eye(places, dtype=x.dtype))
        found = tf.reshape(found, (-1, groups, channels // groups, prod(found.shape[1:-1]), places))
        return tf.reshape(
            tf.transpose(found, (1, 0, 3, 4, 2)), (groups, -1, places * (channels // groups))
        )  # examples and positions are rows; within a row places, and in each the channels

    return select


def _after_depthwise(layer, x: tf.Tensor) -> tf.Tensor:
    """What the second kernel of a separable convolution reads."""
    place = len(layer.depthwise_kernel.shape) - 2
    kernel = tf.cast(ops.convert_to_tensor(layer.depthwise_kernel), x.dtype)
    return ops.depthwise_conv(
        _channels_last(layer)(x),
        kernel,
        strides=_numbers(layer.strides, place),
        padding=layer.padding,
        dilation_rate=_numbers(layer.dilation_rate, place),
        data_format="channels_last",
    )


def _numbers(value: int | tuple, count: int) -> tuple[int, ...]:
    return (value,) * count if isinstance(value, int) else tuple(value)
