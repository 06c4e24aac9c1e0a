"""How fast the density falls: from round to round of an iterative pruner, or from step to step of a training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tfprune.errors import InputError, did_you_mean

# Fraction of the way gone (0 to 1), final density -> density now.
CURVES: dict[str, Callable[[float, float], float]] = {
    "exponential": lambda progress, density: density**progress,
    "linear": lambda progress, density: 1 - (1 - density) * progress,
}


@dataclass(frozen=True)
class Schedule:
    """Densities of a number of rounds, each of which scores again and prunes further.

    Args:
        rounds: how many rounds, at least 1; with 1 it is one-shot pruning and the curve does not matter.
        curve: `"exponential"`: after round t of T the density is `d^(t/T)`; `"linear"`: `1 − (1 − d)·t/T`.

    Raises:
        InputError: rounds or curve are not among those.

    References: Tanaka et al. 2020, arXiv 2006.05467, algorithm 1 (exponential); de Jorge et al. 2020, arXiv 2006.09081.
    """

    rounds: int = 1
    curve: str = "exponential"

    def __post_init__(self):
        if isinstance(self.rounds, bool) or not isinstance(self.rounds, int) or self.rounds < 1:
            raise InputError(f"rounds of a schedule must be a positive integer; received {self.rounds!r}")
        if not isinstance(self.curve, str) or self.curve not in CURVES:
            near = did_you_mean(self.curve, CURVES)
            raise InputError(f"curve of a schedule must be one of {', '.join(CURVES)}; received {self.curve!r}{near}")

    def densities(self, density: float) -> list[float]:
        """Density after each round, ending exactly at `density`.

        Args:
            density: the final one, in (0, 1].

        Raises:
            InputError: density is outside (0, 1].
        """
        if not 0 < density <= 1:
            raise InputError(f"density must lie in (0, 1]; received {density}")
        curve = CURVES[self.curve]
        return [*(curve(step / self.rounds, density) for step in range(1, self.rounds)), float(density)]


@dataclass(frozen=True)
class PolynomialSchedule:
    """Sparsity that grows during training: s(t) = s_f + (s_i − s_f) · (1 − (t − t_0) / (t_1 − t_0))^p.

    Steps count from 1. Masks are renewed at the steps t_0, t_0 + frequency, ..., t_1, which must be one of them.

    Args:
        final: s_f, in [0, 1).
        begin_step: t_0, at least 0; no step has the number 0, so that there the first masks come a frequency later.
        end_step: t_1, above begin_step.
        frequency: steps from one renewal to the next, at least 1.
        initial: s_i, in [0, final].
        power: p, above 0.

    Raises:
        InputError: a value that is not allowed; names it.

    Reference: Zhu & Gupta 2017, arXiv 1710.01878, eq. 1 (p = 3).
    """

    final: float
    begin_step: int
    end_step: int
    frequency: int = 100
    initial: float = 0.0
    power: float = 3

    def __post_init__(self):
        if not 0 <= self.final < 1:
            raise InputError(f"the final sparsity must lie in [0, 1). Received: {self.final}")
        if not 0 <= self.initial <= self.final:
            raise InputError(f"the initial sparsity must lie in [0, {self.final}]. Received: {self.initial}")
        if not self.power > 0:
            raise InputError(f"power must be above 0. Received: {self.power}")
        if self.begin_step < 0:
            raise InputError(f"begin_step must be at least 0. Received: {self.begin_step}")
        if self.frequency < 1:
            raise InputError(f"frequency must be at least 1. Received: {self.frequency}")
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

    @classmethod
    def within(
        cls,
        steps: int,
        final: float,
        begin_step: int | None = None,
        end_step: int | None = None,
        frequency: int | None = None,
    ) -> PolynomialSchedule:
        """A schedule for a training of so many steps.

        Args:
            steps: of the whole training, at least 1.
            final: the final sparsity.
            begin_step: None for 0.
            end_step: at most `steps`; None for the last renewal in the first half of the training, after which the
                network has the other half to recover.
            frequency: None for 100, or less where that would leave fewer than ten renewals.

        Raises:
            InputError: a value that is not allowed, or that does not fit the others; names it.
        """
        begin = begin_step or 0
        span = max(1, (steps // 2 if end_step is None else end_step) - begin)
        every = min(100, max(1, span // 10)) if frequency is None else frequency
        if end_step is None and every > span:
            raise InputError(
                f"frequency must lie in 1 to {span}, so that masks are renewed in the first half of the {steps} steps "
                f"after begin_step, {begin} (or give end_step). Received: {frequency}"
            )
        end = begin + span // max(1, every) * every if end_step is None else end_step
        if end > steps:
            raise InputError(f"end_step must be at most the number of training steps, {steps}. Received: {end}")
        return cls(final, begin, end, every)


ONE_SHOT = Schedule()
SYNFLOW = Schedule(rounds=100)
ITERATIVE_SNIP = Schedule(rounds=300)
