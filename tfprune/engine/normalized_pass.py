"""A batch on its way through dense layers that normalise their own inputs, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfprune.engine.compiling import kernels
from tfprune.engine.layout import aligned
from tfprune.engine.updates import Rule
from tfprune.errors import InputError

_BESIDE = 8  # connections that take as long as what else there is to do for a feature
# Products of a layer's connections and examples for which several threads work: where others must be woken, and where
# they have just been at work.
_ENOUGH, _ENOUGH_AWAKE = 4_000_000, 1_000_000
_LINE = 64  # bytes of a cache's line


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

    @property
    def places(self) -> np.ndarray:
        """Where each weight is among those that are sorted by output."""
        places = np.empty_like(self.order)
        places[self.order] = np.arange(len(places), dtype=np.int32)
        return places

    def cuts(self, inputs: np.ndarray) -> np.ndarray:
        """(inputs, outputs): of the weights of each output, sorted by output, the first from an input on."""
        outputs, most = len(self.output_bounds) - 1, len(self.input_bounds)
        of_outputs = np.repeat(np.arange(outputs), np.diff(self.output_bounds))
        return np.searchsorted(of_outputs * most + self.of_inputs, np.arange(outputs) * most + inputs[:, None])


def _bounds(numbers: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.bincount(numbers, minlength=size))]).astype(np.int64)


class Pass:
    """A batch on its way through layers and back, in memory that is used again for the next one.

    Args:
        layers, connections: of each layer.
        batch: examples.
        workers: threads.
        pixels: mean and factor, float32 (inputs,): inputs are bytes, of which (bytes − mean) · factor is meant.
        awake: whether one batch follows the other, so that threads need not be woken.
    """

    def __init__(
        self,
        layers: list[NormalizedLayer],
        connections: list[Connections],
        batch: int,
        workers: int,
        pixels: tuple[np.ndarray, np.ndarray] | None = None,
        awake: bool = False,
    ):
        self._batch, self._workers, self._awake, self._measured = batch, workers, awake, True
        self._layers = layers
        self._stride = stride = _stride(batch, 4)
        steps = [stride if pixels is None else _stride(batch, 1), *[stride] * (len(layers) - 1)]
        most = max(max(layer.inputs, layer.outputs) for layer in layers)
        if most * max(steps) >= 1 << 31:
            raise InputError(
                f"kept weights that normalise their inputs: {batch} examples of {most} are too many at once"
            )
        first = layers[0].inputs
        inputs, outputs = sum(layer.inputs for layer in layers), sum(layer.outputs for layer in layers)
        kept = sum(len(one.indices) for one in connections)
        self._inputs, self._size = inputs, kept + 2 * inputs + outputs
        self._table = _table(layers, connections, batch, steps, _ENOUGH_AWAKE if awake else _ENOUGH)
        rest = np.zeros(inputs - first, np.float32)
        center, factor = pixels or (np.zeros(first, np.float32), np.ones(first, np.float32))
        self._all = np.arange(batch, dtype=np.int32)
        self._settings = (
            *(np.concatenate([center, rest]), np.concatenate([factor, rest + 1])),
            *(np.array([getattr(layer, name) for layer in layers], np.float32) for name in ("epsilon", "momentum")),
        )
        self._rows = aligned(first * steps[0]) if pixels is None else aligned(first * steps[0] // 4).view(np.uint8)
        self._made, self._of_made = aligned(outputs * stride), aligned(outputs * stride)
        self._known, self._scratch = aligned(_kernels().LINES * inputs), aligned(kept)
        for array in self._rows, self._made, self._of_made:
            array[:] = 0  # behind the batch nothing is written
        self._starts = _starts([one.of_inputs for one in connections], steps)
        self._by_output = (
            *(
                np.concatenate([one.order for one in connections]),
                np.concatenate([one.of_inputs for one in connections]),
            ),
            *(self._starts, *_shares([one.output_bounds for one in connections], workers)),
        )
        bounds, parts = _shares([one.input_bounds for one in connections], workers)
        self._to_inputs = _starts([one.of_outputs for one in connections], len(layers) * [stride]), bounds, parts
        self._by_input = (
            *(self._starts, np.hstack([one.cuts(part) for one, part in zip(connections, parts, strict=True)])),
            np.concatenate([one.places for one in connections]),
            np.concatenate([one.of_outputs for one in connections]),
        )
        self._first = len(connections[0].indices) + 2 * first + layers[0].outputs
        self._weights = self._of_first = np.empty(0, np.float32)

    def fits(self, batch: int, workers: int, awake: bool = False) -> bool:
        """Whether it was made for such batches."""
        return (batch, workers, awake) == (self._batch, self._workers, self._awake)

    def forward(
        self,
        inputs: np.ndarray,
        weights: np.ndarray,
        averages: np.ndarray,
        measured: bool,
        examples: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """What the last layer makes, and running averages after this batch.

        Args:
            inputs: float32 (N, inputs) of the first one; uint8 where pixels are given, rows of which may be longer.
            weights: of each layer kept values, γ, β and b, one after the other.
            averages: running means of all layers, running variances, and for each layer whether these hold anything
                yet, 0 or 1: if not they are those of the batch afterwards.
            measured: whether mean and variance are those of the batch; else the running ones, which stay.
            examples: int32 (B,), which of the inputs; None: all, one after the other.

        Returns:
            float32 (B, outputs), and running means of all layers and running variances.
        """
        self._weights, self._measured = weights, measured
        outputs, running = _examples(self._batch, self._layers[-1].outputs), aligned(2 * self._inputs)
        given = inputs, self._all if examples is None else examples, weights, averages, measured
        _kernels().forward(
            *(*given, self._table, *self._settings, self._stride, *self._by_output),
            *(self._rows, self._made, self._known, self._scratch, running, outputs),
        )
        return outputs, running

    def back(self, upstream: np.ndarray) -> np.ndarray:
        """The gradients of the weights, in their order, from those of the outputs, float32 (B, outputs)."""
        found = aligned(self._size)
        _kernels().back(
            *(upstream, self._weights, self._measured, self._table, self._stride, *self._by_input, *self._to_inputs),
            *(self._rows, self._made, self._known, self._scratch, self._of_made, found),
        )
        # A copy, as TensorFlow may write where it takes an array over.
        self._of_first = found[: self._first].copy()
        return found

    def of_inputs(self) -> np.ndarray:
        """The gradients of the inputs, float32 (B, inputs); after `back`."""
        found = _examples(self._batch, self._layers[0].inputs)
        _kernels().of_inputs(
            *(self._weights, self._of_first, self._measured, self._table, self._stride, *self._to_inputs),
            *(self._rows, self._known, self._of_made, aligned(self._layers[0].inputs * self._stride), found),
        )
        return found

    def take_steps(
        self,
        images: np.ndarray,
        examples: np.ndarray,
        labels: np.ndarray,
        rates: np.ndarray,
        rule: Rule,
        free: np.ndarray,
        weights: np.ndarray,
        averages: np.ndarray,
        slots: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Training steps of a classifier by the mean cross-entropy of its batches, one after the other.

        Args:
            images: uint8 (N, inputs or more).
            examples, labels: int32 (steps, B), which of the images make a batch, and what they are.
            rates: float32 (steps,), of the rule.
            rule: what becomes of the weights by their gradients.
            free: float32, of each weight 1, or 0 where it stays as it is.
            weights, averages: as for `forward`; become those after the steps.
            slots: float32 (the rule's, weights), become those after the steps.

        Returns:
            Float32 (steps,) fractions of the batches misclassified, and losses, both before each update.
        """
        classes = self._layers[-1].outputs
        made = [aligned(len(examples)) for _ in range(2)]
        floats = self._made, self._known, self._scratch, aligned(2 * self._inputs), self._of_made, aligned(self._size)
        kernels("normalized_steps").take_steps(
            *(images, examples, labels, rates, rule.kind, rule.numbers, free, self._table),
            *(self._settings, self._stride, self._by_output, (*self._by_input, *self._to_inputs), self._rows, floats),
            *((_examples(self._batch, classes), _examples(self._batch, classes)), weights, averages, slots, *made),
        )
        return made[0], made[1]


