"""Distances of filters from their geometric median."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

TOLERANCE, ITERATIONS = 1e-7, 1000
# Filters that lie closer together, relative to their size, are equal up to rounding.
EQUAL = 1e-12


def gm_norm(kernels: Sequence[tf.Tensor], rng: np.random.Generator) -> list[tf.Tensor]:
    """‖filter − geometric median‖ over the largest such distance; the median minimises the sum of all distances.

    Arguments and result as in `tfprune.pruning.filter_scores`. Where all filters are equal, all score 0.

    Reference: He et al. 2019, arXiv 1811.00250, eq. 4, with distances from the median itself; Weiszfeld's iteration.
    """
    return [_score(tf.reshape(kernel, (-1, kernel.shape[-1]))) for kernel in kernels]


@tf.function(input_signature=[tf.TensorSpec((None, None), tf.float64)], autograph=False)
def geometric_median(filters: tf.Tensor) -> tf.Tensor:
    """Weiszfeld's iteration from the mean, until it moves by at most 1e-7, for at most 1000 rounds.

    Args:
        filters: float64, (entries, filters).

    Returns:
        Float64, (entries,).
    """

    def moved(point, before):
        distances = tf.norm(filters - point[:, None], axis=0)
        # A filter on the point itself would weigh infinitely much.
        weights = 1 / tf.where(distances == 0, tf.ones_like(distances), distances)
        return tf.linalg.matvec(filters, weights) / tf.reduce_sum(weights), point

    def unsettled(point, before):
        return tf.norm(point - before) > TOLERANCE

    mean = tf.reduce_mean(filters, axis=1)
    return tf.while_loop(unsettled, moved, (mean, mean + np.inf), maximum_iterations=ITERATIONS)[0]


def _score(filters: tf.Tensor) -> tf.Tensor:
    distances = tf.norm(filters - geometric_median(filters)[:, None], axis=0)
    largest = tf.reduce_max(distances)
    equal = largest <= EQUAL * tf.reduce_max(tf.norm(filters, axis=0))
    return tf.zeros_like(distances) if equal else distances / largest
