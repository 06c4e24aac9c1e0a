"""The masked products of layers: the one place where a mask meets a kernel.

A sparse engine takes over by replacing the `product` attribute of a layer with another function of the same signature;
nothing else in the package multiplies by a mask during training.
"""

from __future__ import annotations

from keras import ops


def masked_matmul(inputs, kernel, mask, dtype=None):
    """Product of `inputs` with the unpruned part of `kernel`.

    Args:
        inputs: float32 tensor (batch, in).
        kernel: float32 tensor (in, out).
        mask: float32 tensor (in, out) of zeros and ones.
        dtype: precision of the product's operands, for example `bfloat16`; None leaves them as they are.

    Returns:
        float32 tensor (batch, out).
    """
    kernel = ops.multiply(kernel, mask)
    if dtype is None:
        return ops.matmul(inputs, kernel)
    return ops.cast(ops.matmul(ops.cast(inputs, dtype), ops.cast(kernel, dtype)), inputs.dtype)
