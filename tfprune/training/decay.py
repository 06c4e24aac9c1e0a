"""Weight decay as a term of the loss: the squares of all kept kernel weights."""

from __future__ import annotations

import keras
import tensorflow as tf

from tfprune.layers.kernel_masks import masks_of_layer
from tfprune.layers.prunable import kernels_of
from tfprune.layers.topology import named_layers


class KernelDecay:
    """λ · Σ w² over the kept weights of all kernels, whose gradient is 2λ·w: what `keras.regularizers.L2(λ)` adds.

    The gradient is given as a formula, which costs one pass over a kernel; automatic differentiation takes several.

    Args:
        model: Sequential or Functional, plain or masked.
        rate: λ.
    """

    def __init__(self, model: keras.Model, rate: float):
        self._rate = rate
        self._kernels: dict[int, tuple[keras.Variable, keras.Variable | None]] = {}
        for _, layer in named_layers(model):
            masks = masks_of_layer(layer)
            for name, kernel in kernels_of(layer).items():
                self._kernels[id(kernel)] = kernel, masks.get(name)

    def gradient(self, variable: keras.Variable) -> tf.Tensor | None:
        """2λ·w of a kernel's kept weights, 0 for pruned ones, None for a variable that is no kernel."""
        if id(variable) not in self._kernels:
            return None
        return 2 * self._rate * self._kept(*self._kernels[id(variable)])

    def value(self) -> float:
        """The term itself."""
        squares = (tf.reduce_sum(tf.square(self._kept(*pair))) for pair in self._kernels.values())
        return self._rate * float(tf.add_n(list(squares)))

    @staticmethod
    def _kept(kernel: keras.Variable, mask: keras.Variable | None) -> tf.Tensor:
        return kernel.value if mask is None else kernel.value * mask.value