def _stride(batch: int, size: int) -> int:
    """Numbers of some bytes from one row to the next: an odd number of cache lines."""
    lines = -(-batch * size // _LINE)
    return (lines + 1 - lines % 2) * _LINE // size


def _table(
    layers: list[NormalizedLayer], connections: list[Connections], batch: int, steps: list[int], enough: int
) -> np.ndarray:
    """Columns as in `tfprune.engine.normalized_rows`."""
    lines, first = [], np.zeros(4, np.int64)
    for layer, known, step in zip(layers, connections, steps, strict=True):
        kept = len(known.indices)
        beside = _BESIDE * (layer.inputs + layer.outputs)
        # Nothing but the gradients of weights goes back to the first layer.
        shared = [(kept + more) * batch >= enough for more in (beside, beside if lines else 0)]
        lines.append([layer.inputs, layer.outputs, kept, layer.relu, *first, step, *shared])
        first += layer.inputs, layer.outputs, kept, kept + 2 * layer.inputs + layer.outputs
    return np.array(lines, np.int64)


def _starts(numbers: list[np.ndarray], steps: list[int]) -> np.ndarray:
    """Where rows begin, by their numbers and how far they are apart in each layer; more behind, which are fetched."""
    starts = [np.int32(step) * one for one, step in zip(numbers, steps, strict=True)]
    return np.concatenate([*starts, np.zeros(kernels("vectors").AHEAD, np.int32)])


def _shares(bounds: list[np.ndarray], workers: int) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of all layers, and those of the shares of workers that take about equally long."""
    shares = []
    for one in bounds:
        work = one + _BESIDE * np.arange(len(one))
        shares.append(np.searchsorted(work, np.linspace(0, work[-1], workers + 1)))
    return np.concatenate(bounds), np.array(shares, np.int64)


def _examples(batch: int, features: int) -> np.ndarray:
    return aligned(batch * features).reshape(batch, features)


def _kernels():
    return kernels("normalized_kernels")
