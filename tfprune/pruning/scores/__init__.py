"""Scores: how much each weight matters. The registry; one file per method.

A score is a function `(model, batches, masks, rng, **options) -> {path: float32 array}`:

* model: Sequential or Functional Keras model; unchanged afterwards, with its optimizer and normalisation averages.
* batches: re-iterable of batches (inputs, labels), or with sample weights third; None for methods that need no data.
* masks: path -> bool array for every path of `prunable(model)`; pruned weights count as absent.
* rng: `np.random.Generator`, the only source of randomness.
* options: those listed at its registration.
* returns: the same paths and shapes, without those of kernels that the method says nothing of; higher means keep;
  pruned entries are 0. A low score alone does not say "pruned": the pruner never chooses a pruned entry, whatever its
  score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras
import numpy as np

from tfprune.pruning.scores.grasp import grasp
from tfprune.pruning.scores.graspabs import graspabs
from tfprune.pruning.scores.lamp import lamp
from tfprune.pruning.scores.magnitude import magnitude
from tfprune.pruning.scores.random import random
from tfprune.pruning.scores.snip import snip
from tfprune.pruning.scores.synflow import synflow
from tfprune.pruning.scores.wanda import wanda
from tfprune.records.registry import Parts, Registry


@dataclass(frozen=True)
class Score:
    """A registered method.

    Args:
        function: see the module's docstring.
        needs_data: whether `batches` may not be None.
        options: keyword arguments that the function takes, of those of `tfprune.prune`.
        needs_labels: whether batches must have labels; without, data may be inputs alone.
    """

    function: Callable[..., dict[str, np.ndarray]]
    needs_data: bool = False
    options: tuple[str, ...] = ()
    needs_labels: bool = True

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
        "wanda": Score(wanda, needs_data=True, needs_labels=False),
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
