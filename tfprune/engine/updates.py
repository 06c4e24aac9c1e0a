"""What kernels that take whole steps do to each weight by itself, given its gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SGD, ADAM = range(2)


@dataclass(frozen=True)
class Rule:
    """An optimizer's rule.

    `SGD`: w −= rate · g.
    `ADAM`, with two slots: m += (g − m) · (1 − β₁), v += (g² − v) · (1 − β₂), w −= rate · m / (√v + ε).

    Attributes:
        kind: one of these.
        settings: of `ADAM` β₁, β₂ and ε.
    """

    kind: int
    settings: tuple[float, ...] = ()

    @property
    def slots(self) -> int:
        """Numbers that are remembered of each weight."""
        return 2 if self.kind == ADAM else 0

    @property
    def numbers(self) -> np.ndarray:
        """float32, of `ADAM` 1 − β₁, 1 − β₂ and ε."""
        shares = [1 - beta for beta in self.settings[:2]]
        return np.array([*shares, *self.settings[2:]], np.float32)

    def rates(self, taken: int, steps: int, rate: float) -> np.ndarray:
        """The rates of some steps, float32 (steps,).

        Each is computed by itself, as vectors may be rounded in another way than single numbers.

        Args:
            taken: steps before them.
            steps: how many.
            rate: the learning rate.
        """
        if self.kind == SGD:
            return np.full(steps, rate, np.float32)
        one, other, _ = self.settings
        counts = range(taken + 1, taken + steps + 1)
        return np.array([rate * math.sqrt(1 - other**n) / (1 - one**n) for n in counts], np.float32)
