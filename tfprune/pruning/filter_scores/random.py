"""Random scores of filters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def random(kernels: Sequence[tf.Tensor], rng: np.random.Generator) -> list[tf.Tensor]:
    """Independent uniform numbers in (0, 1]; arguments and result as in `tfprune.pruning.filter_scores`."""
    return [tf.constant(1 - rng.random(kernel.shape[-1])) for kernel in kernels]
