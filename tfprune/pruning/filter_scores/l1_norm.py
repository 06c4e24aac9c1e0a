"""L1 norms of filters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def l1_norm(kernels: Sequence[tf.Tensor], rng: np.random.Generator) -> list[tf.Tensor]:
    """Σ|w| over the largest of the kernel; arguments and result as in `tfprune.pruning.filter_scores`.

    Reference: Li et al. 2017, arXiv 1608.08710, section 3.1.
    """
    norms = [tf.reduce_sum(tf.abs(kernel), axis=(0, 1)) for kernel in kernels]
    return [tf.math.divide_no_nan(norm, tf.reduce_max(norm)) for norm in norms]
