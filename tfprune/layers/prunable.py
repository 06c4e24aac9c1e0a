"""Which variables of a model can be pruned: the kernels of dense layers and convolutions, and any other layer's.

Biases and normalisation are never pruned. This lives in the layers' room, below surgery, connectivity, pruning and
training, because all of them name weights by these paths.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import keras

from tfprune.errors import InputError
from tfprune.layers.inner import inner_layers, inner_variables
from tfprune.layers.kernel_masks import masked_kernels
from tfprune.layers.kinds import CHANNEL_WISE, is_kept, kind_of
from tfprune.layers.lora import kernel_variable, refuse_lora
from tfprune.layers.topology import named_layers, require_built


def kernels_of(layer: keras.Operation) -> dict[str, keras.Variable]:
    """Name -> prunable variable of one layer, with those of layers within it; empty if it has none.

    Of a layer of `tfprune.layers.kinds.KINDS` these are its kernels, named as its attributes; of any other see
    `inner_kernels`.

    Raises:
        InputError: a kernel with a low-rank update (LoRA), which is not what the layer multiplies with; a layer that
            holds kept weights only, or one around such a layer.
    """
    refuse_lora(layer)
    _refuse_kept(layer)
    kind = kind_of(layer)
    if kind is None:
        return inner_kernels(layer)
    return {kernel.name: getattr(layer, kernel.name) for kernel in kind.kernels}


def _refuse_kept(layer: keras.Operation) -> None:
    if isinstance(layer, keras.layers.Layer) and any(map(is_kept, layer._flatten_layers())):
        raise InputError(
            f"layer {layer.name!r} holds kept weights only and has no kernel: take tfprune.masked(model), which has one"
        )


def has_kernels(layer: keras.Operation) -> bool:
    """Whether a layer has kernels, with or without low-rank updates."""
    return kind_of(layer) is not None or bool(inner_kernels(layer))


def inner_kernels(layer: keras.Operation) -> dict[str, keras.Variable]:
    """Name (see `tfprune.layers.inner`) -> variable: the kernels, matrices and tables that a layer consists of.

    Those of layers of `KINDS` in it; of all others each trainable variable of floats of rank 2 or more, but no biases,
    nothing that has one axis only (a token, a scale of channels), nothing of normalisation and of quantized layers. A
    low-rank update (LoRA) is beside its kernel, and no kernel itself.
    """
    if not isinstance(layer, keras.layers.Layer) or not layer.variables:
        return {}
    names = {id(variable): name for name, variable in inner_variables(layer).items()}
    found: dict[int, keras.Variable] = {}
    for _, one in inner_layers(layer):
        found |= {id(variable): variable for variable in _own_kernels(one) if id(variable) in names}
    return {names[key]: variable for key, variable in found.items()}


def _own_kernels(layer: keras.layers.Layer) -> list[keras.Variable]:
    if isinstance(layer, tuple(CHANNEL_WISE)) or getattr(layer, "quantization_mode", None):
        return []
    kind = kind_of(layer)
    if kind is not None:
        return [kernel_variable(layer, kernel.name) for kernel in kind.kernels] if layer.built else []
    return [variable for variable in layer._trainable_variables if _is_kernel(variable)]  # also of frozen layers


def _is_kernel(variable: keras.Variable) -> bool:
    several = any(size != 1 for size in variable.shape[:-1])
    return several and "float" in variable.dtype and not re.search(r"^lora_|bias$", variable.name)


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
        it is not Keras's `variable.path`. Within a layer the name goes on by attributes, `lstm/cell.recurrent_kernel`.

    Raises:
        InputError: a model without weights, a kernel with a low-rank update (LoRA), or a layer that holds kept weights
            only; says what to do instead.
    """
    require_built(model)
    named = [(path, layer, kernels_of(layer)) for path, layer in named_layers(model)]
    owners: dict[int, str] = {}
    for path, _, kernels in sorted(named, key=lambda one: len(one[1]._flatten_layers())):
        for variable in kernels.values():
            owners.setdefault(id(variable), path)
    return Kernels(
        (f"{path}/{name}", variable)
        for path, _, kernels in named
        for name, variable in kernels.items()
        if owners[id(variable)] == path
    )


def unsupported(model: keras.Model) -> list[str]:
    """Paths of layers that have weight matrices or tables, frozen or not, and yet stay dense, in network order.

    Quantized layers are among them, and matrices that are not trainable. Biases, and what scales single channels, are
    not.

    Raises:
        InputError: as for `prunable`.
    """
    require_built(model)
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
    masks = {id(mask) for _, mask in masked_kernels(model)}

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
    require_built(model)
    trained = {id(variable) for variable in model.trainable_variables}
    return [
        f"{path}/{name}"
        for path, layer in named_layers(model)
        for name, variable in kernels_of(layer).items()
        if not layer.trainable or id(variable) not in trained
    ]
