"""All weights of a model as arrays by path: the same for a plain model and its masked copy."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np

from tfprune.errors import InputError
from tfprune.layers.kernel_masks import masks_of_layer
from tfprune.layers.topology import named_layers, require_graph

Weights = dict[str, np.ndarray]


def weight_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Path -> variable of everything that training changes: kernels, biases, normalisation with its running averages.

    A path is the layer's path in the model and the variable's name, as that of `tfprune.prunable`. Masks and the states
    of random generators are no weights.
    """
    require_graph(model)
    found = {}
    for path, layer in named_layers(model):
        masks = {id(mask) for mask in masks_of_layer(layer).values()}
        for variable in layer.variables:
            if id(variable) not in masks and variable.name != "seed_generator_state":
                found[f"{path}/{variable.name}"] = variable
    return found


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
