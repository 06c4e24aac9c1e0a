"""Which activations do the same to every feature, so that channels can go around them and constants pass through."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
from keras import activations, layers, ops

_FUNCTIONS = {
    getattr(activations, name)
    for name in (
        *("celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu"),
        *("linear", "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink", "softplus"),
        *("softsign", "sparse_plus", "sparse_sigmoid", "squareplus", "tanh", "tanh_shrink", "threshold"),
    )
}
_LAYERS = (layers.ReLU, layers.LeakyReLU, layers.ELU)


def is_elementwise(activation) -> bool:
    """Whether an activation is known to do the same to every number; None is no activation."""
    return activation is None or activation in _FUNCTIONS or type(activation) in _LAYERS


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
