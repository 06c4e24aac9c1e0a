"""Channels: numbered once where they arise, coupled where they can only go together."""

from __future__ import annotations

import keras
import numpy as np


class Channels:
    """All channels of a model, as numbers, and which of them are one: a set of disjoint classes.

    A channel is an index along one axis of a tensor, with all that lies there. The same number on several tensors, or
    several times on one (after Flatten), and numbers that are coupled, stand for one thing that goes or stays.

    A class is in one of three states. Free: its channels can leave. Fixed: they never go. Held: an operation reads all
    of them at once, as layer normalisation does, so that without one of them the others become something else; they
    stay like fixed ones, except where a caller asks for their removal and takes what that makes of the outputs.

    Attributes:
        reason: the operation that fixes or holds channels at the moment; None for the model's own inputs and outputs.
    """

    def __init__(self):
        self._parents: list[int] = []
        self._sources: list[int] = []
        self._fixed: dict[int, keras.Operation | None] = {}
        self._held: dict[int, keras.Operation | None] = {}
        self.reason: keras.Operation | None = None

    def new(self, count: int, fixed: bool = False) -> np.ndarray:
        """`count` new channels, int array; fixed ones never go."""
        first = len(self._parents)
        numbers = np.arange(first, first + count)
        self._parents.extend(range(first, first + count))
        self._sources.extend([first] * count)
        if fixed:
            self.fix(numbers)
        return numbers

    def fix(self, numbers: np.ndarray) -> None:
        """Says that these channels, and those coupled with them, never go."""
        for number in numbers.tolist():
            self._fixed.setdefault(number, self.reason)

    def hold(self, numbers: np.ndarray) -> None:
        """Says that an operation mixes these channels, and those coupled with them."""
        for number in numbers.tolist():
            self._held.setdefault(number, self.reason)

    def couple(self, first: np.ndarray, second: np.ndarray) -> None:
        """Says that channels go together, pair by pair."""
        if first is second or np.array_equal(first, second):
            return
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            a, b = self._root(a), self._root(b)
            self._parents[max(a, b)] = min(a, b)  # the smallest number stands for a class

    @property
    def classes(self) -> np.ndarray:
        """Number of the class of every channel; int array."""
        return np.array([self._root(number) for number in range(len(self._parents))], int)

    @property
    def fixed(self) -> np.ndarray:
        """Whether every channel's class has to stay where nobody says otherwise, fixed or held; bool array."""
        return self._marked({**self._fixed, **self._held})

    @property
    def held(self) -> np.ndarray:
        """Whether every channel's class is held and not fixed: it can go where a caller says so; bool array."""
        return self._marked(self._held) & ~self._marked(self._fixed)

    def reasons(self, numbers: np.ndarray) -> list:
        """What has first fixed or held any of these channels, or of those coupled with them."""
        classes = self.classes
        asked = set(classes[numbers].tolist())
        marks = [*self._fixed.items(), *self._held.items()]
        return list(dict.fromkeys(reason for number, reason in marks if classes[number] in asked))

    def _marked(self, marks: dict[int, keras.Operation | None]) -> np.ndarray:
        classes = self.classes
        marked = np.zeros(len(classes), bool)
        marked[classes[sorted(marks)]] = True
        return marked[classes]

    @property
    def sources(self) -> np.ndarray:
        """Of every channel, the first of those that were made in the same call of `new`; int array."""
        return np.array(self._sources, int)

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            self._parents[number] = number = self._parents[self._parents[number]]
        return number


class Signal:
    """A tensor of the graph with the channels along one of its axes.

    Args:
        spec: shape (with batch axis) and dtype.
        axis: the axis of the channels, ≥ 1; None for a tensor without one.
        channels: int array, one number per index of the axis.

    Attributes:
        constant: per channel, the value it has at all positions of all examples; NaN where it is not such a channel.
        needed: per channel, whether the model's outputs depend on its values.
    """

    def __init__(self, spec: keras.KerasTensor, axis: int | None, channels: np.ndarray):
        self.spec = spec
        self.axis = axis
        self.channels = channels
        self.reset()

    @property
    def is_needed(self) -> bool:
        """Whether the outputs depend on any of it; what has no channels counts as needed."""
        return not len(self.channels) or bool(self.needed.any())

    def reset(self) -> None:
        """Forgets what is known of constants and needs."""
        self.constant = np.full(len(self.channels), np.nan)
        self.needed = np.zeros(len(self.channels), bool)
