"""Masked counterparts of all Keras layers in `kinds.KINDS`; what they share is in `kernel_masks`."""

from __future__ import annotations

import inspect

import keras
from keras import layers, ops

from tfprune.layers.kernel_masks import KernelMasks
from tfprune.layers.kinds import KINDS
from tfprune.layers.products import masked_matmul

_registered = keras.saving.register_keras_serializable("tfprune")


@_registered
class MaskedDense(KernelMasks, layers.Dense):
    """`activation(x · (W ∘ mW) + b)`.

    Args:
        product_dtype: precision of the matrix product's operands (for example `bfloat16`), None for the layer's own.
        **kwargs: those of `keras.layers.Dense`.

    Attributes:
        product: the masked product, see `tfprune.layers.products`.
    """

    plain_class = layers.Dense
    product_dtype, product = None, staticmethod(masked_matmul)

    def __init__(self, units, product_dtype=None, **kwargs):
        super().__init__(units, **kwargs)
        self.product_dtype = product_dtype
        self.product = masked_matmul

    def call(self, inputs, training=None):
        outputs = self.product(inputs, self.kernel, self.kernel_mask, self.product_dtype)
        if self.bias is not None:
            outputs = ops.add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    def get_config(self):
        return {**super().get_config(), "product_dtype": self.product_dtype}


@_registered
class MaskedConv2D(KernelMasks, layers.Conv2D):
    """`activation(conv(x, K ∘ mK) + b)`.

    Args:
        filters: number of output channels.
        kernel_size: height and width of the kernel.
        product_dtype: precision of the convolution's operands (for example `bfloat16`), None for the layer's own.
        **kwargs: those of `keras.layers.Conv2D`.
    """

    plain_class = layers.Conv2D
    product_dtype = None

    def __init__(self, filters, kernel_size, product_dtype=None, **kwargs):
        super().__init__(filters, kernel_size, **kwargs)
        self.product_dtype = product_dtype

    def convolution_op(self, inputs, kernel):
        if self.product_dtype is None:
            return super().convolution_op(inputs, kernel)
        outputs = super().convolution_op(ops.cast(inputs, self.product_dtype), ops.cast(kernel, self.product_dtype))
        return ops.cast(outputs, inputs.dtype)

    def get_config(self):
        return {**super().get_config(), "product_dtype": self.product_dtype}


def _masked(plain: type) -> type:
    """The masked class of a layer whose kernels alone need masks; a name of this module, as pickles want it."""
    name, doc = f"Masked{plain.__name__}", f"`keras.layers.{plain.__name__}` with masked kernels."
    body = {"plain_class": plain, "__doc__": doc, "__module__": __name__}
    if "training" in inspect.signature(plain.call).parameters:  # of quantized layers, which have no masks
        body["call"] = lambda self, inputs, training=None: KernelMasks.call(self, inputs)
    globals()[name] = _registered(type(name, (KernelMasks, plain), body))
    return globals()[name]


MASKED: dict[type, type] = {layers.Dense: MaskedDense, layers.Conv2D: MaskedConv2D}
MASKED |= {plain: _masked(plain) for plain in KINDS if plain not in MASKED}
