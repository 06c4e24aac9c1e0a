"""Batch normalisation that follows a convolution or dense layer becomes part of it."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, tree

from tfprune.layers.copying import plain_layer, remade
from tfprune.layers.kinds import channel_axis, kind_of
from tfprune.layers.state import take_over
from tfprune.layers.topology import flat_inputs, is_nested, named_layers, run


def fold_norms(model: keras.Model) -> keras.Model:
    """A copy of a plain model with fewer normalisations and the same outputs in inference, up to rounding.

    Batch normalisation is a scale and a shift for each channel: γ/√(σ² + ε) and β − μ·γ/√(σ² + ε). Behind a layer with
    a kernel, and without anything in between, they go into its kernel and bias. A normalisation elsewhere, behind a
    layer with an activation or one that is used several times, stays.

    Args:
        model: built Sequential or Functional model without masks; is left as it is.

    Returns:
        Model with the same layer names, an identity in place of each normalisation that is gone; not compiled.

    Reference: Jacob et al. 2017, arXiv 1712.05877, section 3.2.
    """
    norm_of = _pairs(model)
    gone = {id(norm) for norm in norm_of.values()}

    def convert(layer: keras.Operation) -> keras.Operation:
        if id(layer) in gone:
            return layers.Activation("linear", name=layer.name, dtype=layer.dtype_policy)
        if id(layer) in norm_of:
            return plain_layer(layer, lambda config: {**config, "use_bias": True})
        return plain_layer(layer)

    copy = remade(model, convert)
    for (_, layer), (_, new) in zip(named_layers(model), named_layers(copy), strict=True):
        if id(layer) in norm_of:
            _fold(layer, norm_of[id(layer)], new)
        elif id(layer) not in gone:
            for old, variable in zip(layer.variables, new.variables, strict=True):
                variable.assign(old)
        take_over(layer, new)
    return copy


def _fold(layer, norm: layers.BatchNormalization, new) -> None:
    mean, variance = (np.asarray(value, np.float64) for value in (norm.moving_mean, norm.moving_variance))
    scale = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        scale = scale * np.asarray(norm.gamma)
    shift = -mean * scale + (np.asarray(norm.beta) if norm.center else 0)
    bias = np.asarray(layer.bias, np.float64) if layer.use_bias else 0
    *first, last = kind_of(layer).kernels
    for kernel in first:
        getattr(new, kernel.name).assign(getattr(layer, kernel.name))
    kernel = np.asarray(getattr(layer, last.name), np.float64)
    shape = [1] * kernel.ndim
    for axis in last.outputs:
        shape[axis] = kernel.shape[axis]
    getattr(new, last.name).assign(kernel * scale.reshape(shape))
    new.bias.assign(bias * scale + shift)


def _pairs(model: keras.Model) -> dict[int, layers.BatchNormalization]:
    """Id of a layer with a kernel -> the normalisation of its outputs, where nobody else sees them."""
    made, used = _tensors(model)
    readers: dict[int, list] = {}
    for operation, tensors in used:
        for tensor in tensors:
            readers.setdefault(id(tensor), []).append(operation)
    makers: dict[int, list] = {}
    for operation, tensor in made:
        makers.setdefault(id(operation), []).append(tensor)
    found = {}
    for maker, tensor in made:
        reading = readers.get(id(tensor), [])
        alone = len(reading) == 1 and all(len(makers.get(id(layer), [])) == 1 for layer in (maker, reading[0]))
        if alone and type(reading[0]) is layers.BatchNormalization and _scales_outputs(maker, reading[0], tensor):
            found[id(maker)] = reading[0]
    return found


def _scales_outputs(maker: keras.Operation, norm: layers.BatchNormalization, outputs: keras.KerasTensor) -> bool:
    kind = kind_of(maker)
    if kind is None or not kind.kernels[-1].outputs or maker.activation is not keras.activations.linear:
        return False
    rank = len(outputs.shape)
    return norm.axis % rank == channel_axis(maker) % rank


def _tensors(model: keras.Model) -> tuple[list, list]:
    """(operation, tensor it makes) and (operation or None for the outputs, tensors it reads) of a graph.

    All tensors are in there, so that none has the id of another.
    """
    made, used = [], []

    def call(operation: keras.Operation, *args, **kwargs):
        if is_nested(operation):
            (given,) = args or (kwargs["inputs"],)
            outputs = run(operation, flat_inputs(operation, given), call)
            return outputs[0] if len(outputs) == 1 else outputs
        tensors = [x for x in tree.flatten((args, kwargs)) if isinstance(x, keras.KerasTensor)]
        spec = operation.compute_output_spec(*args, **kwargs)
        outputs = tree.map_structure(lambda x: keras.KerasTensor(x.shape, x.dtype), spec)
        used.append((operation, tensors))
        made.extend((operation, output) for output in tree.flatten(outputs))
        return outputs

    inputs = [keras.KerasTensor(tensor.shape, tensor.dtype) for tensor in model.inputs]
    used.append((None, run(model, inputs, call)))
    return made, used
