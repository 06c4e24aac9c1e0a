"""Dynamic sparse training: as many weights grow as are dropped, again and again, in every kernel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tfprune.errors import InputError, did_you_mean_fraction
from tfprune.pruning.layer_fractions import check_fractions, is_number, is_whole
from tfprune.pruning.selection import lowest
from tfprune.pruning.training_schedules import ENDLESS, require_steps


@dataclass(frozen=True)
class Regrowth:
    """What RigL and SET share. The number of weights that a kernel keeps never changes.

    Steps count from 1. Masks change at the steps frequency, 2 · frequency, ... before end_step, each time before the
    step's update. Weights that grow start at 0, and so do their slots in the optimizer; of one that is dropped and
    grows at the same step neither changes.

    Args:
        sparsity: in [0, 1), or name -> fraction that each kernel so named lacks, as for `tfprune.prune`; None for that
            of the model's own masks. Where the model has more weights, the masks to start from are chosen before the
            first step, by the pruner, or else `random/erk`, of layers `random`.
        frequency: steps from one change to the next.
        fraction: of a kernel's kept weights, how many are dropped at first, in (0, 1].
        end_step: no change comes at or after it; None: `end` says it.
        end: fraction of the training, in (0, 1], in place of end_step; None without end_step for that of the class.

    Raises:
        InputError: a value that is not allowed; names it.
    """

    sparsity: float | Mapping | None = None
    frequency: int = 100
    fraction: float = 0.3
    end_step: int | None = None
    end: float | None = None

    _END = 1.0
    needs_data = False

    def __post_init__(self):
        if self.layers is not None:
            check_fractions(self.layers)
        elif self.sparsity is not None and not (is_number(self.sparsity) and 0 <= self.sparsity < 1):
            near = did_you_mean_fraction(self.sparsity)
            raise InputError(f"sparsity must lie in [0, 1). Received: {self.sparsity!r}{near}")
        for name in ("fraction", "end"):
            value = getattr(self, name)
            if not (value is None and name == "end") and not (is_number(value) and 0 < value <= 1):
                raise InputError(f"{name} must lie in (0, 1]. Received: {value!r}")
        for name in ("frequency", "end_step"):
            value = getattr(self, name)
            if value is None and name == "end_step":
                continue
            if not is_whole(value) or value < 1:
                raise InputError(f"{name} must be a whole number of steps, at least 1. Received: {value!r}")
            object.__setattr__(self, name, int(value))
        if self.end is not None and self.end_step is not None:
            raise InputError(f"give end or end_step, not both. Received: {self.end} and {self.end_step}")

    @property
    def layers(self) -> Mapping | None:
        """As for `TrainingSchedule`."""
        return self.sparsity if isinstance(self.sparsity, Mapping) else None

    def of_total(self, sparsity: float) -> Regrowth:
        """As for `TrainingSchedule`."""
        return replace(self, sparsity=sparsity)

    def fixed(self, steps: int | None) -> Regrowth:
        """This schedule in steps, for a training of so many; None if that is not known."""
        if self.end_step is not None:
            return self
        part = self._END if self.end is None else self.end
        if steps is None and part == 1 and not self.needs_data:
            return replace(self, end_step=ENDLESS, end=None)
        require_steps(steps)
        return replace(self, end_step=max(1, round(part * steps)), end=None)

    @property
    def renewals(self) -> Sequence[int]:
        """The steps at which masks change, rising; of a schedule that is `fixed`."""
        return range(self.frequency, self.end_step, self.frequency)

    def part(self, step: int) -> float:
        """Fraction of a kernel's kept weights to drop at a step."""
        return self.fraction

    def dropped(self, kernel: np.ndarray, mask: np.ndarray, step: int, seed: int) -> np.ndarray:
        """bool array: which kept weights of a kernel go, those of the smallest magnitude."""
        count = int(self.part(step) * np.count_nonzero(mask))
        return _lowest(np.abs(kernel), mask, count, seed)

    def scores(self, shape: tuple, gradient: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
        """float32 array of a kernel's shape: of weights that may grow, the highest do."""
        raise NotImplementedError


@dataclass(frozen=True)
class RigL(Regrowth):
    """Drops by magnitude, grows where the gradient of the loss with respect to pruned weights is largest.

    Of a kernel's n kept weights ⌊f(t) · n⌋ go, f(t) = α/2 · (1 + cos(π · t / T_end)), with α `fraction` and T_end
    `end_step`. Other arguments: see `tfprune.training.regrowth.Regrowth`. `Prune` needs `data=` for the gradients,
    which are those of `batches` batches of it, other ones at each change.

    Args:
        batches: how many batches each gradient is of.

    Reference: Evci et al. 2020, arXiv 1911.11134, algorithm 1.
    """

    batches: int = 1

    _END = 0.75
    needs_data = True

    def part(self, step: int) -> float:
        return self.fraction / 2 * (1 + math.cos(math.pi * step / self.end_step))

    def scores(self, shape: tuple, gradient: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
        return np.abs(gradient)


@dataclass(frozen=True)
class SET(Regrowth):
    """Drops the smallest positive and the largest negative weights, grows at random; no data are needed.

    ζ is `fraction`, of the positive and of the negative weights each (rounded down; zeros count as positive). The paper
    changes masks after each epoch: that is `frequency=` steps per epoch. There new weights are drawn at random, here
    they start at 0. Arguments: see `tfprune.training.regrowth.Regrowth`.

    Reference: Mocanu et al. 2018, arXiv 1707.04780, algorithm 1.
    """

    def dropped(self, kernel: np.ndarray, mask: np.ndarray, step: int, seed: int) -> np.ndarray:
        sides = mask & (kernel >= 0), mask & (kernel < 0)
        ends = [_lowest(np.abs(kernel), side, int(self.fraction * np.count_nonzero(side)), seed) for side in sides]
        return ends[0] | ends[1]

    def scores(self, shape: tuple, gradient: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
        return rng.random(shape, np.float32)


def regrown(
    schedule: Regrowth,
    step: int,
    kernel: np.ndarray,
    mask: np.ndarray,
    gradient: np.ndarray | None,
    rng: np.random.Generator,
    seed: int,
) -> np.ndarray:
    """The mask of a kernel after a change; it keeps as many weights as before.

    Args:
        kernel: its weights, float32.
        mask: bool.
        gradient: of the loss with respect to all its weights, for schedules that need one.
        rng: of random growth.
        seed: breaks ties.
    """
    stay = mask & ~schedule.dropped(kernel, mask, step, seed)
    count = np.count_nonzero(mask) - np.count_nonzero(stay)
    scores = np.asarray(schedule.scores(mask.shape, gradient, rng), np.float32)
    if not np.isfinite(scores).all():
        raise InputError(f"step {step}: gradients are not finite (NaN or infinite), and no weight can grow by them")
    free = ~stay
    return stay | free & ~_lowest(scores, free, np.count_nonzero(free) - count, seed)


def _lowest(scores: np.ndarray, among: np.ndarray, count: int, seed: int) -> np.ndarray:
    """bool array: the `count` lowest scores among some."""
    found = np.zeros(among.size, bool)
    if count:
        kept = np.count_nonzero(among) - count
        found[lowest([np.ascontiguousarray(scores, np.float32).ravel()], [among.ravel()], kept, seed)[0]] = True
    return found.reshape(among.shape)
