"""Weight decay as a term of the loss: the squares of the weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import keras
import tensorflow as tf

from tfprune.layers.prunable import prunable


class Decay(Protocol):
    """A term of the loss that depends on the weights alone."""

    def gradient(self, variable: keras.Variable) -> tf.Tensor | None:
        """Its gradient with respect to a variable, None where it is zero."""

    def of(self, variables: Mapping[int, keras.Variable]) -> Decay:
        """The same term of other variables; ids of its own -> those in their places."""


class Squares:
    """rate/2 · Σ w² over some variables, whose gradient is rate·w.

    The gradient is given as a formula; automatic differentiation goes over a variable several times. Masks are not
    looked at: pruned weights are expected to be 0, and so is then what they add.

    Args:
        variables: which.
        rate: see above.
    """

    def __init__(self, variables: Iterable[keras.Variable], rate: float):
        self._rate = rate
        self._variables = {id(variable): variable for variable in variables}

    def gradient(self, variable: keras.Variable) -> tf.Tensor | None:
        """rate·w of a variable that decays, None for another one."""
        return self._rate * variable.value if id(variable) in self._variables else None

    def of(self, variables: Mapping[int, keras.Variable]) -> Squares:
        """The same term of other variables (kept weights alone, say); ids of its own -> those in their places."""
        return Squares([variables[key] for key in self._variables if key in variables], self._rate)

    def value(self) -> float:
        """The term itself."""
        squares = [tf.reduce_sum(tf.square(variable)) for variable in self._variables.values()]
        return self._rate / 2 * float(tf.add_n(squares))


class KernelDecay(Squares):
    """λ · Σ w² over all kernels, whose gradient is 2λ·w: what `keras.regularizers.L2(λ)` adds.

    Args:
        model: Sequential or Functional, plain or masked.
        rate: λ.
    """

    def __init__(self, model: keras.Model, rate: float):
        super().__init__(prunable(model).values(), 2 * rate)


class AllDecay(Squares):
    """λ/2 · Σ w² over all trainable variables, biases and normalisation too: what PyTorch's `weight_decay` λ adds.

    Args:
        model: any built model.
        rate: λ; above 0.
    """

    def __init__(self, model: keras.Model, rate: float):
        super().__init__(model.trainable_variables, rate)
