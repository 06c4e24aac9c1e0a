"""Products with kept weights inside TensorFlow's graphs, with their gradients."""

from __future__ import annotations

import os
import weakref
from functools import cache

import numpy as np
import tensorflow as tf

from tfprune.engine.compiling import require_engine, run_with
from tfprune.engine.geometry import Geometry
from tfprune.engine.structure import Structure

# Graph of a compiled function -> what it computes with. Its model may be gone.
_PRODUCTS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


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
        return apart(self, weakref.proxy(self)._made, inputs, values, indices)

    # Product and gradients are three sides of one sum over kept weights of input, value and gradient of an output: the
    # gradients of each are the other two, to any order.

    def _made(self, inputs, values, indices):
        this = weakref.proxy(self)

        @tf.custom_gradient
        def made(inputs, values):
            outputs = this._images(this._outputs, inputs, values, indices, this._shapes()[1])

            def gradient(upstream):
                return this._given(upstream, values, indices), this._between(inputs, upstream, indices)

            return outputs, gradient

        return made(inputs, values)

    def _given(self, upstream, values, indices):
        """The gradient of the inputs."""
        this = weakref.proxy(self)

        @tf.custom_gradient
        def given(upstream, values):
            of_inputs = this._images(this._of_inputs, upstream, values, indices, this._shapes()[0])

            def gradient(of_given):
                return this._made(of_given, values, indices), this._between(of_given, upstream, indices)

            return of_inputs, gradient

        return given(upstream, values)

    def _between(self, inputs, upstream, indices):
        """The gradient of the values."""
        this = weakref.proxy(self)

        @tf.custom_gradient
        def between(inputs, upstream):
            of_values = operation(this._of_values, [inputs, upstream, indices])
            of_values.set_shape(indices.shape)

            def gradient(of_between):
                return this._given(upstream, of_between, indices), this._made(inputs, of_between, indices)

            return of_values, gradient

        return between(inputs, upstream)

    def _shapes(self):
        """Of images of the inputs and of the outputs."""
        geometry = self.geometry
        inputs = geometry.height, geometry.width, geometry.channels
        outputs = geometry.out_height, geometry.out_width, geometry.out_channels
        return (outputs, inputs) if self.transposed else (inputs, outputs)

    @staticmethod
    def _images(method, images, values, indices, shape):
        found = operation(method, [images, values, indices])
        found.set_shape([images.shape[0], *shape])
        return found

    def structure(self, indices: np.ndarray) -> Structure:
        """That of some indices, made anew where they are others than before."""
        known = self._structure
        if known is None or not unchanged(known.indices, indices):
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


def apart(product, function, *arguments):
    """What a function of tensors gives; while a graph is traced, as a function of a graph of its own.

    TensorFlow keeps custom gradients for good, and with them the graph that they are traced in and all variables that
    it holds. This one has a few operations and no variables.

    Args:
        product: what the function computes with, which it must not hold; lives as long as the graph that is traced.
        function: of tensors alone; has custom gradients.
        *arguments: tensors.
    """
    if tf.executing_eagerly():
        return function(*arguments)
    graph = tf.compat.v1.get_default_graph()
    while getattr(graph.outer_graph, "building_function", False):
        graph = graph.outer_graph
    _PRODUCTS.setdefault(graph, []).append(product)
    return tf.function(function, autograph=False).get_concrete_function(*arguments)(*arguments)


def operation(method, arguments, types=tf.float32, *first):
    """A method on arrays as an operation; one whose results nobody needs is left out of compiled functions.

    Args:
        method: gives an array, or several. Its object is not kept alive: TensorFlow never forgets what has become an
            operation.
        arguments: tensors.
        types: of the tensors made; a list where there are several.
        *first: what the method is given before the arrays.

    Raises:
        InputError: Numba is not installed; says the command that does it.
    """
    require_engine()
    weak = weakref.WeakMethod(method)

    def run(*arrays):
        use_threads()
        return weak()(*first, *arrays)

    return tf.numpy_function(run, arguments, types, stateful=False)


def unchanged(known: np.ndarray, given: np.ndarray) -> bool:
    """Whether an operation is given the numbers that it was given before.

    At once where they lie where they lay: while somebody holds an array that TensorFlow lent, as `known` must be held,
    it writes what a variable becomes elsewhere.
    """
    return place_of(known) == place_of(given) or np.array_equal(known, given)


def place_of(array: np.ndarray) -> tuple:
    """Where an array lies, and as what."""
    return array.__array_interface__["data"][0], array.shape, array.dtype


def use_threads() -> None:
    """Lets the kernels that this thread calls use as many threads as TensorFlow."""
    run_with(_threads())


@cache
def _threads() -> int:
    """TensorFlow's setting, which is fixed by now, or else its environment variable; 0 where there is none."""
    said = os.environ.get("TF_NUM_INTRAOP_THREADS", "")
    return tf.config.threading.get_intra_op_parallelism_threads() or (int(said) if said.isdecimal() else 0)
