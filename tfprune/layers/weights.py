"""All weights of a model as arrays by path: the same for a plain model and its masked copy."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np

from tfprune.errors import InputError
from tfprune.layers.inner import inner_variables
from tfprune.layers.kernel_masks import masks_within
from tfprune.layers.topology import named_layers, require_built

Weights = dict[str, np.ndarray]


def weight_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Path -> variable of everything that training changes: kernels, biases, normalisation with its running averages.

    A path is the layer's path in the model and the variable's name in the layer, see `layer_variables`; for kernels it
    is that of `tfprune.prunable`. Masks and the states of random generators are no weights. A variable that several
    layers have is there once: where a layer holds another one of the model, under the inner one.
    """
    require_built(model)
    named = [(path, layer, layer_variables(layer)) for path, layer in named_layers(model)]
    owners: dict[int, str] = {}
    for path, _, variables in sorted(named, key=lambda one: _depth(one[1])):
        for variable in variables.values():
            owners.setdefault(id(variable), path)
    found = {}
    for path, layer, variables in named:
        weights = {id(variable) for variable in layer.weights}
        for name, variable in variables.items():
            if id(variable) in weights and owners[id(variable)] == path:
                found[f"{path}/{name}"] = variable
    return found


def layer_variables(layer: keras.layers.Layer) -> dict[str, keras.Variable]:
    """Name -> variable of a layer and of those within it, masks left out; names as in `tfprune.layers.inner`."""
    masks = masks_within(layer)
    return {name: variable for name, variable in inner_variables(layer).items() if id(variable) not in masks}


def _depth(layer: keras.layers.Layer) -> int:
    """Number of layers that a layer consists of."""
    return len(list(layer._flatten_layers()))  # Keras has no public way to see them


def weights_of(model: keras.Model) -> Weights:
    """Copies of all weights, by path, in network order."""
    return {path: np.array(variable.numpy()) for path, variable in weight_variables(model).items()}


def set_weights(model: keras.Model, weights: Mapping[str, np.ndarray]) -> None:
    """Gives a model the weights that `weights_of` took from one of the same form.

    Raises:
        InputError: a path is missing or unknown, or a shape differs; names it. The model is unchanged then.
    """
    variables = weight_variables(model)
    for path in {**variables, **weights}:
        own = tuple(variables[path].shape) if path in variables else None
        given = np.shape(weights[path]) if path in weights else None
        if own != given:
            raise InputError(
                f"weight {path!r}: model {model.name!r} has {own or 'none of that name'}, given is {given or 'none'}"
            )
    for path, variable in variables.items():
        variable.assign(weights[path])
