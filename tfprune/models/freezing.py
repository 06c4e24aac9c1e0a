"""Weights that training leaves as they are, and the PyTorch originals' names of all weights."""

from __future__ import annotations

import keras

from tfprune.errors import InputError
from tfprune.layers.topology import named_layers

_TENSORS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def tensor_name(path: str) -> str:
    """The original's name for the variable at a path: `blocks.0.conv1.weight` for `blocks.0.conv1/kernel`."""
    layer, _, variable = path.rpartition("/")
    return f"{layer}.{_TENSORS.get(variable, variable)}"


def output_layer(model: keras.Model) -> str:
    """Name of the layer that gives the logits."""
    return model.layers[-1].name


def freeze(
    model: keras.Model,
    batchnorm: bool = False,
    output: bool = False,
    others: bool = False,
    exceptions: str | None = None,
) -> None:
    """Takes weights out of `model.trainable_variables`, in place.

    Single variables are frozen, not layers: a frozen Keras normalisation would no longer normalise by the batch. Its
    running statistics move on, as those of the original do. Copies (`masked`, saving and loading) have all weights
    trainable again, so this comes last.

    Args:
        model: a network of `build_named`, plain or masked.
        batchnorm: freezes scales and offsets of batch normalisation.
        output: freezes kernel and bias of the layer that gives the logits.
        others: freezes all that is neither.
        exceptions: comma-separated tensor names (`conv.weight`) or beginnings of them up to a dot (`blocks.0`) that
            `others` does not freeze.

    Raises:
        InputError: an exception that is no weight of the model.
    """
    allowed = [name.strip() for name in exceptions.split(",")] if exceptions else []
    unused = set(allowed)
    for layer_name, layer in named_layers(model):
        for variable in layer.trainable_variables:
            name = tensor_name(f"{layer_name}/{variable.name}")
            excepted = {entry for entry in allowed if name == entry or name.startswith(f"{entry}.")}
            unused -= excepted
            if isinstance(layer, keras.layers.BatchNormalization):
                frozen = batchnorm
            elif layer_name == output_layer(model):
                frozen = output
            else:
                frozen = others and not excepted
            if frozen:
                variable.trainable = False
    if unused:
        raise InputError(f"others_frozen_exceptions: {min(unused)!r} is no weight of {model.name}")
