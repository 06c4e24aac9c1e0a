"""The registry of schedules of a training, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tfprune.errors import InputError, did_you_mean
from tfprune.pruning.own_schedule import OwnSchedule
from tfprune.pruning.training_schedules import (
    ConstantSchedule,
    ExponentialSchedule,
    OneCycleSchedule,
    PolynomialSchedule,
    TrainingSchedule,
)
from tfprune.records.registry import Parts, first_line
from tfprune.training.regrowth import SET, Regrowth, RigL

AnySchedule = TrainingSchedule | OwnSchedule | Regrowth

SCHEDULES: dict[str, Callable[..., AnySchedule]] = {
    "constant": ConstantSchedule,
    "polynomial": PolynomialSchedule,
    "one_cycle": OneCycleSchedule,
    "exponential": ExponentialSchedule,
    "rigl": RigL,
    "set": SET,
}


def schedules() -> Parts:
    """The schedules that there are, one's own among them: name -> what it is, in a line."""
    return Parts({name: first_line(made) for name, made in SCHEDULES.items()})


def register_schedule(name: str) -> Callable:
    """Decorator: gives a schedule of one's own a name that `Prune(schedule=name, sparsity=...)` understands.

    Args:
        name: that no other schedule has, unless it is the same thing defined anew.

    It decorates a class of `TrainingSchedule` or `Regrowth`, or a function `(progress, initial, final) -> sparsity`,
    where progress goes from 0 at the first step of the schedule to 1 at its last.

    Raises:
        InputError: no name, a name that is taken, or something else than that.
    """
    if not isinstance(name, str) or not name:
        raise InputError(f"register_schedule needs a name: @register_schedule('mine'). Received: {name!r}")

    def register(schedule):
        if not callable(schedule) or (isinstance(schedule, type) and not issubclass(schedule, _CLASSES)):
            raise InputError(
                f"schedule {name!r} must be a function (progress, initial, final) -> sparsity, or a class of "
                f"TrainingSchedule or Regrowth. Received: {schedule!r}"
            )
        made = schedule if isinstance(schedule, type) else _curved(schedule)
        known = SCHEDULES.get(name)
        if known is not None and (known.__module__, known.__qualname__) != (made.__module__, made.__qualname__):
            raise InputError(f"there is a schedule {name!r} already: {known.__module__}.{known.__qualname__}")
        SCHEDULES[name] = made
        return schedule

    return register


_CLASSES = (TrainingSchedule, Regrowth)


def _curved(function: Callable[[float, float, float], float]) -> type[TrainingSchedule]:
    """The class of the schedules that follow a function."""

    def value(self, progress: float) -> float:
        sparsity = function(progress, self.initial, self.final)
        if not 0 <= sparsity < 1:
            raise InputError(
                f"schedule {function.__name__} must give a sparsity in [0, 1); at progress {progress:.6g} it gave "
                f"{sparsity!r}"
            )
        return float(sparsity)

    body = {"value": value, "__doc__": function.__doc__, "__module__": function.__module__}
    made = dataclass(frozen=True)(type(function.__name__, (TrainingSchedule,), body))
    made.__qualname__ = function.__qualname__
    return made


def get_schedule(schedule, sparsity: float | None = None) -> AnySchedule:
    """What `Prune` takes for a schedule, as one.

    Args:
        schedule: a schedule, the name of one, or a function step -> sparsity.
        sparsity: the final one, where `schedule` is a name.

    Raises:
        InputError: something else, an unknown name (lists the known), or a sparsity without a name.
    """
    if isinstance(schedule, str):
        if schedule not in SCHEDULES:
            near = did_you_mean(schedule, SCHEDULES)
            raise InputError(f"schedule must be one of {', '.join(SCHEDULES)}. Received: {schedule!r}{near}")
        if sparsity is None:
            raise InputError(f"schedule={schedule!r} needs sparsity=, the final one")
        return SCHEDULES[schedule](sparsity)
    if sparsity is not None:
        raise InputError("sparsity= goes with the name of a schedule; a schedule itself holds its own")
    if isinstance(schedule, (TrainingSchedule, OwnSchedule, Regrowth)):
        return schedule
    if callable(schedule) and not isinstance(schedule, type):
        return OwnSchedule(schedule)
    raise InputError(
        f"schedule must be a schedule such as tfprune.PolynomialSchedule(0.9), a name ({', '.join(SCHEDULES)}) or a "
        f"function step -> sparsity. Received: {schedule!r}"
    )
