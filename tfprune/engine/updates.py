"""What kernels that take whole steps do to each weight by itself, given its gradient and a rate of the step."""

from __future__ import annotations

from dataclasses import dataclass

SGD, ADAM = range(2)


@dataclass(frozen=True)
class Rule:
    """An optimizer's rule.

    `SGD`: w −= rate · g.
    `ADAM`, with two slots: m += (g − m) · settings[0], v += (g² − v) · settings[1], w −= rate · m / (√v + settings[2]).

    Attributes:
        kind: one of these.
        settings: numbers that stay the same.
    """

    kind: int
    settings: tuple[float, ...] = ()

    @property
    def slots(self) -> int:
        """Numbers that are remembered of each weight."""
        return 2 if self.kind == ADAM else 0
