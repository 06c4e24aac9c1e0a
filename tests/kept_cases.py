"""Layers that can hold kept weights only, each with a shape of inputs; and models of them, masked and kept."""

import keras
import numpy as np
from keras import layers as L

import tfprune
from tfprune.layers.kept import kept_copy


def _einsum(equation, shape, bias=None):
    return lambda: L.EinsumDense(equation, output_shape=shape, bias_axes=bias, name="a")


CASES = {
    "dense": (lambda: L.Dense(6, "tanh", name="a"), (5,)),
    "dense without bias": (lambda: L.Dense(6, use_bias=False, name="a"), (5,)),
    "dense of sequences": (lambda: L.Dense(6, name="a"), (4, 5)),
    "dense of images": (lambda: L.Dense(6, name="a"), (2, 3, 5)),
    "einsum": (_einsum("abc,cd->abd", (4, 6), "d"), (4, 5)),
    "einsum to heads": (_einsum("abc,cde->abde", (4, 3, 2), "de"), (4, 5)),
    "einsum of heads": (_einsum("abcd,cde->abe", (4, 3), "e"), (4, 5, 2)),
    "einsum of blocks": (_einsum("abc,bcd->adb", (3, 4), "db"), (4, 5)),
    "einsum, turned kernel": (_einsum("abc,dc->adb", (3, 4), "d" + "b"), (4, 5)),
    "einsum with ellipsis": (_einsum("...x,xy->...y", 7, "y"), (4, 5)),
    "einsum, outer": (_einsum("ab,bc->abc", (5, 7)), (5,)),
    "conv1 causal": (lambda: L.Conv1D(6, 3, padding="causal", dilation_rate=2, name="a"), (9, 4)),
    "conv1 same, strides": (lambda: L.Conv1D(6, 3, 2, padding="same", name="a"), (9, 4)),
    "conv1 groups": (lambda: L.Conv1D(6, 3, groups=2, name="a"), (9, 4)),
    "conv2 same": (lambda: L.Conv2D(6, 3, padding="same", activation="tanh", name="a"), (7, 6, 3)),
    "conv2 valid, strides, groups": (lambda: L.Conv2D(6, (3, 2), (2, 1), groups=2, name="a"), (7, 6, 4)),
    "conv2 same, strides": (lambda: L.Conv2D(5, 3, 2, padding="same", name="a"), (7, 6, 3)),
    "conv2 dilation": (lambda: L.Conv2D(6, (3, 2), dilation_rate=2, padding="same", name="a"), (7, 6, 4)),
    "depthwise1": (lambda: L.DepthwiseConv1D(3, 2, "same", depth_multiplier=2, name="a"), (9, 4)),
    "depthwise2 strides": (lambda: L.DepthwiseConv2D(3, 2, "same", depth_multiplier=2, name="a"), (8, 9, 4)),
    "depthwise2 dilation": (lambda: L.DepthwiseConv2D((3, 2), dilation_rate=2, name="a"), (8, 9, 4)),
    "transposed1 same": (lambda: L.Conv1DTranspose(3, 3, 2, padding="same", name="a"), (5, 4)),
    "transposed1 valid": (lambda: L.Conv1DTranspose(3, 3, 3, output_padding=1, name="a"), (5, 4)),
    "transposed2 same": (lambda: L.Conv2DTranspose(3, 3, 2, padding="same", output_padding=1, name="a"), (5, 4, 2)),
    "transposed2 valid": (lambda: L.Conv2DTranspose(3, 2, 3, name="a"), (5, 4, 2)),
    "transposed2 dilation": (lambda: L.Conv2DTranspose(3, 2, dilation_rate=2, name="a"), (5, 4, 2)),
}


def images(shape, seed=0, batch=3):
    return np.random.default_rng(seed).normal(size=(batch, *shape)).astype("f4")


def masked_model(layers, shape, density=0.4):
    """A masked model of a chain of layers, with random weights and masks."""
    x = given = keras.Input(shape, name="given")
    for layer in layers:
        x = layer(x)
    model = keras.Model(given, x, name="net")
    rng = np.random.default_rng(1)
    for variable in model.weights:
        drawn = rng.normal(0, 0.5, variable.shape)
        variable.assign(np.abs(drawn) + 0.5 if "variance" in variable.name else drawn)
    masks = {path: rng.random(kernel.shape) < density for path, kernel in tfprune.prunable(model).items()}
    return tfprune.masked(model, masks)


def fast_and_masked(name):
    """A case's layer, kept, and the masked model of which it is."""
    make, shape = CASES[name]
    model = masked_model([make()], shape)
    return kept_copy(model, lambda layer, mask: True), model


def small_network():
    """Two models, fast and masked, of convolutions, normalisation, dropout and dense layers; the last one stays."""
    layers = [
        *(L.Conv2D(6, 3, activation="relu", name="conv"), L.BatchNormalization(name="norm")),
        *(L.Conv2D(8, 3, 2, name="strided"), L.Flatten(), L.Dropout(0.5, seed=3, name="drop")),
        *(L.Dense(12, "relu", name="dense"), L.Dense(4, name="head")),
    ]
    model = masked_model(layers, (8, 8, 3))
    return kept_copy(model, lambda layer, mask: layer.name != "head"), model
