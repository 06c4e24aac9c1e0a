"""All weights of a model as arrays by path: the same for a plain model and its masked copy."""

from __future__ import annotations

import re
from collections.abc import Mapping

import keras
import numpy as np

from tfprune.errors import InputError
from tfprune.layers.kernel_masks import masks_of_layer
from tfprune.layers.topology import named_layers, require_graph

Weights = dict[str, np.ndarray]

_UNNAMED = re.compile(r"variable(_\d+)?")


def weight_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Path -> variable of everything that training changes: kernels, biases, normalisation with its running averages.

    A path is the layer's path in the model and the variable's name in the layer, see `layer_variables`; for kernels it
    is that of `tfprune.prunable`. Masks and the states of random generators are no weights. A variable that several
    layers have is there once: where a layer holds another one of the model, under the inner one.
    """
    require_graph(model)
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
    """Name -> variable of a layer and of those within it, masks left out; in Keras's order.

    A name is Keras's own where only one variable has it. Layers made of layers have several of one name (the kernels of
    attention's projections): the first keeps it and the others are numbered in order, `kernel`, `kernel_1`, ... A
    variable without a name counts as one named `variable`: Keras numbers these through all models of a process.
    """
    masks = {id(mask) for mask in masks_of_layer(layer).values()}
    variables = [variable for variable in layer.variables if id(variable) not in masks]
    names = ["variable" if _UNNAMED.fullmatch(variable.name) else variable.name for variable in variables]
    own, found = set(names), {}
    for name, variable in zip(names, variables, strict=True):
        free, number = name, 0
        while free in found or (number and free in own):
            number += 1
            free = f"{name}_{number}"
        found[free] = variable
    return found


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
