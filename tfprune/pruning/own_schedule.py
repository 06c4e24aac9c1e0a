"""A function of one's own that says how sparsity grows in a training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tfprune.errors import InputError, did_you_mean
from tfprune.pruning.layer_fractions import is_number
from tfprune.pruning.training_schedules import ENDLESS, FREQUENCY, require_steps, whole_steps

PROGRESS = ("step", "progress")


@dataclass(frozen=True)
class OwnSchedule:
    """A function of one's own.

    Args:
        function: gives the sparsity, in [0, 1), of a step (from 1) or of the progress (of the training, in (0, 1]).
        of: `"step"` or `"progress"`.
        begin_step: of the first renewal; no step has the number 0, so that there it comes a frequency later.
        end_step: no renewal comes after it; None for the end of the training.
        frequency: steps from one renewal to the next.

    Raises:
        InputError: no function, a word or a number that is not allowed, or a sparsity outside [0, 1).
    """

    layers = None

    function: Callable[[float], float]
    of: str = "step"
    begin_step: int = 0
    end_step: int | None = None
    frequency: int = FREQUENCY
    steps: int | None = None

    def __post_init__(self):
        if not callable(self.function):
            raise InputError(
                f"a schedule of one's own is a function that gives a sparsity. Received: {self.function!r}"
            )
        if self.of not in PROGRESS:
            near = did_you_mean(self.of, PROGRESS)
            raise InputError(f"of must be one of {', '.join(PROGRESS)}. Received: {self.of!r}{near}")
        whole_steps(self, optional=("end_step",))
        if self.frequency < 1:
            raise InputError(f"frequency must be at least 1. Received: {self.frequency}")
        if self.begin_step < 0:
            raise InputError(f"begin_step must be at least 0. Received: {self.begin_step}")
        if self.end_step is not None and self.end_step < 1:
            raise InputError(f"end_step must be at least 1. Received: {self.end_step}")

    @property
    def final(self) -> float | None:
        """Sparsity of the last renewal; None where that is not known."""
        return None if self.renewals.stop >= ENDLESS or not self.renewals else self.at(self.renewals[-1])

    def fixed(self, steps: int | None) -> OwnSchedule:
        """As for `TrainingSchedule`."""
        if self.of == "progress":
            require_steps(steps)
        return replace(self, end_step=steps if self.end_step is None else self.end_step, steps=steps)

    @property
    def renewals(self) -> range:
        """As for `TrainingSchedule`."""
        end = ENDLESS if self.end_step is None else self.end_step
        return range(self.begin_step or self.frequency, end + 1, self.frequency)

    def at(self, step: int) -> float:
        """As for `TrainingSchedule`."""
        sparsity = self.function(step if self.of == "step" else step / self.steps)
        if not is_number(sparsity) or not 0 <= sparsity < 1:
            name = getattr(self.function, "__name__", type(self.function).__name__)
            raise InputError(f"schedule {name} must give a sparsity in [0, 1); at step {step} it gave {sparsity!r}")
        return float(sparsity)
