"""Layers that hold the kept weights of their kernels only: values, and where they are. There is no dense kernel.

`kernel_values` (n,) is trained, `kernel_indices` (n,) says where each value is in the plain layer's flattened kernel.
Optimizer slots are of that size, too. The products are those of `tfprune.engine`, on a CPU, in float32.
"""

from __future__ import annotations

import math
import numbers
import random
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import constraints, layers, ops, regularizers

from tfprune.engine.compiling import kernels
from tfprune.engine.products import KeptProduct
from tfprune.errors import InputError
from tfprune.layers.inner import own_variables
from tfprune.layers.kept_drawing import first_values, random_indices
from tfprune.layers.kept_geometry import Contraction, geometry_of, shapes_of
from tfprune.layers.kinds import CONVOLUTIONS, DEPTHWISE, TRANSPOSED, is_kept, plain_type
from tfprune.layers.masked import MASKED
from tfprune.layers.masked_any import MaskedLayer

_registered = keras.saving.register_keras_serializable("tfprune")
# What sees each weight alone, so that it is the same for kept weights as for a kernel with zeros.
_REGULARIZERS = regularizers.L1, regularizers.L2, regularizers.L1L2
_CONSTRAINTS = (constraints.NonNeg,)


class KeptKernel:
    """Mixin in front of a Keras layer class with one kernel.

    Args:
        *args: those of the plain class.
        kept: number of weights that are kept; or else
        density: fraction of weights that are kept, above 0 and at most 1.
        mask_seed: of the random choice which weights are kept; None draws one.
        **kwargs: those of the plain class. Regularizers of the kernel are L1 and L2, its constraint `NonNeg`.

    Attributes:
        dense_class: the plain class that computes the same.
        masked_class: the masked one, None for that of `tfprune.layers.masked.MASKED`.
        joined, stepped: what computes layers of the class that follow one another at once, and what takes whole
            training steps of a classifier of such layers, or None, see `tfprune.layers.joined`.
        kernel_shape: shape of the plain class's kernel.
        kernel_values: float32 (kept,), trainable.
        kernel_indices: int32 (kept,), ascending, in C order of `kernel_shape`; int64 where that has 2³¹ weights.

    Raises:
        InputError: not exactly one of `kept` and `density`, or one out of range; what `why_not_kept` says of plain
            layers.
    """

    dense_class: type[keras.layers.Layer]
    masked_class: type[keras.layers.Layer] | None = None
    joined: Callable | None = None
    stepped: Callable | None = None

    def __init__(self, *args, kept=None, density=None, mask_seed=None, **kwargs):
        super().__init__(*args, **kwargs)
        _check_number(kept, density, mask_seed)
        self.supports_jit = False  # what the engine computes is no part of XLA
        self.kept, self.density = None if kept is None else int(kept), density
        self.mask_seed = random.randrange(1 << 31) if mask_seed is None else mask_seed
        vars(self)["_products"] = {}
        reason = _unsupported(self)
        if reason is not None:
            raise InputError(f"layer {self.name!r}: {type(self).__name__} cannot be made: {reason}")

    def connect(self, indices: np.ndarray) -> None:
        """Says where the kept weights are, in place of a random choice; before the layer is built.

        Args:
            indices: (n,), ascending.
        """
        self.kept, self.density = len(indices), None
        vars(self)["_given"] = indices

    def add_weight(self, *args, name=None, **kwargs):
        """In the kernel's place, its kept weights."""
        add = super().add_weight
        if name != "kernel":
            return add(*args, name=name, **kwargs)
        self.kernel_shape = shape = tuple(kwargs["shape"])
        size = math.prod(shape)
        kept = max(1, round(self.density * size)) if self.kept is None else self.kept
        if kept > size:
            raise InputError(f"layer {self.name!r}: kept must be at most {size}, the kernel's size. Received: {kept}")
        indices = vars(self).pop("_given", None)
        if indices is None:
            indices = random_indices(size, kept, np.random.default_rng(self.mask_seed))
        self.kernel_values = add(
            name="kernel_values",
            shape=(kept,),
            initializer=lambda _, dtype: first_values(kwargs["initializer"], shape, kept, dtype),
            regularizer=kwargs.get("regularizer"),
            constraint=kwargs.get("constraint"),
        )
        self.kernel_indices = add(
            name="kernel_indices",
            shape=(kept,),
            initializer=lambda _, dtype: ops.convert_to_tensor(indices, dtype),
            dtype="int32" if size < 1 << 31 else "int64",
            trainable=False,
        )
        return self.kernel_values

    def call(self, inputs, training=None):
        outputs = self.product(ops.convert_to_tensor(inputs, "float32", sparse=False))
        if self.bias is not None:
            outputs = ops.add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    def product(self, inputs):
        """Inputs by the kernel: what the layer adds a bias to."""
        images = inputs if self.rank == 2 else ops.expand_dims(inputs, 1)
        images = self.multiply(images, inputs.shape)
        return images if self.rank == 2 else ops.squeeze(images, 1)

    def multiply(self, images, shape):
        """The engine's product, with gradients.

        Args:
            images: float32 (B, height, width, channels).
            shape: of the layer's inputs.

        Returns:
            float32 (B, height, width, channels) of what the layer makes.

        Raises:
            InputError: Numba is not installed, or the size of a convolution's images is not known.
        """
        geometry = geometry_of(self, shape)
        products = vars(self)["_products"]
        if geometry not in products:
            kernels()  # which says where it is missing, before a graph holds what needs it
            products[geometry] = KeptProduct(geometry, transposed=isinstance(self, TRANSPOSED))
        values, indices = map(tf.convert_to_tensor, (self.kernel_values, self.kernel_indices))
        return products[geometry](images, values, indices)

    def save_own_variables(self, store):
        layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store):
        """Raises InputError: the file has another number of kept weights, or no ascending places in the kernel."""
        place = str(list(map(id, own_variables(self))).index(id(self.kernel_indices)))
        indices = np.asarray(store[place] if place in list(store.keys()) else (), np.int64)
        if indices.shape != self.kernel_indices.shape:
            raise InputError(
                f"layer {self.name!r} holds {self.kernel_indices.shape[0]} kept weights, the file has {indices.size}"
            )
        inside = indices.size == 0 or (indices[0] >= 0 and indices[-1] < math.prod(self.kernel_shape))
        if not inside or np.any(np.diff(indices) <= 0):
            raise InputError(f"layer {self.name!r}: the file's kept weights are not in ascending places of its kernel")
        layers.Layer.load_own_variables(self, store)

    def enable_lora(self, *_, **__):
        """Raises InputError: there is no kernel that an update could be added to."""
        raise InputError(f"layer {self.name!r}: {type(self).__name__} takes no low-rank update (LoRA)")

    def quantize(self, mode=None, **_):
        """Raises InputError: kept weights are float32."""
        raise InputError(f"layer {self.name!r} holds kept weights only: quantize tfprune.strip(model)")

    def get_config(self):
        number = {"density": self.density} if self.kept is None else {"kept": self.kept}
        return {**super().get_config(), **number, "mask_seed": self.mask_seed}


