"""The folder in which one network is trained, alone: its record, its metrics and its checkpoint."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfprune.errors import InputError
from tfprune.records import run_folder_old as run_folder
from tfprune.records.atomic import atomic_write_text
from tfprune.records.metric_log import MetricLog
from tfprune.records.reading import MissingInputError

RECORD, LOGGER, CHECKPOINT = "run.json", "logger", "checkpoint"


class NetworkFolder(run_folder.RunFolder):
    """Opens the folder of one network, alone; see `RunFolder`.

    Args:
        folder: made if missing.
        flag: how the user says where it lies, for messages.

    Raises:
        InputError: the folder cannot be made or locked, or another process trains there.
    """

    ignored: tuple[str, ...] = ()  # keys of the record that may differ when the run is continued

    def __init__(self, folder: str | Path, flag: str):
        super().__init__(folder, "", named=f"{flag}: folder")

    def claim(self, record: Mapping[str, Any], overwrite: bool = False) -> None:
        """As `RunFolder.claim`; the record's keys that differ are named.

        Args:
            record: what defines the results, as JSON values.
            overwrite: delete what is there and start anew.
        """
        # As JSON gives it back: tuples become lists.
        record = json.loads(json.dumps(dict(record)))

        def differing(found: dict) -> list[str]:
            names = [name for name in {**found, **record} if found.get(name) != record.get(name)]
            pairs = {name: (found.get(name), record.get(name)) for name in names if name not in self.ignored}
            return [f"{name}: {_short(old)} -> {_short(new)}" for name, (old, new) in pairs.items()]

        super().claim(record, differing, overwrite)

    @property
    def finished(self) -> bool:
        """Whether everything is there; usable before `claim`."""
        return self.path(RECORD).exists() and super().finished

    def write_log(self, log: MetricLog) -> None:
        """Writes `logger`, the whole of it."""
        atomic_write_text(self.path(LOGGER), log.text())

    def resume_log(self, iteration: int, each: Sequence[str] = ()) -> MetricLog:
        """The metrics up to an iteration, that of the checkpoint from which the run continues; −1 for none.

        Args:
            iteration: where the run continues.
            each: metrics that every iteration has.

        Raises:
            InputError: a damaged file, or one that lacks metrics of the time before the checkpoint.
        """
        log = MetricLog.read(self.path(LOGGER))
        log.drop_after(iteration)
        if log.end < iteration or any(len(log.get(name)) <= iteration for name in each):
            raise InputError(
                f"{self.path(LOGGER)}: lacks metrics up to iteration {iteration}, which its checkpoint has seen; "
                f"delete {CHECKPOINT}.npz to redo the {self.unit}"
            )
        return log

    @abstractmethod
    def _found(self) -> list[str]:
        """Names of the files of results that are there, the checkpoint among them."""

    def _has_work(self) -> bool:
        return bool(self._found())

    def _foreign(self) -> str:
        found = self._found()
        return f"results ({', '.join(found)})" if found else ""

    def _clear(self) -> None:
        for name in (RECORD, *self._found()):
            self.path(name).unlink(missing_ok=True)


def is_finished(folder: str | Path, version: int | None = None) -> bool:
    """Whether a network was trained there to the end; needs no lock.

    Args:
        folder: where to look.
        version: of its files, as the record has it.

    Raises:
        InputError: as `read_record`.
    """
    record = read_record(folder, version)
    return record is not None and record["finished"]


def read_record(folder: str | Path, version: int | None = None) -> dict | None:
    """The record of a run, `input` and `finished`; None where there is none.

    Raises:
        InputError: a damaged or foreign file, or one of another version of this package.
    """
    try:
        return run_folder.read_record(Path(folder, RECORD), version)
    except MissingInputError:
        return None


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
