"""Filter scores: how much each filter of a kernel matters. The registry; one file per method.

A filter score is a function `(kernels, rng) -> scores`:

* kernels: list of float64 tensors (positions, channels, filters): what filter f does to the channels that it reads.
  This is Keras's own layout of a convolution, with all positions on one axis; a dense layer has one position, and a
  depthwise convolution one channel, as each of its filters reads a single one.
* rng: `np.random.Generator`, the only source of randomness.
* returns: one float64 tensor (filters,) per kernel; finite and ≥ 0, higher means keep. A kernel's scores depend on no
  other kernel, except where they are drawn. A kernel of zeros scores 0, as far as weights decide.

A score of a model is a function `(network, batches, loss, rng) -> [(classes, scores)]` that looks at more than kernels:

* network: `tfprune.pruning.channel_network.ChannelNetwork` of the model, which it leaves as it is.
* batches: re-iterable of batches (inputs, labels), or with sample weights third; None where it needs no data.
* loss: from `tfprune.pruning.compiled.chosen_loss`.
* rng: as above.
* returns: for each kernel, scale or tensor that makes channels their classes, int array, and as many scores, finite and
  ≥ 0, higher means keep. Scores of one class add up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfprune.errors import InputError
from tfprune.pruning.filter_scores.average_zeros import average_zeros
from tfprune.pruning.filter_scores.batch_norm_scale import batch_norm_scale
from tfprune.pruning.filter_scores.gm_norm import gm_norm
from tfprune.pruning.filter_scores.gradient_activation import gradient_activation
from tfprune.pruning.filter_scores.l1_norm import l1_norm
from tfprune.pruning.filter_scores.l2 import l2
from tfprune.pruning.filter_scores.label_free_hessian import label_free_hessian
from tfprune.pruning.filter_scores.operator_norm import operator_norm
from tfprune.pruning.filter_scores.operator_norm_absolute import operator_norm_absolute
from tfprune.pruning.filter_scores.random import random
from tfprune.pruning.filter_scores.taylor import taylor
from tfprune.records.own_parts import imported
from tfprune.records.registry import Parts, Registry

FilterScore = Callable[[Sequence[tf.Tensor], np.random.Generator], list[tf.Tensor]]

FILTER_SCORES: Registry = Registry(
    "filter score",
    {
        "operator_norm": operator_norm,
        "operator_norm_absolute": operator_norm_absolute,
        "l1_norm": l1_norm,
        "l2": l2,
        "gm_norm": gm_norm,
        "random": random,
    },
    called="scoring",
)


@dataclass(frozen=True)
class ModelScore:
    """A registered score of a model.

    Args:
        function: see the module's docstring.
        needs_data: whether `batches` may not be None.
    """

    function: Callable
    needs_data: bool = True


MODEL_SCORES: Registry = Registry(
    "filter score",
    {
        "batch_norm_scale": ModelScore(batch_norm_scale, needs_data=False),
        "taylor": ModelScore(taylor),
        "gradient_activation": ModelScore(gradient_activation),
        "average_zeros": ModelScore(average_zeros),
        "label_free_hessian": ModelScore(label_free_hessian),
    },
    called="scoring",
)


def get_filter_score(name: str) -> FilterScore:
    """The filter score of that name, or of `module:name`, see `tfprune.records.own_parts`.

    Raises:
        InputError: there is none.
    """
    if isinstance(name, str) and ":" in name:
        found = imported(name, "filter score", FILTER_SCORES)
        if callable(found) and not isinstance(found, type):
            return found
        if isinstance(found, str) and found in FILTER_SCORES:
            return FILTER_SCORES[found]
        raise InputError(f"filter score {name} must be a function; it is {found!r:.80}")
    return FILTER_SCORES.named(name)


def filter_scores() -> Parts:
    """The filter scores that there are, one's own among them: name -> what it is, in a line. Prints as a table."""
    return Parts({**FILTER_SCORES.parts(), **MODEL_SCORES.parts()})


def register_filter_score(name: str) -> Callable[[FilterScore], FilterScore]:
    """A decorator that gives a filter score of one's own a name, for `prune_filters`, `prune_channels`, `--scoring`.

        @tfprune.register_filter_score("largest")
        def largest(kernels, rng):
            return [keras.ops.max(keras.ops.abs(kernel), axis=(0, 1)) for kernel in kernels]

    Args:
        name: not taken, nor `"all"`.

    Returns:
        The decorator; the function stays what it is. It is called as `(kernels, rng)`: kernels: list of float64 tensors
        (positions, channels, filters), see `tfprune.pruning.filter_scores`; rng: `np.random.Generator`. It returns a
        tensor or array (filters,) for each kernel, finite and ≥ 0, higher means keep.

    Raises:
        InputError: the name is taken or is none, no function.
    """

    FILTER_SCORES.check_name(name)

    def register(function: FilterScore) -> FilterScore:
        FILTER_SCORES.register(name, function, function, taken=("all", "unpruned", *MODEL_SCORES))
        return function

    return register


def score_filters(kernels: Mapping[str, np.ndarray], scoring: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Scores of the filters of each kernel.

    Args:
        kernels: name -> array (positions, channels, filters).
        scoring: a name of `FILTER_SCORES`.
        seed: of random scores; a non-negative integer.

    Returns:
        The same names -> float32 array (filters,).

    Raises:
        InputError: unknown scoring, a negative seed, or NaN or infinite weights; names the kernel.
    """
    function = get_filter_score(scoring)
    check_seed(seed)
    check_kernels(kernels)
    tensors = [tf.cast(tf.convert_to_tensor(kernel), tf.float64) for kernel in kernels.values()]
    scores = function(tensors, np.random.default_rng(seed))
    return dict(zip(kernels, _checked(scores, list(kernels.values()), scoring), strict=True))


def _checked(scores: Sequence, kernels: list[np.ndarray], scoring: str) -> list[np.ndarray]:
    """As float32 arrays; refuses what a filter score must not give."""
    needed = [kernel.shape[-1:] for kernel in kernels]
    try:
        found = [np.asarray(score, np.float32) for score in scores]
    except (TypeError, ValueError):  # no sequence, or not of numbers
        came = f"{type(scores).__name__} {scores!r:.60}"
        raise InputError(f"filter score {scoring} must give arrays of shapes {needed}; received {came}") from None
    shapes = [score.shape for score in found]
    if shapes != needed:
        raise InputError(f"filter score {scoring} must give arrays of shapes {needed}; received {shapes}")
    if not all(np.isfinite(score).all() and (score >= 0).all() for score in found):
        raise InputError(f"filter score {scoring} must give finite numbers of at least 0")
    return found


def check_seed(seed: int) -> None:
    """Refuses what is no non-negative integer."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise InputError(f"seed must be a non-negative integer; received {seed!r}")


def check_kernels(kernels: Mapping[str, np.ndarray]) -> None:
    """Refuses NaN and infinite weights; names the kernel."""
    for name, kernel in kernels.items():
        if not np.isfinite(kernel).all():
            raise InputError(f"kernel {name!r} holds NaN or infinite weights")
