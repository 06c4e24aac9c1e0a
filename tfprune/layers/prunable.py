"""Which variables of a model can be pruned: the kernels of dense layers and convolutions.

Biases and normalisation are never pruned. This lives in the layers' room, below surgery, connectivity, pruning and
training, because all of them name weights by these paths.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import keras

from tfprune.layers.kernel_masks import masks_of_layer
from tfprune.layers.kinds import CHANNEL_WISE, kind_of
from tfprune.layers.lora import refuse_lora
from tfprune.layers.topology import named_layers, require_graph


def kernels_of(layer: keras.Operation) -> dict[str, keras.Variable]:
    """Attribute name -> prunable variable of one layer; empty if it has none.

    Raises:
        InputError: a kernel with a low-rank update (LoRA), which is not what the layer multiplies with.
    """
    kind = kind_of(layer)
    if kind is None:
        return {}
    refuse_lora(layer)
    return {kernel.name: getattr(layer, kernel.name) for kernel in kind.kernels}


class Kernels(dict):
    """Path -> variable, in network order; prints as a table without the weights."""

    def __repr__(self) -> str:
        shapes = {path: " x ".join(map(str, variable.shape)) for path, variable in self.items()}
        wide = max(map(len, self), default=0)
        lines = [f"{path:<{wide}}  {shape}" for path, shape in shapes.items()]
        weights = sum(math.prod(variable.shape) for variable in self.values())
        return "\n".join([*lines, f"{len(self)} prunable kernels, {weights:,} weights"])


def prunable(model: keras.Model) -> Kernels:
    """The prunable variables of a model.

    Args:
        model: built Sequential or Functional model, nested or with shared layers; plain or masked.

    Returns:
        Path -> variable in network order, each shared variable once, in a dict that prints as a table. A path is
        the layer's path in the model and the kernel's name, as `block/conv/kernel`; `tfprune.layers.topology` says why
        it is not Keras's `variable.path`.

    Raises:
        InputError: a subclassed model, one without weights, or a kernel with a low-rank update (LoRA); says what to do
            instead.
    """
    require_graph(model)
    return Kernels(
        (f"{path}/{name}", variable)
        for path, layer in named_layers(model)
        for name, variable in kernels_of(layer).items()
    )


def unsupported(model: keras.Model) -> list[str]:
    """Paths of layers that have weight matrices or tables, frozen or not, and yet stay dense, in network order.

    Kernels inside custom layers, embeddings, recurrent and quantized layers are among them. Biases, and what scales
    single channels, are not.

    Raises:
        InputError: as for `prunable`.
    """
    require_graph(model)
    return [
        path
        for path, layer in named_layers(model)
        if not kernels_of(layer)
        and not isinstance(layer, tuple(CHANNEL_WISE))
        and any(len(variable.shape) >= 2 for variable in layer.weights)
    ]


def share_of_parameters(model: keras.Model, operations: Iterable[keras.Operation]) -> float:
    """What part of a model's parameters these layers hold, in [0, 1]; masks are no parameters."""
    layers = [layer for _, layer in named_layers(model)]
    masks = {id(mask) for layer in layers for mask in masks_of_layer(layer).values()}

    def size(of: Iterable[keras.Operation]) -> int:
        own = {id(weight): weight for one in of for weight in getattr(one, "weights", ()) if id(weight) not in masks}
        return sum(math.prod(weight.shape) for weight in own.values())

    return size(operations) / max(1, size(layers))


def frozen_kernels(model: keras.Model) -> list[str]:
    """Paths of prunable kernels that training leaves as they are, in network order.

    A kernel is frozen where its layer or a model around it is (`trainable = False`), or the variable alone.

    Raises:
        InputError: as for `prunable`.
    """
    require_graph(model)
    trained = {id(variable) for variable in model.trainable_variables}
    return [
        f"{path}/{name}"
        for path, layer in named_layers(model)
        for name, variable in kernels_of(layer).items()
        if not layer.trainable or id(variable) not in trained
    ]
