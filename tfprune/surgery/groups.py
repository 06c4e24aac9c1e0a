"""Channel groups: which axes of which variables of a model shrink together."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from tfprune.layers.barriers import CHANNELS, barriers
from tfprune.layers.subclassed import as_graph
from tfprune.layers.weights import weights_of
from tfprune.surgery.trace import Trace


@dataclass(frozen=True)
class Part:
    """Where the channels of a group lie along one axis of one variable.

    Attributes:
        path: of the variable, as in `tfprune.layers.weights.weights_of`.
        axis: of the variable.
        channels: int array, for every index of the axis the channel of the group that lies there, -1 for channels of
            other groups. After Flatten one channel lies at many indices; behind Concatenate a group has a stretch.
    """

    path: str
    axis: int
    channels: np.ndarray

    def indices(self, channel: int) -> np.ndarray:
        """Indices along the axis that go with a channel."""
        return np.flatnonzero(self.channels == channel)


@dataclass(frozen=True)
class Group:
    """Channels that are made together, and everything that goes with each of them.

    Attributes:
        name: path and axis of its first part, as `conv/kernel[3]`.
        size: number of channels; with channel c go the indices `part.indices(c)` of every part.
        fixed: bool array, (size,): channels that have to stay, because the model's inputs or outputs have them, or an
            operation that mixes features.
        held: bool array, (size,): those of them that stay only because an operation like layer normalisation reads all
            at once; without one of them the others become something else.
        parts: in network order.
    """

    name: str
    size: int
    fixed: np.ndarray
    held: np.ndarray
    parts: tuple[Part, ...]


def channel_groups(model: keras.Model) -> list[Group]:
    """The channel groups of a model, in network order.

    Channels are in one group if one layer makes them, or if they are coupled with channels of the group: added,
    multiplied, in a shared layer. Only the graph is read, never the weights.

    Args:
        model: built Sequential or Functional model, plain or masked.

    Warns:
        UserWarning: once, in a line: operations that no rule of `tfprune.surgery` knows; channels around these stay.

    Raises:
        InputError: a model without weights.
    """
    model = as_graph(model)
    weights = weights_of(model)
    with barriers(model) as met:
        trace = Trace(model, weights)
    met.tell(CHANNELS)
    classes, fixed, held = trace.channels.classes, trace.channels.fixed, trace.channels.held
    group_of = _joined(classes, trace.channels.sources)
    parts: dict[int, list[tuple[str, int, np.ndarray]]] = {}
    for path in weights:
        for axis, channels in sorted(trace.axes.get(path, {}).items()):
            for group in dict.fromkeys(group_of[channels].tolist()):
                parts.setdefault(group, []).append((path, axis, channels))
    return [_group(members, group, group_of, classes, fixed, held) for group, members in parts.items()]


def _group(members, group: int, group_of, classes, fixed, held) -> Group:
    inside = np.flatnonzero((group_of == group) & (classes == np.arange(len(classes))))
    number = np.full(len(classes), -1)
    number[inside] = np.arange(len(inside))
    parts = tuple(
        Part(path, axis, np.where(group_of[channels] == group, number[classes[channels]], -1))
        for path, axis, channels in members
    )
    return Group(f"{members[0][0]}[{members[0][1]}]", len(inside), fixed[inside], held[inside], parts)


def _joined(classes: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """The group of every channel: the smallest channel that it hangs together with by classes and by sources."""
    group = np.arange(len(classes))
    while True:
        before = group.copy()
        for of in (sources, classes):
            least = np.full(len(group), len(group))
            np.minimum.at(least, of, group)
            group = least[of]
        if np.array_equal(group, before):
            return group
