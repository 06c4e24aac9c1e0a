"""Weight decay as a term of the loss: the squares of all kernel weights."""

from __future__ import annotations

import keras
import tensorflow as tf

from tfprune.layers.prunable import prunable


class KernelDecay:
    """λ · Σ w² over all kernels, whose gradient is 2λ·w: what `keras.regularizers.L2(λ)` adds.

    The gradient is given as a formula; automatic differentiation goes over a kernel several times. Masks are not looked
    at: pruned weights are expected to be 0, and so is then what they add.

    Args:
        model: Sequential or Functional, plain or masked.
        rate: λ.
    """

    def __init__(self, model: keras.Model, rate: float):
        self._rate = rate
        self._kernels = {id(kernel): kernel for kernel in prunable(model).values()}

    def gradient(self, variable: keras.Variable) -> tf.Tensor | None:
        """2λ·w of a kernel, None for a variable that is none."""
        return 2 * self._rate * variable.value if id(variable) in self._kernels else None

    def value(self) -> float:
        """The term itself."""
        return self._rate * float(tf.add_n([tf.reduce_sum(tf.square(kernel)) for kernel in self._kernels.values()]))
