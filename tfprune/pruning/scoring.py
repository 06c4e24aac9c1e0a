"""Scores as rounds ask for them: of the kernels that compete, in a model whose other kernels stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras
import numpy as np

from tfprune.errors import InputError
from tfprune.pruning.scores import Score, get_score
from tfprune.pruning.specs import Pruner, get_pruner
from tfprune.pruning.within_outputs import within_outputs

Scored = Callable[[Mapping[str, np.ndarray], int], dict[str, np.ndarray]]


def scores_of(pruner: Pruner) -> list[Score]:
    """The scores that a pruner asks for, that of the pruner whose counts it takes among them."""
    others = [] if pruner.like is None else scores_of(get_pruner(pruner.like))
    return [get_score(pruner.score), *others]


class Scoring:
    """Calls scores.

    Args:
        model: Sequential or Functional.
        batches: see `tfprune.pruning.batches.as_batches`; None without data.
        seed: of what is random.
        completed: masks of the kernels that compete -> of all.
        highest: whether scores come negated.
        **options: of the scores.
    """

    def __init__(self, model: keras.Model, batches, seed: int, completed: Callable, highest: bool, **options):
        self._model, self._batches, self._seed = model, batches, seed
        self._completed, self._sign, self._options = completed, -1 if highest else 1, options

    def of(self, score: Score, per_output: bool = False) -> Scored:
        """(masks before the round, number of the round) -> scores, or what `within_outputs` makes of them.

        Raises:
            InputError: no data where it is needed; when called, what no score must give.
        """
        if score.needs_data and self._batches is None:
            raise InputError(
                f"score {score.name} needs data=: a tf.data.Dataset of (inputs, labels) batches or a pair of arrays"
            )

        def scored(before: Mapping[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
            rng = np.random.default_rng((self._seed, number))
            masks = self._completed(before)
            scores = _checked(score, score(self._model, self._batches, masks, rng, **self._options), before)
            if score.needs_data and number == 1 and not any(values.any() for values in scores.values()):
                raise InputError(f"all scores of {score.name} are 0: no weight that is left changes the loss")
            scores = scores if self._sign == 1 else {path: -scores[path] for path in before}
            return within_outputs(self._model, scores, before, self._seed) if per_output else scores

        return scored


def _checked(score: Score, scores: Mapping, masks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As float32 arrays, one for each kernel that competes."""
    if not isinstance(scores, Mapping):
        raise InputError(f"score {score.name} must give path -> array; it gave {type(scores).__name__}")
    found = {}
    unknown = [path for path in masks if path not in scores]
    if unknown:
        count = f"{len(unknown)} kernel{'s' if len(unknown) > 1 else ''}"
        raise InputError(f"score {score.name} says nothing of {count}: leave them out, ignore={unknown}")
    for path, mask in masks.items():
        try:
            found[path] = np.asarray(scores[path], np.float32)
        except (TypeError, ValueError):
            raise InputError(
                f"score {score.name} gave no array of numbers for kernel {path!r}: {scores[path]!r:.60}"
            ) from None
        if found[path].shape != mask.shape:
            raise InputError(
                f"score {score.name} gave an array of shape {found[path].shape} for kernel {path!r}, whose shape is "
                f"{mask.shape}"
            )
    return found
