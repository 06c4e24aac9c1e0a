"""A dense layer of kept weights that normalises its own inputs, inside TensorFlow's graphs, with its gradients.

Normalising, folding γ and β into weights and bias, relu and the way between examples and rows go along with the
products, each in one pass (see `tfprune.engine.normalized_kernels`).
"""

from __future__ import annotations

import weakref

import numpy as np
import tensorflow as tf

from tfprune.engine.compiling import kernels, threads
from tfprune.engine.layout import Scratch, aligned
from tfprune.engine.products import apart, operation

_SCRATCH = Scratch()


class NormalizedProduct:
    """`x̂ · (γ ∘ W) + (β · W + b)`, and relu where asked for, with `x̂ = (x − mean) / sqrt(variance + ε)`.

    Args:
        inputs, outputs: of W.
        relu: whether negative outputs become 0.
        momentum: decay of the running averages.
        epsilon: ε.
    """

    def __init__(self, inputs: int, outputs: int, *, relu: bool, momentum: float, epsilon: float):
        self._inputs, self._outputs, self._relu = inputs, outputs, relu
        self._momentum, self._epsilon = np.float32(momentum), np.float32(epsilon)
        self._known: _Connections | None = None

    def __call__(self, inputs, weights, indices, averages, measured: bool):
        """Outputs of inputs.

        Args:
            inputs: float32 (B, inputs).
            weights: float32 (n,) kept weights, (inputs,) γ, (inputs,) β, (outputs,) b.
            indices: int32 or int64 (n,), where the kept weights are in the flattened W, ascending.
            averages: float32 running mean (inputs,), running variance (inputs,), and whether these hold anything yet,
                0 or 1.
            measured: whether mean and variance are those of the inputs; else the running ones.

        Returns:
            float32 (B, outputs), and the running mean and variance after this batch: with a momentum of 0 where they
            held nothing yet.
        """
        this = weakref.proxy(self)

        def made(inputs, values, gamma, beta, bias, indices, *averages):
            return this._product(inputs, [values, gamma, beta, bias], indices, averages, measured)

        return apart(self, made, inputs, *weights, indices, *averages)

    def _product(self, inputs, weights, indices, averages, measured):
        this = weakref.proxy(self)

        @tf.custom_gradient
        def product(inputs, *weights):
            arguments = [inputs, *weights, indices, *averages]
            outputs, mean, variance, *found = operation(this._forward, arguments, 5, measured=measured)
            outputs.set_shape([inputs.shape[0], this._outputs])
            for average in (mean, variance):
                average.set_shape([this._inputs])

            def gradient(upstream, *_):
                values, gamma, beta, _ = weights
                given = [inputs, upstream, outputs, *found, values, gamma, indices]
                of_weights = operation(this._of_weights, [*given, beta], 4)
                of_inputs = operation(this._of_inputs, [*given, *of_weights[1:3]], measured=measured)
                of_inputs.set_shape([inputs.shape[0], this._inputs])
                for of_weight, weight in zip(of_weights, weights, strict=True):
                    of_weight.set_shape(weight.shape)
                return of_inputs, *of_weights

            return (outputs, mean, variance), gradient

        return product(inputs, *weights)

    def _forward(self, inputs, values, gamma, beta, bias, indices, mean, variance, seen, *, measured):
        known, averages = self._connections(indices), (mean, variance)
        if measured:
            mean, variance = aligned(self._inputs), aligned(self._inputs)
            _kernels().measure(inputs, mean, variance)
        scale = 1 / np.sqrt(variance + self._epsilon)
        outputs = _matrix(len(inputs), self._outputs)
        with _SCRATCH as scratch:
            _kernels().produce(
                *(inputs, mean, scale, known.input_bounds, values, gamma, beta, bias),
                *(known.order, known.input_starts, known.output_bounds, scratch.take("scaled", len(values))),
                *(self._relu, outputs, self._rows(scratch)),
            )
        center = mean
        if measured:
            keep = self._momentum * seen
            mean, variance = (
                keep * old + (1 - keep) * new for old, new in zip(averages, (mean, variance), strict=True)
            )
        return outputs, mean, variance, center, scale

    def _of_weights(self, inputs, upstream, outputs, mean, scale, values, gamma, indices, beta):
        known = self._connections(indices)
        found = [aligned(size) for size in (len(values), self._inputs, self._inputs, self._outputs)]
        size = _kernels().gradient_scratch(self._outputs, threads())
        with _SCRATCH as scratch:
            _kernels().of_weights(
                *(inputs, mean, scale, known.input_bounds, upstream, outputs, self._relu, values, gamma, beta),
                *(known.chunk_starts, *found, scratch.take("chunk", size)),
            )
        return found

    def _of_inputs(
        self, inputs, upstream, outputs, mean, scale, values, gamma, indices, of_gamma, of_beta, *, measured
    ):
        known, by_row = self._connections(indices), scale * gamma
        by_input, constant = np.zeros_like(scale), np.zeros_like(scale)
        if measured:
            # Through mean and variance: Σ_b of the gradients of x̂ is γ ∘ of_beta, Σ_b of these by x̂ is γ ∘ of_gamma.
            by_input -= by_row * scale * of_gamma / len(inputs)
            constant -= by_row * of_beta / len(inputs) + by_input * mean
        found = _matrix(len(inputs), self._inputs)
        with _SCRATCH as scratch:
            _kernels().of_inputs(
                *(inputs, upstream, outputs, self._relu, values, known.output_starts, known.input_bounds),
                *(by_row, by_input, constant, found, self._rows(scratch)),
            )
        return found

    def _rows(self, scratch: Scratch) -> np.ndarray:
        return scratch.take("rows", threads() * _kernels().scratch_size(self._inputs, self._outputs))

    def _connections(self, indices: np.ndarray) -> _Connections:
        known = self._known
        if known is None or len(known.indices) != len(indices) or not (known.indices == indices).all():
            known = self._known = _Connections(self._inputs, self._outputs, np.array(indices))
        return known


class _Connections:
    """Kept weights of a matrix, by their inputs and by their outputs.

    Args:
        inputs, outputs: of the matrix.
        indices: (n,), ascending.

    Attributes:
        input_bounds, output_starts, chunk_starts: bounds of the weights of each input, and where the row begins of each
            one's output, in a block and in a chunk.
        order: the weights sorted by output; for these
        output_bounds, input_starts: bounds of the weights of each output, and where the row begins of each one's input.
    """

    def __init__(self, inputs: int, outputs: int, indices: np.ndarray):
        self.indices = indices
        of_inputs, of_outputs = np.divmod(indices, outputs)
        block = np.int32(_kernels().BLOCK)
        self.input_bounds, self.output_bounds = _bounds(of_inputs, inputs), _bounds(of_outputs, outputs)
        self.order = np.argsort(of_outputs, kind="stable").astype(np.int32)
        self.output_starts = block * of_outputs.astype(np.int32)
        self.chunk_starts = np.int32(_kernels().chunk_size(outputs)) * of_outputs.astype(np.int32)
        self.input_starts = block * of_inputs[self.order].astype(np.int32)


def _bounds(numbers: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.bincount(numbers, minlength=size))]).astype(np.int64)


def _matrix(rows: int, columns: int) -> np.ndarray:
    return aligned(rows * columns).reshape(rows, columns)


def _kernels():
    return kernels("normalized_kernels")
