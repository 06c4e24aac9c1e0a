"""Scores: how much each weight matters. The registry; one file per method.

A score is a function `(model, batches, masks, rng, **options) -> {path: float32 array}`:

* model: Sequential or Functional Keras model; unchanged afterwards, with its optimizer and normalisation averages.
* batches: re-iterable of batches (inputs, labels), or with sample weights third; None for methods that need no data.
* masks: path -> bool array for every path of `prunable(model)`; pruned weights count as absent.
* rng: `np.random.Generator`, the only source of randomness.
* options: those listed at its registration.
* returns: the same paths and shapes; higher means keep; pruned entries are 0. A low score alone does not say "pruned":
  the pruner never chooses a pruned entry, whatever its score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from tfprune.errors import InputError
from tfprune.pruning.registry import Parts, Registry
from tfprune.pruning.scores.grasp import grasp
from tfprune.pruning.scores.graspabs import graspabs
from tfprune.pruning.scores.lamp import lamp
from tfprune.pruning.scores.magnitude import magnitude
from tfprune.pruning.scores.random import random
from tfprune.pruning.scores.snip import snip
from tfprune.pruning.scores.synflow import synflow


@dataclass(frozen=True)
class Score:
    """A registered method.

    Args:
        function: see the module's docstring.
        needs_data: whether `batches` may not be None.
        options: keyword arguments that the function takes, of those of `tfprune.prune`.
    """

    function: Callable[..., dict[str, np.ndarray]]
    needs_data: bool = False
    options: tuple[str, ...] = ()

    def __call__(self, model: keras.Model, batches, masks: Mapping, rng: np.random.Generator, **options) -> dict:
        """Scores, with the options that this method knows."""
        known = {name: value for name, value in options.items() if name in self.options}
        return self.function(model, batches, masks, rng, **known)

    @property
    def name(self) -> str:
        """For messages."""
        registered = (name for name, score in SCORES.items() if score is self)
        return next(registered, None) or getattr(self.function, "__name__", type(self.function).__name__)


OPTIONS = ("loss", "input_shape")
"""What a score can ask to be given."""

SCORES: Registry = Registry(
    "score",
    {
        "random": Score(random),
        "magnitude": Score(magnitude),
        "lamp": Score(lamp),
        "snip": Score(snip, needs_data=True, options=("loss",)),
        "grasp": Score(grasp, needs_data=True, options=("loss",)),
        "graspabs": Score(graspabs, needs_data=True, options=("loss",)),
        "synflow": Score(synflow, options=("input_shape",)),
    },
)


def get_score(score: str | Score | Callable) -> Score:
    """The score of that name; that which a function is.

    Raises:
        InputError: there is none.
    """
    if isinstance(score, Score):
        return score
    if callable(score) and not isinstance(score, type):
        registered = (one for one in SCORES.values() if one.function is score)
        return next(registered, None) or Score(score)
    return SCORES.named(score)


def scores() -> Parts:
    """The scores that there are, one's own among them: name -> what it is, in a line. Prints as a table."""
    return SCORES.parts()


def register_score(name: str, *, needs_data: bool = False, options: Sequence[str] = ()) -> Callable:
    """A decorator that gives a score of one's own a name, for `prune`, `Pruner` and `--pruner`.

        @tfprune.register_score("smallest_fan")
        def smallest_fan(model, batches, masks, rng):
            kernels = tfprune.prunable(model)
            return {path: abs(kernel.numpy()) / kernel.shape[-1] for path, kernel in kernels.items()}

    Args:
        name: not taken. It also names the pruner that takes the lowest scores of all layers, in one go.
        needs_data: whether `batches` may not be None.
        options: of `"loss"` and `"input_shape"` those that the function takes as keyword arguments, as `prune` got
            them; a loss of None is the cross-entropy.

    Returns:
        The decorator; the function stays what it is. It is called as `(model, batches, masks, rng, **options)`:
        batches: re-iterable of (inputs, labels) or with sample weights third, None without data; masks: path -> bool
        array for every path of `prunable(model)`, where pruned weights count as absent; rng: `np.random.Generator`, the
        only source of randomness. It returns path -> array of the kernel's shape, higher means keep, and leaves the
        model as it is.

    Raises:
        InputError: the name is taken or is none, an option that there is not, no function.
    """
    options = (options,) if isinstance(options, str) else tuple(options)
    if wrong := [option for option in options if option not in OPTIONS]:
        raise InputError(f"options of a score are of {', '.join(OPTIONS)}; received {wrong[0]!r}")

    def register(function: Callable) -> Callable:
        SCORES.register(name, function, Score(function, needs_data, options))
        return function

    return register
