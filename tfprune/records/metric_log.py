"""Metrics of a run as lines `name,iteration,value`."""

from __future__ import annotations

from pathlib import Path

from tfprune.errors import InputError
from tfprune.records.reading import MissingInputError, read_text

_MOST = 2**63


class MetricLog:
    """Values by name and iteration, in the order in which they were first added."""

    def __init__(self):
        self._values: dict[tuple[str, int], float] = {}

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

    def add(self, name: str, iteration: int, value: float) -> None:
        """Sets a value; one that is there is replaced."""
        if not name or set(name) & set(",\r\n"):
            raise ValueError(f"a name of a metric must have no comma or line end. Received: {name!r}")
        self._values[name, int(iteration)] = float(value)

    @property
    def names(self) -> list[str]:
        """The metrics that there are."""
        return list(dict.fromkeys(name for name, _ in self._values))

    @property
    def end(self) -> int:
        """The last iteration that has a value; −1 if there is none."""
        return max((iteration for _, iteration in self._values), default=-1)

    def get(self, name: str) -> list[tuple[int, float]]:
        """(iteration, value) of a name, by iteration."""
        return sorted((iteration, value) for (key, iteration), value in self._values.items() if key == name)

    def last(self, name: str) -> float | None:
        """Value at the last iteration that has one; None if there is none."""
        values = self.get(name)
        return values[-1][1] if values else None

    def drop_after(self, iteration: int) -> None:
        """Forgets what came after an iteration: where a run continues from a checkpoint."""
        self._values = {key: value for key, value in self._values.items() if key[1] <= iteration}

    def text(self) -> str:
        """Lines `name,iteration,value`; floats with all their digits."""
        return "".join(f"{name},{iteration},{value!r}\n" for (name, iteration), value in self._values.items())

    def __len__(self):
        return len(self._values)
