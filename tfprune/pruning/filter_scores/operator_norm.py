"""Operator norm scores of filters, as published."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfprune.pruning.leading import leading_vectors

# A filter whose share of the leading vector is smaller gives no sign: its own would be that of a rounding error.
LEAST = 1e-7


def operator_norm(kernels: Sequence[tf.Tensor], rng: np.random.Generator) -> list[tf.Tensor]:
    """r² / max r of r_j = Σ_c ⟨filter_j, reference⟩; arguments and result as in `tfprune.pruning.filter_scores`.

    A channel's reference is filter 0 in the best approximation of rank 1 of the channel's filters × positions matrix,
    scaled to norm 1. With leading singular triple (s, u, w): r_j = Σ_c s u_j sign(u_0).

    This is the published score exactly, so that filter 0 decides the sign of every channel. The scores therefore depend
    on the order of the filters: permuted filters do not have permuted scores, filter 0 tends to score highest, and
    filters far on the negative side count as important. `operator_norm_absolute` has no such reference.

    Where filter 0 has no part in u (it is 0 in that channel, or orthogonal to w) the published score is undefined. Here
    the first filter that has one takes its place; a channel without any adds nothing, and a kernel of zeros scores 0.

    Reference: Singh, Li & Plumbley 2022, "An operator norm based passive filter pruning method for efficient CNNs".
    """
    return [_score(_total(vectors)) for vectors in leading_vectors(kernels)]


def _total(vectors: tf.Tensor) -> tf.Tensor:
    """(channels, filters) s·u -> (filters,) r."""
    has_part = tf.abs(vectors) > LEAST * tf.norm(vectors, axis=1, keepdims=True)
    first = tf.argmax(tf.cast(has_part, tf.int32), axis=1)
    signs = tf.sign(tf.gather(vectors, first, axis=1, batch_dims=1))
    return tf.linalg.matvec(vectors, signs, transpose_a=True)


def _score(total: tf.Tensor) -> tf.Tensor:
    return tf.math.divide_no_nan(tf.square(total), tf.reduce_max(total))