@_registered
class SparseDense(KeptKernel, layers.Dense):
    """`keras.layers.Dense` of kept weights only; see `KeptKernel` for what it takes beyond."""

    dense_class = layers.Dense

    def product(self, inputs):
        width = inputs.shape[-1]
        outputs = self.multiply(ops.reshape(inputs, (-1, 1, 1, width)), inputs.shape)
        return ops.reshape(outputs, (-1, *ops.shape(inputs)[1:-1], self.units))


@_registered
class SparseEinsumDense(KeptKernel, layers.EinsumDense):
    """`keras.layers.EinsumDense` of kept weights only; see `KeptKernel` for what it takes beyond."""

    dense_class = layers.EinsumDense

    def product(self, inputs):
        contraction = Contraction.of(self.equation, len(inputs.shape))
        sizes = dict(zip(contraction.given, ops.shape(inputs), strict=True))
        sizes |= dict(zip(contraction.kernel, self.kernel_shape, strict=True))
        examples, row_in, row_out = contraction.examples, contraction.row_in, contraction.row_out
        rows = ops.transpose(inputs, [contraction.given.index(label) for label in examples + row_in])
        rows = ops.reshape(rows, (-1, 1, 1, math.prod(sizes[label] for label in row_in)))
        outputs = ops.reshape(self.multiply(rows, inputs.shape), [sizes[label] for label in examples + row_out])
        return ops.transpose(outputs, [(examples + row_out).index(label) for label in contraction.made])


@_registered
class SparseConv1D(KeptKernel, layers.Conv1D):
    """`keras.layers.Conv1D` of kept weights only; see `KeptKernel` for what it takes beyond."""

    dense_class = layers.Conv1D


@_registered
class SparseConv2D(KeptKernel, layers.Conv2D):
    """`keras.layers.Conv2D` of kept weights only; see `KeptKernel` for what it takes beyond."""

    dense_class = layers.Conv2D


