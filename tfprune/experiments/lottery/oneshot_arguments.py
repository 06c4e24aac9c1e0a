"""Arguments of one-shot pruning, and the scores it can prune by."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tfprune.errors import InputError
from tfprune.experiments.lottery.fields import check_kinds, setting
from tfprune.experiments.lottery.steps import check_step

WITH_EXAMPLES = ("snip", "grasp", "graspabs")
WITHOUT_EXAMPLES = ("random", "magnitude", "synflow")
DEFAULT_EXAMPLES = 10
_STRATEGY = re.compile(r"(?P<score>[a-z]+)(?P<examples>[1-9][0-9]{0,5})?")
_FORMS = ", ".join((*WITHOUT_EXAMPLES, *(f"{name}N" for name in WITH_EXAMPLES)))


@dataclass(frozen=True)
class ScoringStrategy:
    """A score and the data it needs.

    Attributes:
        score: one of `random`, `magnitude`, `synflow`, `snip`, `grasp`, `graspabs`.
        examples_per_class: training examples of each class; None for a score without data.
    """

    score: str
    examples_per_class: int | None

    @classmethod
    def parse(cls, text: str) -> ScoringStrategy:
        """`snip20` is SNIP with 20 examples of each class, `snip` with 10; likewise `graspN` and `graspabsN`.

        Raises:
            InputError: no such score; lists them.
        """
        match = _STRATEGY.fullmatch(text)
        if match and match["score"] in WITH_EXAMPLES:
            return cls(match["score"], int(match["examples"] or DEFAULT_EXAMPLES))
        if match and match["score"] in WITHOUT_EXAMPLES and not match["examples"]:
            return cls(match["score"], None)
        raise InputError(f"--strategy must be one of {_FORMS} (N examples of each class). Received: {text!r}")


@dataclass(frozen=True)
class OneshotArguments:
    """What to prune of a trained run and from where to train it.

    Raises:
        InputError: a value that is not allowed; names the flag.
    """

    title = "One-shot pruning"

    strategy: str = setting(str, f"Score: one of {_FORMS}, where N is the number of examples of each class.")
    prune_fraction: float = setting(float, "Share of the weights that is pruned, in [0, 1).")
    prune_step: str = setting(str, "Saved step whose weights are scored; `last` is the end of training.", "0it")
    state_step: str = setting(str, "Saved step whose weights are trained; `last` is the end of training.", "0it")
    prune_iterations: int = setting(int, "Rounds of scoring and pruning.", 1)
    prune_highest: bool = setting(bool, "Prune the highest scores in place of the lowest (for grasp).", False)
    randomize_layerwise: bool = setting(bool, "Shuffle the mask within each layer.", False)
    layers_to_ignore: str | None = setting(
        str, "Layers, separated by commas, that are not pruned: fc.weight or fc/kernel.", None
    )
    reinitialize: bool = setting(bool, "Train newly drawn weights in place of those of --state_step.", False)

    def __post_init__(self):
        check_kinds(self)
        ScoringStrategy.parse(self.strategy)
        if not 0 <= self.prune_fraction < 1:
            raise InputError(f"--prune_fraction must lie in [0, 1). Received: {self.prune_fraction}")
        if self.prune_iterations < 1:
            raise InputError(f"--prune_iterations must be at least 1. Received: {self.prune_iterations}")
        for name in ("prune_step", "state_step"):
            check_step(getattr(self, name), f"--{name}")

    @property
    def scoring(self) -> ScoringStrategy:
        """`strategy`, taken apart."""
        return ScoringStrategy.parse(self.strategy)
