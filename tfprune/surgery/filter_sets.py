"""Filter sets: filters of one or several kernels that leave a model together, channel by channel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tfprune.surgery.trace import Trace


@dataclass(frozen=True)
class FilterSet:
    """Channels that the filters of the same kernels make.

    Sets are finer than the groups of `tfprune.surgery.groups` where layers have some channels in common, but not all:
    in `Add()([Concatenate()([a, b]), c])` the filters of `a` are a set with as many of `c`, those of `b` with the rest.
    As long as one channel of every set stays, no layer becomes empty.

    Attributes:
        channels: int array, classes of the trace's channels.
        fixed: whether all of them have to stay.
        held: whether they stay only because an operation mixes them, see `tfprune.surgery.channels.Channels`; then they
            are fixed for all but callers who remove them knowingly.
        members: path of every kernel that makes channels of the set, in the graph's order -> int array, for every
            filter of the kernel the index in `channels` of what it makes, -1 for channels of other sets. Several
            filters make one channel where each channel has several depthwise filters.
    """

    channels: np.ndarray
    fixed: bool
    held: bool
    members: dict[str, np.ndarray]


def filter_sets(trace: Trace) -> list[FilterSet]:
    """The filter sets of a traced model, in the graph's order; each filter of every kernel of the trace is in one."""
    classes, fixed, held = trace.channels.classes, trace.channels.fixed, trace.channels.held
    made = {path: classes[kernel.made] for path, kernel in trace.kernels.items()}
    label = fixed.astype(int) + held
    for channels in made.values():
        by_this = np.zeros(len(classes), bool)
        by_this[channels] = True
        label = np.unique(2 * label + by_this, return_inverse=True)[1]
    by_any = np.unique(np.concatenate([np.zeros(0, int), *made.values()]))
    return [_set(by_any[label[by_any] == one], fixed, held, made) for one in dict.fromkeys(label[by_any].tolist())]


def without(trace: Trace, gone: Iterable[np.ndarray]) -> np.ndarray:
    """Which channels of a trace stay when those of some classes leave it; bool array, as `rebuild` takes it."""
    classes = trace.channels.classes
    stays = np.ones(len(classes), bool)
    for channels in gone:
        stays[channels] = False
    return stays[classes]


def _set(channels: np.ndarray, fixed: np.ndarray, held: np.ndarray, made: dict[str, np.ndarray]) -> FilterSet:
    index = np.full(len(fixed), -1)
    index[channels] = np.arange(len(channels))
    members = {path: index[of] for path, of in made.items() if index[of].max(initial=-1) >= 0}
    return FilterSet(channels, bool(fixed[channels[0]]), bool(held[channels[0]]), members)
