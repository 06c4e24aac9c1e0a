"""Masked counterparts of every Keras layer with prunable kernels; what they share is in `kernel_masks`."""

from __future__ import annotations

import keras
from keras import layers, ops

from tfprune.layers.kernel_masks import KernelMasks
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

    def __init__(self, units, product_dtype=None, **kwargs):
        super().__init__(units, **kwargs)
        self.product_dtype = product_dtype
        self.product = masked_matmul

    def call(self, inputs):
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


@_registered
class MaskedEinsumDense(KernelMasks, layers.EinsumDense):
    """`keras.layers.EinsumDense` with a masked kernel."""

    plain_class = layers.EinsumDense


@_registered
class MaskedConv1D(KernelMasks, layers.Conv1D):
    """`keras.layers.Conv1D` with a masked kernel."""

    plain_class = layers.Conv1D


@_registered
class MaskedConv3D(KernelMasks, layers.Conv3D):
    """`keras.layers.Conv3D` with a masked kernel."""

    plain_class = layers.Conv3D


@_registered
class MaskedConv1DTranspose(KernelMasks, layers.Conv1DTranspose):
    """`keras.layers.Conv1DTranspose` with a masked kernel."""

    plain_class = layers.Conv1DTranspose


@_registered
class MaskedConv2DTranspose(KernelMasks, layers.Conv2DTranspose):
    """`keras.layers.Conv2DTranspose` with a masked kernel."""

    plain_class = layers.Conv2DTranspose


@_registered
class MaskedConv3DTranspose(KernelMasks, layers.Conv3DTranspose):
    """`keras.layers.Conv3DTranspose` with a masked kernel."""

    plain_class = layers.Conv3DTranspose


@_registered
class MaskedDepthwiseConv1D(KernelMasks, layers.DepthwiseConv1D):
    """`keras.layers.DepthwiseConv1D` with a masked kernel."""

    plain_class = layers.DepthwiseConv1D


@_registered
class MaskedDepthwiseConv2D(KernelMasks, layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D` with a masked kernel."""

    plain_class = layers.DepthwiseConv2D


@_registered
class MaskedSeparableConv1D(KernelMasks, layers.SeparableConv1D):
    """`keras.layers.SeparableConv1D` with both kernels masked."""

    plain_class = layers.SeparableConv1D


@_registered
class MaskedSeparableConv2D(KernelMasks, layers.SeparableConv2D):
    """`keras.layers.SeparableConv2D` with both kernels masked."""

    plain_class = layers.SeparableConv2D


MASKED: dict[type, type] = {
    masked.plain_class: masked
    for masked in (
        MaskedDense,
        MaskedEinsumDense,
        MaskedConv1D,
        MaskedConv2D,
        MaskedConv3D,
        MaskedConv1DTranspose,
        MaskedConv2DTranspose,
        MaskedConv3DTranspose,
        MaskedDepthwiseConv1D,
        MaskedDepthwiseConv2D,
        MaskedSeparableConv1D,
        MaskedSeparableConv2D,
    )
}
