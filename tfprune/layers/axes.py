"""Which axes of a kernel are positions, inputs and outputs: the matrix that a kernel is, whatever the layer."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import keras
import numpy as np
from keras import layers

from tfprune.layers.inner import inner_layers
from tfprune.layers.kinds import Kernel, kind_of, plain_type
from tfprune.layers.lora import kernel_variable
from tfprune.layers.prunable import kernels_of, prunable
from tfprune.layers.topology import named_layers


@dataclass(frozen=True)
class Axes:
    """The axes of a kernel, counted from 0, by what they number; together they are all of its axes.

    Attributes:
        positions: places in space that an output looks at; those that a product of batches goes through.
        inputs: what an output is a sum over, positions aside. None for depthwise kernels, where it is one channel.
        outputs: what is made.
        spatial: whether the layer is a convolution, so that positions are its spatial kernel's.
    """

    positions: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    spatial: bool = False

    def arranged(self, kernel: np.ndarray) -> np.ndarray:
        """A kernel as (positions, inputs, outputs), each in C order of its axes."""
        return kernel.transpose(self._order).reshape(self._sizes(kernel.shape))

    def blank(self, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """A mask of a kernel's shape without a weight, and the view of it, arranged, by which it is written to."""
        placed = np.zeros([shape[axis] for axis in self._order], bool)
        return placed.transpose(np.argsort(self._order)), placed.reshape(self._sizes(shape))

    @property
    def _order(self) -> list[int]:
        return [*self.positions, *self.inputs, *self.outputs]

    def _sizes(self, shape: tuple[int, ...]) -> list[int]:
        return [prod(shape[axis] for axis in part) for part in (self.positions, self.inputs, self.outputs)]


def kernel_axes(model: keras.Model) -> dict[str, Axes]:
    """Axes of each kernel of `prunable(model)`, by its path, in that order.

    Layers of `tfprune.layers.kinds.KINDS`, alone or within others, say it there, `EinsumDense` by its equation. Of any
    other kernel (of recurrent cells, tables, layers of one's own) the last axis is outputs, the one before it inputs.

    Raises:
        InputError: as for `prunable`.
    """
    found: dict[int, Axes] = {}
    for _, layer in named_layers(model):
        for variable in kernels_of(layer).values():
            found.setdefault(id(variable), _axes(None, None, len(variable.shape)))
        for _, one in inner_layers(layer):
            kind = kind_of(one)
            if kind is not None and one.built:
                for kernel in kind.kernels:
                    variable = kernel_variable(one, kernel.name)
                    found[id(variable)] = _axes(one, kernel, len(variable.shape))
    return {path: found[id(variable)] for path, variable in prunable(model).items()}


def _axes(layer: keras.layers.Layer | None, kernel: Kernel | None, rank: int) -> Axes:
    if kernel is not None and plain_type(layer) is layers.EinsumDense:
        return _by_equation(layer.equation)
    kernel = kernel or Kernel()
    outputs = tuple(rank + axis for axis in kernel.outputs)
    inputs = () if kernel.is_depthwise else (rank + kernel.inputs,)
    positions = tuple(axis for axis in range(rank) if axis not in (*inputs, *outputs))
    return Axes(positions, inputs, outputs, spatial=layer is not None and bool(positions))


def _by_equation(equation: str) -> Axes:
    given, output = equation.replace(" ", "").replace(".", "").split("->")
    features, kernel = given.split(",")
    labels = list(enumerate(kernel))
    return Axes(
        positions=tuple(axis for axis, label in labels if label in features and label in output),
        inputs=tuple(axis for axis, label in labels if label not in output),
        outputs=tuple(axis for axis, label in labels if label not in features and label in output),
    )
