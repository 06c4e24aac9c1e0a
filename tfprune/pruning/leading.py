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
    matrices = [tf.transpose(kernel, (1, 0, 2)) for kernel in kernels]
    directions: dict[int, tf.Tensor] = {}
    for size in dict.fromkeys(matrix.shape[1] for matrix in matrices):
        alike = [index for index, matrix in enumerate(matrices) if matrix.shape[1] == size]
        squares = [tf.matmul(matrices[index], matrices[index], transpose_b=True) for index in alike]
        leading = _leading_eigenvectors(tf.concat(squares, 0))
        found = tf.split(leading, [square.shape[0] for square in squares])
        directions.update(zip(alike, found, strict=True))
    return [tf.linalg.matvec(matrix, directions[index], transpose_a=True) for index, matrix in enumerate(matrices)]


def _leading_eigenvectors(matrices: tf.Tensor) -> tf.Tensor:
    """(batch, size, size) symmetric -> (batch, size), of norm 1."""
    with tf.device("CPU"):  # on a GPU TensorFlow solves the matrices of a batch one after the other
        return tf.linalg.eigh(matrices)[1][..., -1]  # eigenvalues ascend
