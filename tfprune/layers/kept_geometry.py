"""How a layer's product is one of rows, see `tfprune.engine.geometry`: of plain, masked and kept layers alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from tfprune.engine.geometry import Geometry
from tfprune.engine.rule import pays
from tfprune.errors import InputError
from tfprune.layers.kinds import DEPTHWISE, TRANSPOSED

_LABELS = "0123456789"  # of the axes that an ellipsis stands for; equations have letters


@dataclass(frozen=True)
class Contraction:
    """An equation of `EinsumDense`, whose product is one of rows, with the labels of its axes.

    Attributes:
        given, kernel, made: of inputs, kernel and outputs.
    """

    given: str
    kernel: str
    made: str

    @classmethod
    def of(cls, equation: str, rank: int) -> Contraction | None:
        """None where an equation is no product of rows: a label is there twice, or is summed over alone.

        Args:
            equation: that of the layer.
            rank: of its inputs.
        """
        terms, made = equation.replace(" ", "").split("->")
        given, kernel = terms.split(",")
        ellipsis = _LABELS[: max(0, rank - len(given.replace(".", "")))]
        given, made = given.replace("...", ellipsis), made.replace("...", ellipsis)
        twice = any(len(set(labels)) != len(labels) for labels in (given, kernel, made))
        alone = set(kernel) - set(given) - set(made) or set(given) - set(kernel) - set(made)
        return None if twice or alone else cls(given, kernel, made)

    @property
    def examples(self) -> str:
        """Labels along which the kernel is repeated."""
        return "".join(label for label in self.given if label not in self.kernel)

    @property
    def row_in(self) -> str:
        """Labels of a row of the inputs: those that all three have, then those that are summed over."""
        return self._shared + "".join(label for label in self.kernel if label not in self.made)

    @property
    def row_out(self) -> str:
        """Labels of a row of the outputs: those that all three have, then those that only the kernel brings."""
        return self._shared + "".join(label for label in self.kernel if label not in self.given)

    @property
    def _shared(self) -> str:
        return "".join(label for label in self.kernel if label in self.given and label in self.made)


@dataclass(frozen=True)
class ContractionGeometry(Geometry):
    """Of a kernel with any number of axes: a matrix of which the kernel may hold only blocks.

    Attributes:
        sizes: of the kernel's axes.
        row_in, row_out: axes of the kernel that number the rows of inputs and of outputs.
    """

    sizes: tuple[int, ...] = ()
    row_in: tuple[int, ...] = ()
    row_out: tuple[int, ...] = ()

    @classmethod
    def of(cls, contraction: Contraction, sizes: Sequence[int]) -> ContractionGeometry:
        row_in, row_out = (
            tuple(map(contraction.kernel.index, part)) for part in (contraction.row_in, contraction.row_out)
        )
        inputs, outputs = (math.prod(sizes[axis] for axis in part) for part in (row_in, row_out))
        return cls(
            (1, 1, inputs, outputs),
            channels=inputs,
            out_channels=outputs,
            sizes=tuple(sizes),
            row_in=row_in,
            row_out=row_out,
        )

    @property
    def size(self) -> int:
        return math.prod(self.sizes)

    def connections(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        places = np.unravel_index(indices, self.sizes)
        row, made = (self._numbers(places, part) for part in (self.row_in, self.row_out))
        return super().connections(row * self.out_channels + made)

    def _numbers(self, places: Sequence[np.ndarray], axes: tuple[int, ...]) -> np.ndarray:
        found = np.zeros_like(places[0], np.int64)
        for axis in axes:
            found = found * self.sizes[axis] + places[axis]
        return found


def geometry_of(layer: keras.layers.Layer, shape: Sequence[int | None]) -> Geometry:
    """The geometry of a layer's kernel; of a transposed convolution that of the convolution the other way.

    Args:
        layer: built, of a class of `tfprune.layers.kept_layers.KEPT`, or masked or kept.
        shape: of its inputs, with the batch axis.

    Raises:
        InputError: the size of a convolution's images is not known.
    """
    sizes = kernel_shape(layer)
    if isinstance(layer, layers.Dense):
        return Geometry.dense(*sizes)
    if isinstance(layer, layers.EinsumDense):
        return ContractionGeometry.of(Contraction.of(layer.equation, len(shape)), sizes)
    if None in shape[1:]:
        raise InputError(
            f"layer {layer.name!r} holds kept weights only and needs images of a known size. Received: {tuple(shape)}"
        )
    depthwise = isinstance(layer, DEPTHWISE)
    image = layer.compute_output_shape(tuple(shape)) if isinstance(layer, TRANSPOSED) else shape
    return Geometry.convolution(
        (*_two(layer.kernel_size), *sizes[-2:]),
        (*_two(image[1:-1]), image[-1]),
        strides=_two(layer.strides),
        dilation=_two(layer.dilation_rate),
        padding=layer.padding,
        groups=getattr(layer, "groups", 1),
        depthwise=depthwise,
    )


def examples_of(layer: keras.layers.Layer, shape: Sequence[int | None], batch_size: int) -> int:
    """Examples that the kernel meets in a batch: those of the batch, times axes along which it is repeated.

    Args:
        layer, shape: as for `geometry_of`.
        batch_size: of the batch; an axis of unknown size counts as 1.
    """
    if isinstance(layer, layers.Dense):
        repeated = shape[1:-1]
    elif isinstance(layer, layers.EinsumDense):
        contraction = Contraction.of(layer.equation, len(shape))
        repeated = [
            shape[place] for place, label in enumerate(contraction.given) if place and label in contraction.examples
        ]
    else:
        repeated = ()
    return batch_size * math.prod(size or 1 for size in repeated)


def shapes_of(layer: keras.layers.Layer) -> list[tuple[int | None, ...]]:
    """Of the inputs that a layer is called with, in the graphs that it is part of."""
    return [tuple(tensor.shape) for node in layer._inbound_nodes for tensor in node.input_tensors[:1]]


def pays_for(layer: keras.layers.Layer, kept: int, batch_size: int) -> bool:
    """Whether the engine's rule says that a layer's products with kept weights alone are the quicker ones.

    A masked class of one's own has a rule of its own where its attribute `pays` is one.

    Args:
        layer: plain or masked, one that can be kept; wherever its model's graph calls it, it has to pay.
        kept: number of its kernel's weights that are kept.
        batch_size: examples in a batch.
    """
    shapes = shapes_of(layer)
    calls = [(geometry_of(layer, shape), examples_of(layer, shape, batch_size)) for shape in shapes]
    rule = getattr(type(layer), "pays", pays)
    return bool(calls) and all(rule(geometry, kept, examples) for geometry, examples in calls)


def kernel_shape(layer: keras.layers.Layer) -> tuple[int, ...]:
    """That of a built layer's kernel, or of the one that a layer of kept weights stands for."""
    return tuple(getattr(layer, "kernel_shape", None) or layer.kernel.shape)


def _two(sizes: Sequence[int]) -> tuple[int, int]:
    """Of one or two axes: one is a width, of height 1."""
    return (1, *sizes) if len(sizes) == 1 else tuple(sizes)
