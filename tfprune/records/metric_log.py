"""Metrics of a run as lines `name,iteration,value`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tfprune.errors import InputError
from tfprune.records.atomic import atomic_write_text
from tfprune.records.reading import MissingInputError, read_text

_MOST = 2**63


class MetricLog:
    """Values by name and iteration, in the order in which they were first added."""

    def __init__(self):
        # By name, since a log may hold a value for every step; and all keys in the order in which they came.
        self._values: dict[str, dict[int, float]] = {}
        self._keys: list[tuple[str, int]] = []

    @classmethod
    def parse(cls, text: str, source: str = "logger") -> MetricLog:
        """The log that `text()` gave.

        Args:
            text: lines `name,iteration,value`; may be empty.
            source: its file, for messages.

        Raises:
            InputError: a line is something else.
        """
        log = cls()
        for number, line in enumerate(text.splitlines(), 1):
            try:
                name, iteration, value = line.split(",")
                log.add(name, int(iteration), float(value))
                if not 0 <= int(iteration) < _MOST:
                    raise ValueError("an iteration that no run has")
            except ValueError:
                raise InputError(
                    f"{source}, line {number}: must be name,iteration,value. Received: {line[:80]!r}"
                ) from None
        return log

    @classmethod
    def read(cls, path: str | Path) -> MetricLog:
        """The log in a file, empty where it is missing.

        Raises:
            InputError: a damaged or foreign file.
        """
        try:
            text = read_text(path)
        except MissingInputError:
            return cls()
        log = cls.parse(text, str(path))
        if text and not text.endswith("\n"):
            raise InputError(f"cannot read {path}: its last line is cut off")
        return log

    def write(self, path: str | Path) -> None:
        """Writes the whole log to a file, atomically."""
        atomic_write_text(path, self.text())

    def add(self, name: str, iteration: int, value: float) -> None:
        """Sets a value; one that is there is replaced."""
        if not name or set(name) & set(",\r\n"):
            raise ValueError(f"a name of a metric must have no comma or line end. Received: {name!r}")
        values, iteration = self._values.setdefault(name, {}), int(iteration)
        if iteration not in values:
            self._keys.append((name, iteration))
        values[iteration] = float(value)

    def arrays(self) -> dict[str, np.ndarray]:
        """The whole log as numbers, for a checkpoint: `names` (bytes), `metrics`, `iterations` and `values`."""
        index = {name: number for number, name in enumerate(self.names)}
        return {
            "names": np.frombuffer(",".join(index).encode(), np.uint8),
            "metrics": np.array([index[name] for name, _ in self._keys], np.int32),
            "iterations": np.array([iteration for _, iteration in self._keys], np.int64),
            "values": np.array([self._values[name][iteration] for name, iteration in self._keys], np.float64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> MetricLog:
        """The log that `arrays` gave; raises nearly anything where they are something else."""
        log, names = cls(), bytes(arrays["names"]).decode().split(",")
        columns = (arrays[name].tolist() for name in ("metrics", "iterations", "values"))
        for metric, iteration, value in zip(*columns, strict=True):
            log.add(names[metric], iteration, value)
        return log

    @property
    def names(self) -> list[str]:
        """The metrics that there are."""
        return list(self._values)

    @property
    def end(self) -> int:
        """The last iteration that has a value; −1 if there is none."""
        return max((iteration for _, iteration in self._keys), default=-1)

    def get(self, name: str) -> list[tuple[int, float]]:
        """(iteration, value) of a name, by iteration."""
        return sorted(self._values.get(name, {}).items())

    def at(self, name: str, iteration: int) -> float | None:
        """Value of a name at an iteration; None if there is none."""
        return self._values.get(name, {}).get(iteration)

    def last(self, name: str) -> float | None:
        """Value at the last iteration that has one; None if there is none."""
        return self.at(name, max(self._values[name])) if name in self._values else None

    def values(self, name: str) -> list[float]:
        """Values of a name, by iteration."""
        return [value for _, value in self.get(name)]

    def text(self) -> str:
        """Lines `name,iteration,value`; floats with all their digits."""
        return "".join(f"{name},{iteration},{self._values[name][iteration]!r}\n" for name, iteration in self._keys)

    def __len__(self):
        return len(self._keys)
