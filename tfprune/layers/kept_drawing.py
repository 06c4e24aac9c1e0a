"""Random connections and first values of layers that hold kept weights only; nothing of the dense size is made."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from keras import initializers, ops

from tfprune.errors import InputError

_OF_MATRICES = initializers.Orthogonal, initializers.Identity


def random_indices(size: int, kept: int, rng: np.random.Generator) -> np.ndarray:
    """int64 (kept,), ascending: each set of so many of `size` numbers is as likely as any other."""
    if 2 * kept > size:
        return np.delete(np.arange(size), random_indices(size, size - kept, rng))
    found = np.empty(0, np.int64)
    while len(found) < kept:
        found = np.union1d(found, rng.integers(size, size=kept - len(found) + 16))
    return np.delete(found, rng.choice(len(found), len(found) - kept, replace=False))


def first_values(initializer: Callable, shape: Sequence[int], kept: int, dtype: str):
    """(kept,) tensor: what an initializer draws for a kernel, scaled to the mean number of inputs that are kept.

    Args:
        initializer: Keras's, or a function of a shape and a dtype.
        shape: of the kernel.
        kept: number of its weights that there are.

    Raises:
        InputError: an initializer that is one of matrices; names it.
    """
    if isinstance(initializer, _OF_MATRICES):
        raise InputError(
            "kernel_initializer of kept weights must draw each weight alone, as glorot_uniform does. "
            f"Received: {type(initializer).__name__}"
        )
    if not kept:
        return ops.zeros((0,), dtype)
    if isinstance(initializer, initializers.VarianceScaling):
        initializer = _scaled(initializer, shape, kept)
    return initializer((kept,), dtype=dtype)


def _scaled(initializer: initializers.VarianceScaling, shape: Sequence[int], kept: int) -> initializers.VarianceScaling:
    # For a shape (kept,), Keras takes `kept` for the number of inputs and of outputs.
    scale = initializer.scale * kept / max(1.0, kept / math.prod(shape) * _fan(initializer, shape))
    return initializers.VarianceScaling(
        scale, mode="fan_in", distribution=initializer.distribution, seed=initializer.seed
    )


def _fan(initializer: initializers.VarianceScaling, shape: Sequence[int]) -> float:
    """What the dense initializer divides by."""
    positions = math.prod(shape[:-2]) if len(shape) > 1 else 1
    axes = initializer.input_axes, initializer.output_axes
    if None not in axes:
        inputs, outputs = (math.prod(shape[axis] for axis in part) for part in axes)
    else:
        inputs, outputs = shape[-2] * positions, shape[-1] * positions
    return {"fan_in": inputs, "fan_out": outputs, "fan_avg": (inputs + outputs) / 2}[initializer.mode]
