"""Euclidean norms of filters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def l2(kernels: Sequence[tf.Tensor], rng: np.random.Generator) -> list[tf.Tensor]:
    """√Σw² over the largest of the kernel; arguments and result as in `tfprune.pruning.filter_scores`.

    Reference: He et al. 2018, arXiv 1808.06866, eq. 2 with p = 2.
    """
    norms = [tf.norm(kernel, axis=(0, 1)) for kernel in kernels]
    return [tf.math.divide_no_nan(norm, tf.reduce_max(norm)) for norm in norms]
