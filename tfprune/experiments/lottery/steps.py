"""Moments of training, written `160ep`, `1000it` or `2ep3it`."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from fractions import Fraction

from tfprune.errors import InputError
from tfprune.records.limits import MOST

# Whole numbers as Python writes them. Only the iterations after epochs may be negative: `2ep-3it`, three iterations
# before the end of the second epoch, is odd but was always accepted, and names of finished runs may hold it.
_STEP = re.compile(r"(?P<ep>0|[1-9][0-9]{0,14})ep(?:(?P<after>0|-?[1-9][0-9]{0,14})it)?|(?P<it>0|[1-9][0-9]{0,14})it")
_RANGE = re.compile(r"(0|[1-9][0-9]{0,3})(?:-(0|[1-9][0-9]{0,3}))?")
MOST_LEVELS = 9999  # of four digits, as the expression above has them


@functools.total_ordering
@dataclass(frozen=True, eq=False)
class Step:
    """A number of iterations that knows how many make an epoch.

    Steps are ordered, and steps with different numbers of iterations per epoch refuse to be compared. The text is the
    one that file names hold: `ep2_it3`.

    Attributes:
        iteration: iterations since the start of training.
        iterations_per_epoch: batches in an epoch.
    """

    iteration: int
    iterations_per_epoch: int

    def __post_init__(self):
        if self.iteration < 0 or self.iterations_per_epoch < 1:
            raise InputError(
                f"a step needs iteration >= 0 and iterations_per_epoch >= 1. Received: {self.iteration}, "
                f"{self.iterations_per_epoch}"
            )

    @classmethod
    def parse(cls, text: str, iterations_per_epoch: int) -> Step:
        """The step that a text means.

        Raises:
            InputError: the text is no step, or means one before the start.
        """
        epochs, iterations = _parts(text)
        if epochs * iterations_per_epoch > MOST:
            raise InputError(
                f"a step has at most {MOST} iterations, and there are {iterations_per_epoch} in an epoch. Received: "
                f"{text!r}"
            )
        return cls(epochs * iterations_per_epoch + iterations, iterations_per_epoch)

    @classmethod
    def of_file(cls, text: str, iterations_per_epoch: int) -> Step:
        """The step of a file's name, `ep2_it3`."""
        epochs, iterations = map(int, re.findall("[0-9]+", text))
        return cls(epochs * iterations_per_epoch + iterations, iterations_per_epoch)

    @property
    def ep(self) -> int:
        """Whole epochs since the start."""
        return self.iteration // self.iterations_per_epoch

    @property
    def it(self) -> int:
        """Iterations since the start of the epoch."""
        return self.iteration % self.iterations_per_epoch

    def __str__(self) -> str:
        return f"ep{self.ep}_it{self.it}"

    def __eq__(self, other):
        if not isinstance(other, Step):
            return NotImplemented
        self._check_epochs(other)
        return self.iteration == other.iteration

    def __lt__(self, other):
        if not isinstance(other, Step):
            return NotImplemented
        self._check_epochs(other)
        return self.iteration < other.iteration

    def __hash__(self):
        return hash((self.iteration, self.iterations_per_epoch))

    def _check_epochs(self, other: Step) -> None:
        if other.iterations_per_epoch != self.iterations_per_epoch:
            raise ValueError(
                f"steps of {self.iterations_per_epoch} and {other.iterations_per_epoch} iterations per epoch cannot be "
                "compared"
            )


def parse_steps(text: str | None, iterations_per_epoch: int) -> tuple[Step, ...]:
    """The steps of a list such as `1000it,2000it`, in its order; none for None.

    Raises:
        InputError: an entry is no step.
    """
    return tuple(Step.parse(part, iterations_per_epoch) for part in text.split(",")) if text else ()


def is_zero(text: str) -> bool:
    """Whether a text means the start, whatever the length of an epoch."""
    return _parts(text) == (0, 0)


def iterations_per_epoch(examples: int, batch_size: int, subsample_fraction: float | None = None) -> int:
    """Batches in an epoch, the last of which may be shorter: ⌈examples · fraction / batch size⌉.

    Args:
        examples: training examples of the whole data set.
        batch_size: examples in a batch.
        subsample_fraction: share of the examples that is used; None for all.
    """
    # The decimal that was written, not the binary number next to it: 0.07 · 100 is 7 and not a little more.
    used = examples * Fraction(str(subsample_fraction)) if subsample_fraction is not None else examples
    return math.ceil(Fraction(used) / batch_size)


def level_ranges(text: str) -> list[int] | None:
    """Levels of a text such as `0-2,5`, in order and each once; a range that runs backwards holds none.

    None where the text is something else.
    """
    levels = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        if not match:
            return None
        levels.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return sorted(levels)


def _parts(text: str) -> tuple[int, int]:
    """Epochs and iterations of a text."""
    match = _STEP.fullmatch(text)
    if not match:
        raise InputError(f"a step is written 160ep, 1000it or 2ep3it. Received: {text!r}")
    epochs, iterations = int(match["ep"] or 0), int(match["it"] or match["after"] or 0)
    if max(epochs, iterations) > MOST:
        raise InputError(f"a step has at most {MOST} epochs or iterations. Received: {text!r}")
    if epochs == 0 and iterations < 0:
        raise InputError(f"a step cannot lie before the start. Received: {text!r}")
    return epochs, iterations


def _is_step(text: str) -> bool:
    try:
        return bool(_parts(text))
    except InputError:
        return False


_WRITTEN = f"written 160ep, 1000it or 2ep3it, of at most {MOST} epochs or iterations and none before the start"
STEP = f"a step, {_WRITTEN}", _is_step
STEPS = f"steps, separated by commas, {_WRITTEN}", lambda text: all(map(_is_step, text.split(",")))
"""What settings that are steps take, in words, and whether a text is that; the length of an epoch is not known yet."""
