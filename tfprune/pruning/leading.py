"""The leading singular vectors of every input channel of convolution kernels."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def leading_vectors(kernels: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """s·u for the filters × positions matrix of every channel, with leading singular triple (s, u, w).

    As (s·u)ⱼ = ⟨filterⱼ, w⟩, only w is looked for, as the leading eigenvector of a positions × positions matrix: those
    of all channels of all kernels of one size in one batch.

    Args:
        kernels: float64, (positions, channels, filters) each.

    Returns:
        Float64, (channels, filters) for each kernel. The sign of a row is arbitrary; rows are 0 where channels are.
    """
    directions: dict[int, tf.Tensor] = {}
    for size in dict.fromkeys(kernel.shape[0] for kernel in kernels):
        alike = [index for index, kernel in enumerate(kernels) if kernel.shape[0] == size]
        squares = [tf.einsum("pcf,qcf->cpq", kernels[index], kernels[index]) for index in alike]
        leading = _leading_eigenvectors(tf.concat(squares, 0))
        found = tf.split(leading, [square.shape[0] for square in squares])
        directions.update(zip(alike, found, strict=True))
    return [tf.einsum("cp,pcf->cf", directions[index], kernel) for index, kernel in enumerate(kernels)]


def _leading_eigenvectors(matrices: tf.Tensor) -> tf.Tensor:
    """(batch, size, size) symmetric -> (batch, size), of norm 1."""
    with tf.device("CPU"):  # a GPU solves a batch of such small matrices one after the other
        return tf.linalg.eigh(matrices)[1][..., -1]  # eigenvalues ascend
