"""One renewal of a model's masks while it trains: pruned further, chosen anew, or some dropped and others grown."""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np

from tfprune.connectivity.report import sparsity as sparsity_report
from tfprune.layers.convert import masks_of, set_masks
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.layers.subclassed import as_graph
from tfprune.pruning.competing import competing
from tfprune.pruning.compiled import chosen_loss
from tfprune.pruning.gradients import masked_weights, mean_gradients
from tfprune.pruning.pruner import prune
from tfprune.pruning.scores import get_score
from tfprune.pruning.selection import kept_count
from tfprune.pruning.specs import Pruner, get_pruner
from tfprune.training.regrowth import Regrowth, regrown
from tfprune.training.slots import clear_slots, set_zero
from tfprune.training.turns import Turns

_COMPETING = set(inspect.signature(competing).parameters) - {"model", "masks"}


@dataclass(frozen=True)
class Renewal:
    """What a renewal of masks did.

    Attributes:
        step: the step that was due, from 1; 0 for masks to start from.
        sparsity: afterwards, of the weights that compete.
        effective_sparsity: the same of effective weights; None where it was not asked for.
        dropped: number of weights that were kept and are not.
        grown: number of weights that were pruned and are kept.
        seconds: that it took.
    """

    step: int
    sparsity: float
    effective_sparsity: float | None
    dropped: int
    grown: int
    seconds: float


def needs_data(pruner: str | Pruner) -> bool:
    """Whether a pruner scores by data."""
    pruner = get_pruner(pruner)
    return get_score(pruner.score).needs_data or (pruner.like is not None and needs_data(pruner.like))


class Renewals:
    """Renews the masks of one model.

    Args:
        model: with masks in place.
        pruner: that chooses masks.
        data: of scores that need data, and of gradients.
        pruning_type: as for `tfprune.prune`.
        regrow: whether all weights compete at each renewal, also pruned ones.
        effective: whether effective sparsity is told.
        options: further arguments of `tfprune.prune`.

    Attributes:
        size: number of weights that compete.
        kernels: number of kernels that do.
    """

    def __init__(
        self,
        model: keras.Model,
        pruner: str | Pruner,
        data,
        pruning_type: str,
        regrow: bool,
        effective: bool,
        options: Mapping,
    ):
        self._model, self._pruner, self._data = model, pruner, data
        self._type, self._regrow, self._effective, self._options = pruning_type, regrow, effective, dict(options)
        self._seed = self._options.get("seed", 0)
        self._told: set[str] = set()
        self._turns: Turns | None = None
        as_graph(model)  # what cannot be scored is told before it trains
        chosen_by = {name: value for name, value in self._options.items() if name in _COMPETING}
        part = competing(model, masks_of(model), **{"ignore": (), "frozen": None, **chosen_by})
        self._paths = list(part)
        self.size, self.kernels = part.size, len(part)

    @property
    def kept(self) -> int:
        """Number of those that are kept."""
        return self._part(masks_of(self._model)).kept

    def gradual(self, step: int, sparsity: float) -> Renewal | None:
        """Prunes to a sparsity; None where as much is pruned already and nothing can come back."""
        began, before = time.perf_counter(), masks_of(self._model)
        if not self._regrow and self._part(before).kept <= kept_count(self.size, 1 - sparsity):
            return None
        return self._changed(step, before, self._chosen(sparsity, before), began)

    def regrowth(self, step: int, number: int, schedule: Regrowth) -> Renewal:
        """Drops and grows; `number` counts the renewals of a training from 0."""
        began, before = time.perf_counter(), masks_of(self._model)
        return self._changed(step, before, self._regrown(step, number, schedule, before), began)

    def now(self, step: int) -> Renewal:
        """The state as it is, told as a renewal that changed nothing."""
        masks = masks_of(self._model)
        return self._changed(step, masks, masks, time.perf_counter())

    def _changed(self, step: int, before: Masks, masks: Masks, began: float) -> Renewal:
        if masks is not before:
            set_masks(self._model, masks)
        dropped = sum(np.count_nonzero(before[path] & ~mask) for path, mask in masks.items())
        grown = sum(np.count_nonzero(mask & ~before[path]) for path, mask in masks.items())
        effective = self._effective_sparsity(masks) if self._effective else None
        seconds = time.perf_counter() - began
        return Renewal(step, self._part(masks).sparsity, effective, int(dropped), int(grown), seconds)

    def _part(self, masks: Masks) -> Masks:
        return masks if len(self._paths) == len(masks) else Masks({path: masks[path] for path in self._paths})

    def _chosen(self, sparsity: float, before: Masks) -> Masks:
        if self._regrow:
            # Weights that do not compete keep their masks; of the others, pruned ones have the values they had.
            set_masks(self._model, {path: mask | (path in self._paths) for path, mask in before.items()})
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                given = {"verbose": False, **self._options}
                data = self._data if needs_data(self._pruner) else None
                masks = prune(self._model, self._pruner, sparsity, self._type, data, **given)
        except BaseException:
            set_masks(self._model, before)
            raise
        finally:
            self._tell_once(caught)
        if self._regrow:
            # What is left of their momentum would go on moving pruned weights, which keep their values to come back.
            for path, kernel in prunable(self._model).items():
                clear_slots(self._model.optimizer, kernel, before[path] & ~masks[path], averages=False)
        return masks

    def _tell_once(self, caught: list) -> None:
        """What is said at every renewal, but for numbers, is said once."""
        for one in caught:
            key = "".join(letter for letter in str(one.message) if not letter.isdigit())
            if key not in self._told:
                self._told.add(key)
                warnings.warn(one.message, one.category, stacklevel=2)

    def _regrown(self, step: int, number: int, schedule: Regrowth, before: Masks) -> Masks:
        gradients = self._gradients(before, number, schedule) if schedule.needs_data else {}
        rng = np.random.default_rng((self._seed, step))
        kernels, masks = prunable(self._model), dict(before)
        for path in self._paths:
            variable, mask = kernels[path], before[path]
            kernel = np.asarray(variable.numpy(), np.float32)
            masks[path] = regrown(schedule, step, kernel, mask, gradients.get(path), rng, self._seed)
            grown = masks[path] & ~mask
            if grown.any():
                set_zero(variable, grown)
                clear_slots(self._model.optimizer, variable, grown)
        return Masks(masks)

    def _gradients(self, masks: Masks, number: int, schedule) -> dict[str, np.ndarray]:
        """Of the loss with respect to all weights, also pruned ones, which are 0 in it."""
        graph = as_graph(self._model)
        if self._turns is None:
            size = self._options.get("batch_size", 128)
            self._turns = Turns(self._data, size, len(graph.inputs), self._seed)
            self._loss = chosen_loss(self._model, self._options.get("loss"))
        batches = self._turns.take(number * schedule.batches, schedule.batches)
        weights, rng = masked_weights(graph, masks), np.random.default_rng((self._seed, number))
        set_masks(self._model, Masks.dense(self._model))  # or gradients of pruned weights would be 0
        try:
            gradients = mean_gradients(graph, batches, weights, rng, self._loss)
        finally:
            set_masks(self._model, masks)
        return {path: np.asarray(gradient, np.float32) for path, gradient in gradients.items()}

    def _effective_sparsity(self, masks: Masks) -> float:
        names = ("input_shape", "convention", "unknown")
        given = {name: self._options[name] for name in names if name in self._options}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            report = sparsity_report(self._model, masks, **given)
        self._tell_once(caught)
        return self._part(report.effective_masks).sparsity
