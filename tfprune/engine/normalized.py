"""A dense layer of kept weights that normalises its own inputs, inside TensorFlow's graphs, with its gradients.

Normalising, folding γ and β into weights and bias, relu and the way between examples and rows go along with the
products, each in one pass (see `tfprune.engine.normalized_kernels`).
"""

from __future__ import annotations

from functools import partial

import numpy as np
import tensorflow as tf

from tfprune.engine.compiling import kernels
from tfprune.engine.geometry import Geometry
from tfprune.engine.products import _call
from tfprune.engine.structure import Structure, _empty


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

        @tf.custom_gradient
        def product(inputs, *weights):
            forward = partial(self._forward, measured)
            outputs, mean, variance, *found = _call(forward, [inputs, *weights, indices, *averages], 6)
            outputs.set_shape([inputs.shape[0], self._outputs])
            for average in (mean, variance):
                average.set_shape([self._inputs])

            def gradient(upstream, *_):
                values, gamma, beta, _ = weights
                scaled, rows, scale = found
                back, *of_weights = _call(self._of_weights, [upstream, outputs, rows, values, gamma, beta, indices], 5)
                (of_inputs,) = _call(
                    partial(self._of_inputs, measured), [back, rows, scaled, scale, gamma, *of_weights[1:3], indices], 1
                )
                of_inputs.set_shape([inputs.shape[0], self._inputs])
                for of_weight, weight in zip(of_weights, weights, strict=True):
                    of_weight.set_shape(weight.shape)
                return of_inputs, *of_weights

            return (outputs, mean, variance), gradient

        return product(inputs, *weights)

    def _forward(self, measured, inputs, values, gamma, beta, bias, indices, mean, variance, seen):
        known, batch = self._connections(indices), len(inputs)
        averages = mean, variance
        if measured:
            mean, variance = np.empty_like(mean), np.empty_like(variance)
        rows = _empty(self._inputs * batch).reshape(self._inputs, batch)
        _kernels().normalise(inputs, known.input_bounds, mean, variance, rows, self._epsilon, measured)
        scaled, shift = _empty(len(values)), _empty(self._outputs)
        _kernels().fold(values, gamma, beta, bias, known.inputs, known.output_bounds, known.by_output, scaled, shift)
        sums = known.structure.forward(rows.reshape(-1), scaled, batch).reshape(self._outputs, batch)
        outputs = _empty(batch * self._outputs).reshape(batch, self._outputs)
        _kernels().shifted(sums, shift, self._relu, outputs)
        scale = 1 / np.sqrt(variance + self._epsilon)
        if measured:
            keep = self._momentum * seen
            mean, variance = (
                keep * old + (1 - keep) * new for old, new in zip(averages, (mean, variance), strict=True)
            )
        return outputs, mean, variance, scaled, rows, scale

    def _of_weights(self, upstream, outputs, rows, values, gamma, beta, indices):
        known, batch = self._connections(indices), len(upstream)
        back, sums = _empty(outputs.size).reshape(self._outputs, batch), _empty(self._outputs)
        _kernels().upstream_rows(upstream, outputs, self._relu, back, sums)
        products = known.structure.of_values(rows.reshape(-1), back.reshape(-1), batch)
        made = _empty(len(values)), _empty(self._inputs), _empty(self._inputs)
        _kernels().unfold(products, values, gamma, beta, sums, known.input_bounds, known.outputs, *made)
        return back, *made, sums

    def _of_inputs(self, measured, back, rows, scaled, scale, gamma, of_gamma, of_beta, indices):
        known, batch = self._connections(indices), rows.shape[1]
        gradients = known.structure.backward(back.reshape(-1), scaled, batch).reshape(rows.shape)
        # Their sums over the batch, and those of their products with the rows, are in the gradients of β and γ.
        mean, slope = gamma * of_beta / batch, gamma * of_gamma / batch
        out = _empty(rows.size).reshape(batch, self._inputs)
        _kernels().normalised_gradients(gradients, rows, scale, mean, slope, known.input_bounds, measured, out)
        return out

    def _connections(self, indices: np.ndarray) -> _Connections:
        known = self._known
        if known is None or not np.array_equal(known.indices, indices):
            known = self._known = _Connections(self._inputs, self._outputs, indices)
        return known


class _Connections:
    """Kept weights of a matrix, by their inputs and by their outputs.

    Attributes:
        inputs, outputs: int32 (n,), what each weight connects.
        input_bounds: int64 (inputs + 1,), of the weights of each input.
        by_output, output_bounds: int32 (n,) weights sorted by output, int64 (outputs + 1,) of those of each output.
    """

    def __init__(self, inputs: int, outputs: int, indices: np.ndarray):
        self.structure = Structure(Geometry.dense(inputs, outputs), indices)
        self.indices = self.structure.indices
        self.inputs, self.outputs = (numbers.astype(np.int32) for numbers in np.divmod(self.indices, outputs))
        self.input_bounds, self.output_bounds = _bounds(self.inputs, inputs), _bounds(self.outputs, outputs)
        self.by_output = np.argsort(self.outputs, kind="stable").astype(np.int32)


def _bounds(numbers: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.bincount(numbers, minlength=size))]).astype(np.int64)


def _kernels():
    return kernels("normalized_kernels")
