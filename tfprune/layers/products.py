"""The masked products of layers: the one place where a mask meets a kernel.

A sparse engine takes over by replacing the `product` attribute of a layer with another function of the same signature;
nothing else in the package multiplies by a mask during training.
"""

from __future__ import annotations

import tensorflow as tf
from keras import ops


def masked_matmul(inputs, kernel, mask, dtype=None):
    """Product of `inputs` with the unpruned part of `kernel`.

    Args:
        inputs: float32 tensor (batch, in).
        kernel: float32 tensor (in, out).
        mask: bool tensor (in, out), True is kept; or numbers, 0 and 1.
        dtype: precision of the product's operands, for example `bfloat16`; None leaves them as they are.

    Returns:
        float32 tensor (batch, out).
    """
    return _matmul(inputs, ops.multiply(kernel, mask), dtype)


def pruned_matmul(inputs, kernel, mask, dtype=None):
    """As `masked_matmul`, for a kernel whose pruned weights are 0: the same numbers, with one pass less over it.

    Its gradient is masked, so that training from such a kernel keeps it such a one.
    """
    return _matmul(inputs, _kept(ops.convert_to_tensor(kernel), ops.convert_to_tensor(mask)), dtype)


def _matmul(inputs, kernel, dtype):
    if dtype is None:
        return ops.matmul(inputs, kernel)
    return ops.cast(ops.matmul(ops.cast(inputs, dtype), ops.cast(kernel, dtype)), inputs.dtype)


@tf.custom_gradient
def _kept(kernel, mask):
    return tf.identity(kernel), lambda gradient: (gradient * tf.cast(mask, gradient.dtype), None)
