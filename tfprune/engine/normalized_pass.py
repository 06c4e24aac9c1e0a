"""A batch on its way through dense layers that normalise their own inputs, and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tfprune.engine.compiling import kernels
from tfprune.engine.layout import LANES, aligned, whole

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
    """

    def __init__(self, layers: list[NormalizedLayer], connections: list[Connections], batch: int, workers: int):
        self._batch, self._workers, self._measured = batch, workers, True
        lines = whole(batch) // LANES
        self._stride = stride = (lines + 1 - lines % 2) * LANES
        self._layers, self._epsilons = layers, _floats(layer.epsilon for layer in layers)
        self._table = _table(layers, connections)
        inputs, outputs = (sum(sizes) for sizes in zip(*((layer.inputs, layer.outputs) for layer in layers)))
        kept = sum(len(one.indices) for one in connections)
        self._size = kept + 2 * inputs + outputs
        self._rows = aligned(inputs * stride)
        self._made, self._of_made = aligned(outputs * stride), aligned(outputs * stride)
        self._mean, self._variance, self._scale = aligned(inputs), aligned(inputs), aligned(inputs)
        self._scratch = aligned(workers * _kernels().scratch_size(stride)), aligned(kept)
        self._by_output = (
            np.concatenate([one.order for one in connections]),
            *_places([one.of_inputs for one in connections], stride),
            *_bounds_of([one.output_bounds for one in connections], workers),
        )
        self._by_input = (
            *_places([one.of_outputs for one in connections], stride),
            *_bounds_of([one.input_bounds for one in connections], workers),
        )
        self._weights = self._found = np.empty(0, np.float32)

    def fits(self, batch: int, workers: int) -> bool:
        """Whether it was made for such a batch."""
        return (batch, workers) == (self._batch, self._workers)

    def forward(self, inputs: np.ndarray, weights: np.ndarray, averages: np.ndarray, measured: bool) -> np.ndarray:
        """float32 (B, outputs) of the last layer.

        Args:
            inputs: float32 (B, inputs) of the first one.
            weights: of each layer kept values, γ, β and b, one after the other.
            averages: running means of all layers, running variances, and for each layer 1 or 0: see `running`.
            measured: whether mean and variance are those of the batch; else the running ones.
        """
        self._weights, self._measured = weights, measured
        if not measured:
            self._mean[:], self._variance[:] = averages[: 2 * len(self._mean)].reshape(2, -1)
        outputs = _examples(self._batch, self._layers[-1].outputs)
        scratch, scaled = self._scratch
        _kernels().forward(
            *(inputs, weights, measured, self._table, self._epsilons, self._stride, *self._by_output),
            *(self._rows, self._made, self._mean, self._variance, self._scale, scaled, scratch, outputs),
        )
        return outputs

    def running(self, averages: np.ndarray) -> np.ndarray:
        """Running means of all layers and running variances, after this batch, from those `forward` was given."""
        old, seen = averages[: 2 * len(self._mean)].reshape(2, -1), averages[2 * len(self._mean) :]
        if not self._measured:
            return old.ravel()
        momenta = _floats(layer.momentum for layer in self._layers) * seen
        keep = np.repeat(momenta, [layer.inputs for layer in self._layers])
        return np.concatenate(
            [keep * mean + (1 - keep) * new for mean, new in zip(old, (self._mean, self._variance), strict=True)]
        )

    def back(self, upstream: np.ndarray) -> np.ndarray:
        """The gradients of the weights, in their order, from those of the outputs, float32 (B, outputs)."""
        self._found = aligned(self._size)
        _kernels().back(
            *(upstream, self._weights, self._measured, self._table, self._stride, *self._by_input),
            *(self._rows, self._made, self._scale, self._scratch[1], self._of_made, self._found),
        )
        return self._found

    def of_inputs(self) -> np.ndarray:
        """The gradients of the inputs, float32 (B, inputs); after `back`."""
        found = _examples(self._batch, self._layers[0].inputs)
        _kernels().of_inputs(
            *(self._batch, self._weights, self._measured, self._table, self._stride, *self._by_input),
            *(self._rows, self._of_made, self._scale, self._scratch[1], self._found),
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
    joined = np.concatenate(numbers)
    return joined, np.int32(stride) * joined


def _bounds_of(bounds: list[np.ndarray], workers: int) -> tuple[np.ndarray, np.ndarray]:
    """Of all layers, and of the shares of workers that take about equally long."""
    shares = []
    for one in bounds:
        work = one + _BESIDE * np.arange(len(one))
        shares.append(np.searchsorted(work, np.linspace(0, work[-1], workers + 1)))
    return np.concatenate(bounds), np.array(shares, np.int64)


def _floats(numbers: Iterable[float]) -> np.ndarray:
    return np.array([*numbers], np.float32)


def _examples(batch: int, features: int) -> np.ndarray:
    return aligned(batch * features).reshape(batch, features)


def _kernels():
    return kernels("normalized_kernels")