@_registered
class SparseDepthwiseConv1D(KeptKernel, layers.DepthwiseConv1D):
    """`keras.layers.DepthwiseConv1D` of kept weights only; see `KeptKernel` for what it takes beyond."""

    dense_class = layers.DepthwiseConv1D


@_registered
class SparseDepthwiseConv2D(KeptKernel, layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D` of kept weights only; see `KeptKernel` for what it takes beyond."""

    dense_class = layers.DepthwiseConv2D


@_registered
class SparseConv1DTranspose(KeptKernel, layers.Conv1DTranspose):
    """`keras.layers.Conv1DTranspose` of kept weights only; see `KeptKernel` for what it takes beyond."""

    dense_class = layers.Conv1DTranspose


@_registered
class SparseConv2DTranspose(KeptKernel, layers.Conv2DTranspose):
    """`keras.layers.Conv2DTranspose` of kept weights only; see `KeptKernel` for what it takes beyond."""

    dense_class = layers.Conv2DTranspose


KEPT: dict[type, type] = {
    kind.dense_class: kind
    for kind in (
        *(SparseDense, SparseEinsumDense, SparseConv1D, SparseConv2D, SparseDepthwiseConv1D, SparseDepthwiseConv2D),
        *(SparseConv1DTranspose, SparseConv2DTranspose),
    )
}


def has_kept(model: keras.Model) -> bool:
    """Whether any layer of a model, or one within a layer, holds kept weights only; nothing but a model does."""
    return isinstance(model, keras.layers.Layer) and any(map(is_kept, model._flatten_layers()))


def kept_class_of(layer: keras.Operation) -> type | None:
    """The class of kept weights in whose place a plain or masked layer can stand; None if there is none.

    A masked class of one's own has one where its attribute `kept_class` names it; any other subclass may compute
    something else.
    """
    plain = plain_type(layer)
    same = type(layer) in (plain, MASKED.get(plain)) or isinstance(layer, MaskedLayer)
    return getattr(type(layer), "kept_class", KEPT.get(plain) if same else None)


def why_not_kept(layer: keras.Operation) -> str | None:
    """Why a plain or masked layer cannot hold kept weights only, in a few words; None if it can."""
    if kept_class_of(layer) is None:
        return f"{plain_type(layer).__name__} has no class of kept weights"
    if not layer.built:
        return "it has no weights yet"
    spatial = isinstance(layer, (*CONVOLUTIONS, *DEPTHWISE, *TRANSPOSED))
    if spatial and any(None in shape[1:] for shape in shapes_of(layer)):
        return "the size of its images is not known"
    return _unsupported(layer)


def _unsupported(layer: keras.layers.Layer) -> str | None:
    """What of a layer's settings the engine has not; None where it has all."""
    if layer.dtype_policy.name != "float32" or getattr(layer, "product_dtype", None) not in (None, "float32"):
        return f"it computes in {getattr(layer, 'product_dtype', None) or layer.dtype_policy.name}, not in float32"
    if getattr(layer, "lora_rank", None):
        return "it has a low-rank update (LoRA)"
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return "its channels come first"
    if isinstance(layer, layers.EinsumDense) and Contraction.of(layer.equation, 0) is None:
        return f"equation {layer.equation!r} is no product of rows"
    start = "depthwise" if isinstance(layer, DEPTHWISE) else "kernel"
    regularizer, constraint = (getattr(layer, f"{start}_{name}") for name in ("regularizer", "constraint"))
    if regularizer is not None and type(regularizer) not in _REGULARIZERS:
        return f"its regularizer {type(regularizer).__name__} sees more than each weight alone"
    if constraint is not None and type(constraint) not in _CONSTRAINTS:
        return f"its constraint {type(constraint).__name__} sees more than each weight alone"
    return None


def _check_number(kept: int | None, density: float | None, mask_seed: int | None) -> None:
    if (kept is None) == (density is None):
        raise InputError(f"exactly one of kept and density is needed. Received: kept={kept!r}, density={density!r}")
    if density is not None and not (isinstance(density, numbers.Real) and 0 < density <= 1):
        raise InputError(f"density must be above 0 and at most 1. Received: {density!r}")
    for name, number in (("kept", kept), ("mask_seed", mask_seed)):
        whole = isinstance(number, numbers.Integral) and not isinstance(number, bool)
        if number is not None and not (whole and number >= 0):
            raise InputError(f"{name} must be a whole number, 0 or more. Received: {number!r}")
