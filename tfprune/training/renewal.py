"""One renewal of a model's masks while it trains: pruned further, chosen anew, or some dropped and others grown."""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Mapping

import keras
import numpy as np

from tfprune.connectivity.report import sparsity as sparsity_report
from tfprune.errors import InputError
from tfprune.layers.convert import masks_of, set_masks
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.layers.subclassed import as_graph
from tfprune.pruning.competing import competing
from tfprune.pruning.compiled import chosen_loss
from tfprune.pruning.gradients import masked_weights, mean_gradients
from tfprune.pruning.patterns import as_pattern
from tfprune.pruning.pruner import prune
from tfprune.pruning.scoring import scores_of
from tfprune.pruning.selection import kept_count
from tfprune.pruning.specs import Pruner, get_pruner
from tfprune.pruning.targets import layer_sparsities, target_of
from tfprune.training.history import KernelRenewal, Renewal
from tfprune.training.regrowth import Regrowth, regrown
from tfprune.training.slots import clear_slots, set_zero
from tfprune.training.turns import Turns

_COMPETING = set(inspect.signature(competing).parameters) - {"model", "masks"}
_OF_GRID = {"group_score": "group_score", "pattern_remainder": "remainder"}  # of prune -> of a grid


def needs_data(pruner: str | Pruner) -> bool:
    """Whether a pruner scores by data."""
    return any(score.needs_data for score in scores_of(get_pruner(pruner)))


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
        layers: name -> fraction that each kernel so named loses in the end; None where all go to one sparsity.

    Attributes:
        size: number of weights that compete.
        kernels: number of kernels that do.
        total: the part of all weights that compete that goes in the end; None without `layers`.
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
        layers: Mapping | None = None,
    ):
        self._model, self._pruner, self._data = model, pruner, data
        self._type, self._regrow, self._effective, self._options = pruning_type, regrow, effective, dict(options)
        self._seed = self._options.get("seed", 0)
        self._told: set[str] = set()
        self._turns: Turns | None = None
        as_graph(model)  # what cannot be scored is told before it trains
        pattern = self._options.get("pattern")
        self._pattern = None if pattern is None else as_pattern(pattern)
        chosen_by = {name: value for name, value in self._options.items() if name in _COMPETING}
        part = competing(model, masks_of(model), **{"ignore": (), "frozen": None, **chosen_by})
        self._paths = list(part)
        self.size, self.kernels = part.size, len(part)
        self._layers, self.total = None, None
        if layers is not None:
            self._layers = layer_sparsities(model, part, layers)
            self.total = sum(value * part[path].size for path, value in self._layers.items()) / self.size
            if not self.total:
                raise InputError("sparsity= is 0 for every kernel that competes: there is nothing to prune")

    @property
    def kept(self) -> int:
        """Number of those that are kept."""
        return self._part(masks_of(self._model)).kept

    def require(self, sparsity: float) -> None:
        """Refuses what no renewal could do in the end, so that it is told before the training.

        Args:
            sparsity: the final one.

        Raises:
            InputError: a pattern that does not fit a kernel, or weights that stay in any case, as `prune` tells it.
        """
        options = self._options
        chosen = get_pruner(self._pruner).changed(options.get("scope"), options.get("quota"), None)
        of_grid = {own: options[name] for name, own in _OF_GRID.items() if name in options}
        part = self._part(Masks.dense(self._model))
        given = None if self._by_numbers and self._layers is None else self._layers or sparsity
        target = target_of(as_graph(self._model), part, given, chosen, self._pattern, **of_grid)
        if self._type == "direct" and self.kept == self.size:  # else a kernel may keep less than a whole one
            target.require(options.get("min_weights", 0))

    def short(self, sparsity: float) -> str | None:
        """What has fewer weights than it keeps at the final sparsity, in words; None: nothing has.

        N:M can be had of any masks, with fewer weights where they have fewer.
        """
        if self._by_numbers:
            return None
        alive = self._part(masks_of(self._model))
        if self._layers is None:
            # A quota rounds in every kernel.
            few = alive.kept < kept_count(self.size, 1 - sparsity) - self.kernels
            return f"sparsity {sparsity:.6g}, the model has {alive.sparsity:.6g} already" if few else None
        counts = alive.counts
        for path, final in self._layers.items():
            size, kept = alive[path].size, counts[path]
            if final and kept < kept_count(size, 1 - final):
                return f"sparsity {final:.6g} of kernel {path!r}, the model has {1 - kept / size:.6g} already"
        return None

    def near(self, sparsity: float) -> bool:
        """Whether the masks are as sparse as that already, but for rounding."""
        alive = self._part(masks_of(self._model))
        if self._layers is None:
            return abs(alive.kept - kept_count(self.size, 1 - sparsity)) <= self.kernels
        counts = alive.counts
        return all(
            not final or abs(counts[path] - kept_count(alive[path].size, 1 - final)) <= 1
            for path, final in self._layers.items()
        )

    def gradual(self, step: int, sparsity: float) -> Renewal | None:
        """Prunes to a sparsity; None where nothing can come back and no more goes."""
        began, before = time.perf_counter(), masks_of(self._model)
        asked = self._asked(sparsity, self._part(before))
        if asked is None:
            return None
        masks = self._chosen(asked, before)
        if not self._regrow and masks == before:  # groups or quotas are rounded, or N:M is kept to
            return None
        return self._changed(step, before, masks, began)

    def _asked(self, sparsity: float, alive: Masks) -> float | dict[str, float] | None:
        """What `prune` is to do; None for nothing."""
        # What keeps N:M is not known by its number of weights.
        counted = not self._regrow and not self._by_numbers
        if self._layers is None:
            return None if counted and alive.kept <= kept_count(self.size, 1 - sparsity) else sparsity
        way = sparsity / self.total
        asked = {path: way * final for path, final in self._layers.items()}
        if counted:
            counts = alive.counts
            ahead = [path for path, mask in alive.items() if counts[path] <= kept_count(mask.size, 1 - asked[path])]
            asked.update(dict.fromkeys(ahead, 0.0))  # which leaves it as it is
        return asked if self._regrow or any(asked.values()) else None

    @property
    def _by_numbers(self) -> bool:
        return self._pattern is not None and self._pattern.of is not None

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
        effective = self._effective_masks(masks) if self._effective else None
        alive = {} if effective is None else effective.counts
        counts, earlier, kernels = masks.counts, before.counts, {}
        for path, mask in masks.items():
            kept = counts[path]
            both = int(np.count_nonzero(mask & before[path])) if masks is not before else kept
            changes = earlier[path] - both, kept - both
            kernels[path] = KernelRenewal(mask.size, kept, kept / mask.size, alive.get(path), *changes)
        dropped, grown = (sum(getattr(kernel, what) for kernel in kernels.values()) for what in ("dropped", "grown"))
        reached = self._part(masks).sparsity, None if effective is None else self._part(effective).sparsity
        return Renewal(step, *reached, dropped, grown, time.perf_counter() - began, kernels)

    def _part(self, masks: Masks) -> Masks:
        return masks if len(self._paths) == len(masks) else Masks({path: masks[path] for path in self._paths})

    def _chosen(self, sparsity: float | Mapping[str, float], before: Masks) -> Masks:
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

    def _effective_masks(self, masks: Masks) -> Masks:
        names = ("input_shape", "convention", "unknown")
        given = {name: self._options[name] for name in names if name in self._options}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            report = sparsity_report(self._model, masks, **given)
        self._tell_once(caught)
        return report.effective_masks
