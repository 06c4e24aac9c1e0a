"""How fast the density falls from round to round of an iterative pruner."""

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


ONE_SHOT = Schedule()
SYNFLOW = Schedule(rounds=100)
ITERATIVE_SNIP = Schedule(rounds=300)
