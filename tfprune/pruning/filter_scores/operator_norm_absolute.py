"""Operator norm scores of filters, whatever their order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfprune.pruning.leading import leading_vectors


def operator_norm_absolute(kernels: Sequence[tf.Tensor], rng: np.random.Generator) -> list[tf.Tensor]:
    """r² / max r of r_j = Σ_c s |u_j|; arguments and result as in `tfprune.pruning.filter_scores`.

    (s, u, w) is the leading singular triple of a channel's filters × positions matrix. Unlike `operator_norm` it needs
    no reference filter: permuted filters have permuted scores, negated ones keep theirs. A kernel of zeros scores 0.

    Reference: after Singh, Li & Plumbley 2022, see `operator_norm`; the absolute values are this package's.
    """
    totals = [tf.reduce_sum(tf.abs(vectors), axis=0) for vectors in leading_vectors(kernels)]
    return [tf.math.divide_no_nan(tf.square(total), tf.reduce_max(total)) for total in totals]
