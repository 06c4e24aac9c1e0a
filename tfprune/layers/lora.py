"""Low-rank updates of layers (`layer.enable_lora`), and weights in which they are merged.

Keras freezes a kernel W and trains A and B beside it: the layer computes with W + α/r·A·B. A masked layer masks the
sum, (W + α/r·A·B) ∘ m: pruned weights stay out of the output, and merging the update fills none of them.

Reference: Hu et al. 2021, arXiv 2106.09685.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import keras
import numpy as np
from keras import layers

from tfprune.errors import InputError
from tfprune.layers.topology import named_layers

_KINDS = (layers.Dense, layers.EinsumDense, layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.Embedding)
_KEYS = ("lora_rank", "lora_alpha")


def has_lora(layer: keras.Operation) -> bool:
    """Whether a layer itself, not one within it, has a low-rank update."""
    return isinstance(layer, _KINDS) and layer.lora_enabled


def any_lora(model: keras.Model) -> bool:
    """Whether any layer of a model has a low-rank update, those within other layers included."""
    return any(any(_updated(layer)) for _, layer in named_layers(model))


def refuse_lora(layer: keras.Operation) -> None:
    """For what speaks of kernels as they are.

    Raises:
        InputError: the layer, or one within it, has a low-rank update; says how to merge it.
    """
    if any(_updated(layer)):
        raise InputError(
            f"layer {layer.name!r} has a low-rank update (LoRA) beside its kernel: merge it first, with "
            "tfprune.masked(model) or, without masks, tfprune.strip(model)"
        )


def kernel_variable(layer: keras.layers.Layer, name: str) -> keras.Variable:
    """The variable of a kernel, where the attribute itself is the sum of it and a low-rank update, too."""
    return getattr(layer, f"_{name}") if has_lora(layer) else getattr(layer, name)


def merged_config(layer: keras.layers.Layer, config: dict) -> dict:
    """The configuration of a layer without low-rank updates, those of layers within it included."""
    if has_lora(layer):
        config = {key: value for key, value in config.items() if key not in _KEYS}
    return {key: _merged(value) for key, value in config.items()} if any(_updated(layer)) else config


def merged_values(layer: keras.layers.Layer, variables: Sequence[keras.Variable]) -> list:
    """Values of variables of a layer once updates are merged: those of A and B are left out, kernels are sums.

    Raises:
        InputError: a quantized layer with an update, which no longer has the kernel that the update was trained for.
    """
    sums, gone = {}, set()
    for inner in _updated(layer):
        if inner.quantization_mode:
            raise InputError(
                f"layer {layer.name!r} is quantized and has a low-rank update (LoRA): they cannot be merged"
            )
        name = _updated_name(inner)
        kernel, *pair = (getattr(inner, key) for key in (f"_{name}", f"lora_{name}_a", f"lora_{name}_b"))
        a, b = (np.asarray(matrix, np.float64) for matrix in pair)
        value = kernel.numpy()
        sums[id(kernel)] = (value + inner.lora_alpha / inner.lora_rank * (a @ b)).astype(value.dtype)
        gone.update(map(id, pair))
    return [sums.get(id(variable), variable) for variable in variables if id(variable) not in gone]


def updates_of(layer: keras.layers.Layer) -> Iterator[tuple]:
    """(kernel W, tensor W + α/r·A·B, variable B) of each low-rank update of a layer and of those within it."""
    for inner in _updated(layer):
        name = _updated_name(inner)
        yield getattr(inner, f"_{name}"), getattr(inner, name), getattr(inner, f"lora_{name}_b")


def _updated_name(layer: keras.layers.Layer) -> str:
    return "embeddings" if isinstance(layer, layers.Embedding) else "kernel"


def _updated(layer: keras.Operation) -> Iterator[keras.layers.Layer]:
    """Layers with updates: itself, or layers within it."""
    if isinstance(layer, keras.layers.Layer):
        yield from (inner for inner in layer._flatten_layers() if has_lora(inner))  # no public way to see them


def _merged(value):
    """A serialised layer, or what holds some, without updates."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(_merged, value))
    if not isinstance(value, dict):
        return value
    known = str(value.get("module")).startswith("keras.") or str(value.get("registered_name")).startswith("tfprune>")
    inner = {key: _merged(part) for key, part in value.items()}
    if known and isinstance(inner.get("config"), dict):
        inner["config"] = {key: part for key, part in inner["config"].items() if key not in _KEYS}
    return inner
