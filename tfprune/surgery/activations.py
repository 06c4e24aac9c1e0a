"""Which activations do the same to every feature, so that channels can go around them and constants pass through."""

from __future__ import annotations

import functools
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import activations, layers, ops

_NAMES = (
    *("celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh"),
    *("leaky_relu", "linear", "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink"),
    *("softplus", "softsign", "sparse_plus", "sparse_sigmoid", "squareplus", "swish", "tanh", "tanh_shrink"),
    *("threshold", "abs", "absolute", "atan", "arctan", "cos", "erf", "exp", "negative", "sign", "sin", "square"),
)
# What a room has under one of these names is the same function everywhere; not all have all.
_ROOMS = (activations, ops, tf.nn, tf.math)
_FUNCTIONS = {id(getattr(room, name)) for room in _ROOMS for name in _NAMES if hasattr(room, name)} | {id(tf.identity)}
# Of packages that need not be installed.
_ELSEWHERE = {"keras_hub.src.utils.keras_utils.gelu_approximate"}
_LAYERS = (layers.ReLU, layers.LeakyReLU, layers.ELU)


def is_elementwise(activation) -> bool:
    """Whether an activation is known to do the same to every number; None is no activation.

    Known are functions of `keras.activations`, `keras.ops`, `tf.nn` and `tf.math`, `functools.partial`s of these with
    numbers for their options, and layers. Nothing tells from the outside what another function does, so others are not:
    their channels stay.
    """
    if isinstance(activation, functools.partial):
        plain = not activation.args and all(isinstance(x, (bool, int, float)) for x in activation.keywords.values())
        return plain and is_elementwise(activation.func)
    if type(activation) is layers.Activation:
        return is_elementwise(activation.activation)
    if f"{getattr(activation, '__module__', '')}.{getattr(activation, '__qualname__', '')}" in _ELSEWHERE:
        return True
    return activation is None or id(activation) in _FUNCTIONS or type(activation) in _LAYERS


def on_constants(function: Callable) -> Callable[[np.ndarray], np.ndarray]:
    """The function for arrays in which NaN stands for unknown values, and stays."""

    def evaluated(constants: np.ndarray) -> np.ndarray:
        known = ~np.isnan(constants)
        result = np.full(len(constants), np.nan)
        if known.any():
            given = keras.ops.convert_to_tensor(constants[known])
            result[known] = ops.convert_to_numpy(function(given))
        return result

    return evaluated
