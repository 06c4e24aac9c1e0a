"""Iterative pruning: the procedure, whatever is trained and however it is pruned.

train the network; repeat: prune it by what it has become; set what is left back to early weights; train it
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Plan = TypeVar("Plan")
Result = TypeVar("Result")


def iterative_pruning(
    levels: Iterable[int],
    first: Plan,
    train: Callable[[int, Plan], Result],
    prune: Callable[[int, Result, Plan], Plan],
    done: Callable[[Plan], bool] = lambda plan: False,
) -> Iterator[tuple[int, Result]]:
    """Trains and prunes level after level; the next level begins when the next result is asked for.

    Args:
        levels: their numbers.
        first: what the first level trains, for example masks that keep everything.
        train: (level, plan) -> the training's result, or the one that was written down the last time.
        prune: (level before, its result, its plan) -> the next level's plan.
        done: whether a plan is not worth training any more.

    Yields:
        Level and result.

    Reference: Frankle & Carbin 2019, arXiv 1803.03635, section 2; with rewinding Frankle et al. 2020, arXiv 1912.05671.
    """
    plan, last = first, None
    for level in levels:
        if last is not None:
            plan = prune(*last, plan)
        if done(plan):
            return
        last = level, train(level, plan)
        yield last
