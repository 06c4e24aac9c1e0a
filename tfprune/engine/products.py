"""Products with kept weights inside TensorFlow's graphs, with their gradients."""

from __future__ import annotations

from functools import cache

import numpy as np
import tensorflow as tf

from tfprune.engine.compiling import run_with
from tfprune.engine.geometry import Geometry
from tfprune.engine.structure import Structure


class KeptProduct:
    """A layer's product; its structure follows the indices that it is given, which seldom change.

    Args:
        geometry: of the kernel.
        transposed: computes what the geometry's convolution does the other way: from its outputs to its inputs.
    """

    def __init__(self, geometry: Geometry, transposed: bool = False):
        self.geometry, self.transposed = geometry, transposed
        self._structure: Structure | None = None

    def __call__(self, inputs, values, indices):
        """Images of images.

        Args:
            inputs: float32 (B, height, width, channels).
            values: float32 (n,), the kept weights.
            indices: int32 or int64 (n,), where they are in the flattened kernel.

        Returns:
            float32 (B, out_height, out_width, out_channels); transposed, the other way.
        """
        geometry = self.geometry
        given = geometry.height, geometry.width, geometry.channels
        made = geometry.out_height, geometry.out_width, geometry.out_channels
        given, made = (made, given) if self.transposed else (given, made)

        @tf.custom_gradient
        def product(inputs, values):
            outputs = operation(self._outputs, [inputs, values, indices])
            outputs.set_shape([inputs.shape[0], *made])

            def gradient(upstream):
                of_values = operation(self._of_values, [inputs, upstream, indices])
                of_values.set_shape(values.shape)
                of_inputs = operation(self._of_inputs, [upstream, values, indices])
                of_inputs.set_shape([inputs.shape[0], *given])
                return of_inputs, of_values

            return outputs, gradient

        return product(inputs, values)

    def structure(self, indices: np.ndarray) -> Structure:
        """That of some indices, made anew where they are others than before."""
        known = self._structure
        if known is None or not np.array_equal(known.indices, indices):
            known = self._structure = Structure(self.geometry, indices)
        return known

    def _outputs(self, inputs, values, indices):
        structure = self.structure(indices)
        return structure.inputs(inputs, values) if self.transposed else structure.outputs(inputs, values)

    def _of_values(self, inputs, upstream, indices):
        given, made = (upstream, inputs) if self.transposed else (inputs, upstream)
        return self.structure(indices).of_values(given, made)

    def _of_inputs(self, upstream, values, indices):
        structure = self.structure(indices)
        return structure.outputs(upstream, values) if self.transposed else structure.inputs(upstream, values)


def operation(function, arguments, results: int = 1):
    """A function of arrays as an operation; one whose results nobody needs is left out of compiled functions.

    Args:
        function: gives a float32 array, or `results` of them where that is more than 1.
        arguments: tensors.
        results: how many tensors there are to be.
    """

    def run(*arrays):
        run_with(_threads())
        return function(*arrays)

    types = tf.float32 if results == 1 else [tf.float32] * results
    return tf.numpy_function(run, arguments, types, stateful=False)


@cache
def _threads() -> int:
    """TensorFlow's setting, which is fixed by now; 0 where there is none."""
    return tf.config.threading.get_intra_op_parallelism_threads()
