"""How sparsity grows from step to step of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace

from tfprune.errors import InputError, did_you_mean_fraction
from tfprune.pruning.layer_fractions import check_fractions, is_number, is_whole

FREQUENCY = 100
ENDLESS = 2**62  # where the end of the training is not known


@dataclass(frozen=True)
class TrainingSchedule:
    """When masks are renewed, and to what sparsity: what all schedules of a training share.

    Steps count from 1. Masks are renewed at the steps begin_step, begin_step + frequency, ..., end_step, which must be
    one of them, each time before the step's update.

    Args:
        final: the sparsity at the end, in [0, 1); or, for `Prune`, name -> fraction that each kernel so named loses in
            the end, as for `tfprune.prune`. Then the schedule is that of all of them together, and every kernel has
            gone the same part of its way at each step.
        begin_step: at least 0; no step has the number 0, so that there the first masks come a frequency later.
        end_step: above begin_step. None: `end` says it, once the number of training steps is known.
        frequency: steps from one renewal to the next, at least 1. None for 100, or, where `end` says the end, less if
            that would leave fewer than ten renewals.
        initial: the sparsity at begin_step, of all that compete, in [0, final].
        begin: fraction of the training, in [0, 1), in place of begin_step.
        end: fraction of the training, in (0, 1], in place of end_step; None without end_step for that of the class.

    Raises:
        InputError: a value that is not allowed; names it.
    """

    final: float | Mapping
    begin_step: int = 0
    end_step: int | None = None
    frequency: int | None = None
    initial: float = 0.0
    _: KW_ONLY
    begin: float | None = None
    end: float | None = None

    _END = 0.5  # afterwards, the network has the other half of the training to recover

    def __post_init__(self):
        if self.layers is not None:
            check_fractions(self.layers)
        elif not is_number(self.final) or not 0 <= self.final < 1:
            near = did_you_mean_fraction(self.final)
            raise InputError(f"the final sparsity must lie in [0, 1). Received: {self.final!r}{near}")
        most = 1.0 if self.layers is not None else self.final
        if not is_number(self.initial) or not 0 <= self.initial <= most:
            raise InputError(f"the initial sparsity must lie in [0, {most:.6g}]. Received: {self.initial!r}")
        self._check_times()

    def _check_times(self) -> None:
        whole_steps(self, optional=("end_step", "frequency"))
        for name in ("begin", "end"):
            value = getattr(self, name)
            if value is not None and not (is_number(value) and (0 <= value < 1 if name == "begin" else 0 < value <= 1)):
                bounds = "[0, 1)" if name == "begin" else "(0, 1]"
                raise InputError(f"{name} must be a fraction of the training, in {bounds}. Received: {value!r}")
        if self.begin is not None and self.begin_step:
            raise InputError(f"give begin or begin_step, not both. Received: {self.begin} and {self.begin_step}")
        if self.end is not None and self.end_step is not None:
            raise InputError(f"give end or end_step, not both. Received: {self.end} and {self.end_step}")
        if None not in (self.begin, self.end) and self.end <= self.begin:
            raise InputError(f"end must be above begin, {self.begin}. Received: {self.end}")
        if self.begin_step < 0:
            raise InputError(f"begin_step must be at least 0. Received: {self.begin_step}")
        if self.frequency is not None and self.frequency < 1:
            raise InputError(f"frequency must be at least 1. Received: {self.frequency}")
        if self.end_step is not None and self.begin is None:
            if self.frequency is None:
                object.__setattr__(self, "frequency", FREQUENCY)
            self._check_span()

    def _check_span(self) -> None:
        if self.end_step <= self.begin_step:
            raise InputError(f"end_step must be above begin_step, {self.begin_step}. Received: {self.end_step}")
        span = self.end_step - self.begin_step
        if self.frequency > span:
            raise InputError(
                f"frequency must lie in 1 to {span}, the steps from begin_step to end_step. Received: {self.frequency}"
            )
        if span % self.frequency:
            raise InputError(
                f"end_step must be begin_step and a multiple of frequency ({self.begin_step} + n·{self.frequency}), or "
                f"the final sparsity is never reached. Received: {self.end_step}"
            )

    @property
    def layers(self) -> Mapping | None:
        """Name -> final fraction, where it is said layer by layer."""
        return self.final if isinstance(self.final, Mapping) else None

    def of_total(self, sparsity: float) -> TrainingSchedule:
        """This schedule of layers as that of all their weights together, which end at a sparsity."""
        return replace(self, final=sparsity)

    def value(self, progress: float) -> float:
        """Sparsity after the fraction `progress` of the way from begin_step to end_step."""
        raise NotImplementedError

    def fixed(self, steps: int | None) -> TrainingSchedule:
        """This schedule in steps, for a training of so many; None if that is not known.

        Raises:
            InputError: it is given in fractions, and the number of steps is not known, or it does not fit the others.
        """
        if self.end_step is not None and self.begin is None:
            return self
        require_steps(steps)
        part = self._END if self.end is None else self.end
        begin = self.begin_step if self.begin is None else round(self.begin * steps)
        span = max(1, (int(part * steps + 1e-9) if self.end_step is None else self.end_step) - begin)
        every = min(FREQUENCY, max(1, span // 10)) if self.frequency is None else self.frequency
        if every > span:
            first = "half" if part == 0.5 else f"{part:.3g}"
            raise InputError(
                f"frequency must lie in 1 to {span}, so that masks are renewed in the first {first} of the {steps} "
                f"steps after begin_step, {begin} (or give end_step). Received: {every}"
            )
        end = begin + span // every * every
        if self.end_step is None and end > steps:
            raise InputError(f"begin_step must be below the number of training steps, {steps}. Received: {begin}")
        return replace(self, begin_step=begin, end_step=end, frequency=every, begin=None, end=None)

    @property
    def renewals(self) -> Sequence[int]:
        """The steps at which masks are renewed, rising, from 1; of a schedule that is `fixed`."""
        first = self.begin_step or self.frequency
        return range(first, self.end_step + 1, self.frequency)

    def at(self, step: int) -> float:
        """Sparsity at a step, of a schedule that is `fixed`, and one number where it is of layers (`of_total`)."""
        progress = (step - self.begin_step) / (self.end_step - self.begin_step)
        return self.value(min(max(progress, 0.0), 1.0))

    @classmethod
    def within(
        cls,
        steps: int,
        final: float,
        begin_step: int | None = None,
        end_step: int | None = None,
        frequency: int | None = None,
    ) -> TrainingSchedule:
        """A schedule for a training of so many steps.

        Args:
            steps: of the whole training, at least 1.
            final: the final sparsity.
            begin_step: None for 0.
            end_step: at most `steps`; None for the last renewal in the class's part of the training: the first half
                unless it says another, after which the network has the other half to recover.
            frequency: None for 100, or less where that would leave fewer than ten renewals.

        Raises:
            InputError: a value that is not allowed, or that does not fit the others; names it.
        """
        begin = begin_step or 0
        if end_step is None:
            return cls(final, begin, None, frequency).fixed(steps)
        if end_step > steps:
            raise InputError(f"end_step must be at most the number of training steps, {steps}. Received: {end_step}")
        every = min(FREQUENCY, max(1, (end_step - begin) // 10)) if frequency is None else frequency
        return cls(final, begin, end_step, every)


@dataclass(frozen=True)
class PolynomialSchedule(TrainingSchedule):
    """Sparsity that grows during training: s(t) = s_f + (s_i − s_f) · (1 − (t − t_0) / (t_1 − t_0))^p.

    s_f is `final`, s_i `initial`, t_0 `begin_step`, t_1 `end_step`; for these and the other arguments see
    `tfprune.pruning.training_schedules.TrainingSchedule`.

    Args:
        power: p, above 0.

    Reference: Zhu & Gupta 2017, arXiv 1710.01878, eq. 1 (p = 3).
    """

    power: float = 3

    def __post_init__(self):
        super().__post_init__()
        if not is_number(self.power) or not self.power > 0:
            raise InputError(f"power must be above 0. Received: {self.power!r}")

    def value(self, progress: float) -> float:
        return self.final + (self.initial - self.final) * (1 - progress) ** self.power


@dataclass(frozen=True)
class OneCycleSchedule(TrainingSchedule):
    """Slow, then fast, then slow: s(p) = s_i + (s_f − s_i) · (1 + e^(β − α)) / (1 + e^(β − α·p)), p from 0 to 1.

    Without other words it takes the whole training. Arguments are those of
    `tfprune.pruning.training_schedules.TrainingSchedule`, and:

    Args:
        alpha: α, above 0: how steep.
        beta: β: where; the steepest place is p = β / α.

    Reference: Hubens et al. 2021, arXiv 2107.02086; α and β as in the authors' library.
    """

    alpha: float = 14
    beta: float = 6

    _END = 1.0

    def __post_init__(self):
        super().__post_init__()
        if not is_number(self.alpha) or not self.alpha > 0:
            raise InputError(f"alpha must be above 0. Received: {self.alpha!r}")
        if not is_number(self.beta):
            raise InputError(f"beta must be a number. Received: {self.beta!r}")

    def value(self, progress: float) -> float:
        share = (1 + math.exp(self.beta - self.alpha)) / (1 + math.exp(self.beta - self.alpha * progress))
        return self.initial + (self.final - self.initial) * share


@dataclass(frozen=True)
class ExponentialSchedule(TrainingSchedule):
    """Each renewal prunes the same part of what is left: density d(p) = d_i^(1 − p) · d_f^p, p from 0 to 1.

    d is 1 − sparsity. Arguments are those of `tfprune.pruning.training_schedules.TrainingSchedule`.

    Reference: Tanaka et al. 2020, arXiv 2006.05467, algorithm 1, which has it for rounds.
    """

    def value(self, progress: float) -> float:
        return 1 - (1 - self.initial) ** (1 - progress) * (1 - self.final) ** progress


@dataclass(frozen=True)
class ConstantSchedule(TrainingSchedule):
    """The final sparsity from begin_step on; of use with weights that are trained already.

    Arguments are those of `tfprune.pruning.training_schedules.TrainingSchedule`. Without end_step and end masks are
    chosen once, before the first step where begin_step is 0; with one of them again and again, which changes them only
    where weights may come back.
    """

    _END = None

    def fixed(self, steps: int | None) -> TrainingSchedule:
        if self.end is not None or self.end_step is not None:
            return super().fixed(steps)
        if self.begin is None:
            return self
        require_steps(steps)
        return replace(self, begin_step=max(1, round(self.begin * steps)), begin=None)

    @property
    def renewals(self) -> Sequence[int]:
        return super().renewals if self.end_step is not None else (max(1, self.begin_step),)

    def at(self, step: int) -> float:
        return self.final


def whole_steps(schedule, optional: Sequence[str]) -> None:
    """Makes plain integers of a schedule's numbers of steps, which may be NumPy's: `np.ceil(...).astype(np.int32)`.

    Raises:
        InputError: one is no whole number, or None and not optional; names it.
    """
    for name in ("begin_step", "end_step", "frequency"):
        value = getattr(schedule, name)
        if value is None and name in optional:
            continue
        if not is_whole(value):
            raise InputError(f"{name} must be a whole number of steps. Received: {value!r}")
        object.__setattr__(schedule, name, int(value))


def require_steps(steps: int | None) -> None:
    """Refuses a training whose number of steps is not known.

    Raises:
        InputError: that.
    """
    if steps is None:
        raise InputError(
            "the schedule is in fractions of the training, whose number of steps is not known: give it begin_step and "
            "end_step, or fit steps_per_epoch"
        )
