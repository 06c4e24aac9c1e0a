"""How long what is left of a sweep will take, from the runs that are finished."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from statistics import median
from typing import NamedTuple

from tfprune.sweeps.sweep_file import shown

Group = tuple[str, ...]


class Estimate(NamedTuple):
    """Time that is left.

    Attributes:
        seconds: with as many runs at a time as were asked for; None where nothing is finished to judge by.
        runs: number of finished runs that it comes from.
        grouped_by: names of the settings whose values it takes apart.
    """

    seconds: float | None
    runs: int
    grouped_by: tuple[str, ...]


class Times:
    """Seconds of finished runs; says what others will take.

    A run is judged by those that have the same values of one setting, or of two: of those settings which explain the
    seconds of the finished ones best. Where nobody has its values, all stand for it. Medians, as the first run of a
    process loads TensorFlow.

    Args:
        finished: settings and seconds of runs that were made from start to end.
    """

    def __init__(self, finished: Iterable[tuple[Mapping[str, object], float]]):
        self._known = [({name: shown(value) for name, value in cell.items()}, seconds) for cell, seconds in finished]
        self.grouped_by = _best(self._known)
        self._medians = {group: median(each) for group, each in _groups(self._known, self.grouped_by).items()}
        self._median = median(seconds for _, seconds in self._known) if self._known else None

    def of(self, cell: Mapping[str, object]) -> float | None:
        """Seconds of a run with these settings; None where nothing is known."""
        text = {name: shown(cell[name]) for name in self.grouped_by if name in cell}
        return self._medians.get(_group(text, self.grouped_by), self._median)

    def left(self, cells: Sequence[Mapping[str, object]], at_a_time: int) -> Estimate:
        """What runs with these settings will take together."""
        if not cells:
            return Estimate(0.0, len(self._known), self.grouped_by)
        if self._median is None:
            return Estimate(None, 0, ())
        seconds = [self.of(cell) or 0.0 for cell in cells]
        # Not below the longest run, however many there are at a time.
        return Estimate(max(sum(seconds) / at_a_time, max(seconds)), len(self._known), self.grouped_by)


def duration(seconds: float) -> str:
    """As people say it: `45 s`, `12 min`, `3.5 h`, `2.1 days`."""
    for unit, size, most in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 48)):
        if seconds < most * size:
            return f"{seconds / size:.0f} {unit}" if unit != "h" else f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86400:.1f} days"


def _best(known: Sequence[tuple[Mapping[str, str], float]]) -> tuple[str, ...]:
    """One or two settings by whose values the seconds differ least within a group; none where that says nothing."""
    names = list(dict.fromkeys(name for cell, _ in known for name in cell))
    if len(known) < 4:
        return ()
    best, least = (), _spread(known, ())
    for few in [*combinations(names, 1), *combinations(names, 2)]:
        spread = _spread(known, few)
        if spread < 0.75 * least:  # a setting must earn its place
            best, least = few, spread
    return best


def _spread(known: Sequence[tuple[Mapping[str, str], float]], names: Sequence[str]) -> float:
    """Mean distance from the group's median; each group costs one degree of freedom."""
    groups = _groups(known, names)
    if len(groups) >= len(known):
        return float("inf")
    distances = 0.0
    for seconds in groups.values():
        middle = median(seconds)
        distances += sum(abs(each - middle) for each in seconds)
    return distances / (len(known) - len(groups))


def _groups(known: Iterable[tuple[Mapping[str, str], float]], names: Sequence[str]) -> dict[Group, list[float]]:
    groups: dict[Group, list[float]] = defaultdict(list)
    for cell, seconds in known:
        groups[_group(cell, names)].append(seconds)
    return groups


def _group(cell: Mapping[str, str], names: Sequence[str]) -> Group:
    return tuple(cell.get(name, "") for name in names)
