"""A batch on its way through dense layers that normalise their own inputs, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfprune.engine.compiling import kernels
from tfprune.engine.layout import LANES, aligned, whole
from tfprune.errors import InputError

_BESIDE = 8  # connections that take as long as what else there is to do for a feature


@dataclass(frozen=True)
class NormalizedLayer:
    """`x̂ · (γ ∘ W) + (β · W + b)`, and relu where asked for, with `x̂ = (x − mean) / sqrt(variance + ε)`.

    Attributes:
        inputs, outputs: of W.
        relu: whether negative outputs become 0.
        momentum: decay of the running averages.
        epsilon: ε.
    """

    inputs: int
    outputs: int
    relu: bool
    momentum: float
    epsilon: float


class Connections:
    """Kept weights of a matrix, by their inputs and by their outputs.

    Args:
        inputs, outputs: of the matrix.
        indices: (n,), ascending.

    Attributes:
        of_outputs, input_bounds: the output of each weight, and bounds of the weights of each input.
        order: the weights sorted by output; for these
        of_inputs, output_bounds: the input of each weight, and bounds of the weights of each output.
    """

    def __init__(self, inputs: int, outputs: int, indices: np.ndarray):
        self.indices = indices
        of_inputs, of_outputs = np.divmod(indices, outputs)
        self.input_bounds, self.output_bounds = _bounds(of_inputs, inputs), _bounds(of_outputs, outputs)
        self.order = np.argsort(of_outputs, kind="stable").astype(np.int32)
        self.of_outputs, self.of_inputs = of_outputs.astype(np.int32), of_inputs[self.order].astype(np.int32)


def _bounds(numbers: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.bincount(numbers, minlength=size))]).astype(np.int64)


class Pass:
    """A batch on its way through layers and back, in memory that is used again for the next one.

    Args:
        layers, connections: of each layer.
        batch: examples.
        workers: threads.
        pixels: mean and factor, float32 (inputs,): inputs of bytes are (bytes − mean) · factor.
    """

    def __init__(
        self,
        layers: list[NormalizedLayer],
        connections: list[Connections],
        batch: int,
        workers: int,
        pixels: tuple[np.ndarray, np.ndarray] | None = None,
    ):
        self._batch, self._workers, self._measured = batch, workers, True
        lines = whole(batch) // LANES
        self._stride = stride = (lines + 1 - lines % 2) * LANES
        self._layers, self._pixels = layers, pixels
        self._epsilons, self._momenta = (
            np.array([getattr(layer, name) for layer in layers], np.float32) for name in ("epsilon", "momentum")
        )
        self._table = _table(layers, connections)
        most = max(max(layer.inputs, layer.outputs) for layer in layers)
        if most * stride >= 1 << 31:
            raise InputError(
                f"kept weights that normalise their inputs: {batch} examples of {most} are too many at once"
            )
        inputs, outputs = sum(layer.inputs for layer in layers), sum(layer.outputs for layer in layers)
        kept = sum(len(one.indices) for one in connections)
        self._size = kept + 2 * inputs + outputs
        self._rows = aligned(inputs * stride)
        self._made, self._of_made = aligned(outputs * stride), aligned(outputs * stride)
        self._mean, self._variance, self._scale = aligned(inputs), aligned(inputs), aligned(inputs)
        self._scratch, self._scaled = aligned(workers * _kernels().scratch_size(stride)), aligned(kept)
        self._by_output = (
            np.concatenate([one.order for one in connections]),
            *_places([one.of_inputs for one in connections], stride),
            *_bounds_of([one.output_bounds for one in connections], workers),
        )
        self._by_input = (
            *_places([one.of_outputs for one in connections], stride),
            *_bounds_of([one.input_bounds for one in connections], workers),
        )
        self._first = len(connections[0].indices) + 2 * layers[0].inputs + layers[0].outputs
        self._weights = self._of_first = np.empty(0, np.float32)

    def fits(self, batch: int, workers: int) -> bool:
        """Whether it was made for such a batch."""
        return (batch, workers) == (self._batch, self._workers)

    def forward(self, inputs: np.ndarray, weights: np.ndarray, averages: np.ndarray, measured: bool) -> np.ndarray:
        """float32 (B, outputs) of the last layer.

        Args:
            inputs: float32 (B, inputs) of the first one; or uint8, where pixels are given.
            weights: of each layer kept values, γ, β and b, one after the other.
            averages: running means of all layers, running variances, and for each layer 1 or 0: see `running`.
            measured: whether mean and variance are those of the batch; else the running ones.
        """
        self._weights, self._measured = weights, measured
        if not measured:
            self._mean[:], self._variance[:] = averages[: 2 * len(self._mean)].reshape(2, -1)
        outputs, measures = _examples(self._batch, self._layers[-1].outputs), (self._mean, self._variance, self._scale)
        given = measured, self._epsilons[0], self._stride, *measures, self._rows, self._scratch
        if inputs.dtype == np.uint8:
            _kernels().take_pixels(inputs, *self._pixels, *given)
        else:
            _kernels().take_inputs(inputs, *given)
        _kernels().forward(
            *(self._batch, weights, measured, self._table, self._epsilons, self._stride, *self._by_output),
            *(self._rows, self._made, *measures, self._scaled, outputs),
        )
        return outputs

    def running(self, averages: np.ndarray) -> np.ndarray:
        """Running means of all layers and running variances, after this batch, from those `forward` was given."""
        size = 2 * len(self._mean)
        found, keep = aligned(size), self._momenta * averages[size:] if self._measured else np.ones_like(self._momenta)
        _kernels().mix(averages, keep, self._table, self._mean, self._variance, found)
        return found

    def back(self, upstream: np.ndarray) -> np.ndarray:
        """The gradients of the weights, in their order, from those of the outputs, float32 (B, outputs)."""
        found = aligned(self._size)
        _kernels().back(
            *(upstream, self._weights, self._measured, self._table, self._stride, *self._by_input),
            *(self._rows, self._made, self._scale, self._scaled, self._of_made, found),
        )
        # A copy, as TensorFlow may write where it takes an array over.
        self._of_first = found[: self._first].copy()
        return found

    def of_inputs(self) -> np.ndarray:
        """The gradients of the inputs, float32 (B, inputs); after `back`."""
        found = _examples(self._batch, self._layers[0].inputs)
        _kernels().of_inputs(
            *(self._batch, self._weights, self._measured, self._table, self._stride, *self._by_input),
            *(self._rows, self._of_made, self._scale, self._scaled, self._of_first),
            *(aligned(self._layers[0].inputs * self._stride), found),
        )
        return found


def _table(layers: list[NormalizedLayer], connections: list[Connections]) -> np.ndarray:
    """Columns as in `tfprune.engine.normalized_kernels`."""
    lines, first = [], np.zeros(4, np.int64)
    for layer, known in zip(layers, connections, strict=True):
        kept = len(known.indices)
        lines.append([layer.inputs, layer.outputs, kept, layer.relu, *first])
        first += layer.inputs, layer.outputs, kept, kept + 2 * layer.inputs + layer.outputs
    return np.array(lines, np.int64)


def _places(numbers: list[np.ndarray], stride: int) -> tuple[np.ndarray, np.ndarray]:
    joined = np.concatenate([*numbers, np.zeros(kernels("vectors").AHEAD, np.int32)])
    return joined, np.int32(stride) * joined


def _bounds_of(bounds: list[np.ndarray], workers: int) -> tuple[np.ndarray, np.ndarray]:
    """Of all layers, and of the shares of workers that take about equally long."""
    shares = []
    for one in bounds:
        work = one + _BESIDE * np.arange(len(one))
        shares.append(np.searchsorted(work, np.linspace(0, work[-1], workers + 1)))
    return np.concatenate(bounds), np.array(shares, np.int64)


def _examples(batch: int, features: int) -> np.ndarray:
    return aligned(batch * features).reshape(batch, features)


def _kernels():
    return kernels("normalized_kernels")
