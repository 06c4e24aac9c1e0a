"""When something happens in a training: tests, checkpoints, what is logged and kept."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Pauses:
    """Steps of a training: the multiples of `every` and those `at`, none before `first` and none after `last`."""

    every: int | None = None
    at: Collection[int] = ()
    first: int = 0
    last: int | None = None

    def __contains__(self, step: int) -> bool:
        if step < self.first or (self.last is not None and step > self.last):
            return False
        return step in self.at or bool(self.every and step % self.every == 0)

    def until(self, start: int, step: int) -> list[int]:
        """Those from `start` to `step`, both included."""
        multiples = range(-(-start // self.every) * self.every, step + 1, self.every) if self.every else ()
        return sorted(number for number in {*multiples, *self.at} if start <= number <= step and number in self)


@dataclass(frozen=True)
class Timetable:
    """When something happens in a training; a pause at a step sees the state before that step's update.

    Attributes:
        tests: the test set is measured.
        checkpoints: everything is written down, so that a killed run goes on from there.
        means: the means of the loop's measures over the training batches since the last such step are logged, that of
            `train_error` as `train_accuracy`.
        keeps: the caller keeps what it wants to keep.
        each: measures of the loop that are logged for every step, and so need no means: `train_error` for example,
            which has both.
    """

    tests: Pauses
    checkpoints: Pauses
    means: Pauses = Pauses()
    keeps: Pauses = Pauses()
    each: tuple[str, ...] = ()
