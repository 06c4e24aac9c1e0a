"""The folder in which a network of a filter-pruning run is trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfprune.errors import InputError
from tfprune.records.atomic import atomic_write_text
from tfprune.records.metric_log import MetricLog
from tfprune.records.run_folder import RunFolder

UNPRUNED = "unpruned"
RECORD, LOGGER, METRICS, MODEL, CHECKPOINT = "run.json", "logger", "metrics.json", "model.keras", "checkpoint"
CURVES = "tensorboard"


class FilterFolder(RunFolder):
    """Opens the folder of one network, alone; see `RunFolder`.

    Args:
        folder: made if missing.

    Raises:
        InputError: the folder cannot be made or locked, or another process trains there.
    """

    elsewhere = "another --out_path"
    unit = "network"

    def __init__(self, folder: str | Path):
        super().__init__(folder, "", named="--out_path: folder")

    def claim(self, record: Mapping[str, Any], overwrite: bool = False) -> None:
        """As `RunFolder.claim`; the keys that differ are named."""
        record = dict(record)

        def differing(found: dict) -> list[str]:
            keys = [key for key in {**found, **record} if found.get(key) != record.get(key)]
            return [f"{key}: {found.get(key)} -> {record.get(key)}" for key in keys]

        super().claim(record, differing, overwrite)

    @property
    def finished(self) -> bool:
        """Whether everything is there; usable before `claim`."""
        return self.path(RECORD).exists() and super().finished

    def read_log(self, epoch: int) -> MetricLog:
        """The metrics by epoch up to that of the checkpoint from which training continues; −1: none.

        Raises:
            InputError: a damaged file.
        """
        log = read_log(self.path(LOGGER))
        log.drop_after(epoch)
        return log

    def write_log(self, log: MetricLog) -> None:
        """Writes `logger`, the whole of it."""
        atomic_write_text(self.path(LOGGER), log.text())

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """Writes `metrics.json` and marks the network finished."""
        atomic_write_text(self.path(METRICS), json.dumps(dict(metrics), indent=1) + "\n")
        self.mark_finished()
        self.drop_checkpoint(CHECKPOINT)

    def _found(self) -> list[str]:
        names = (LOGGER, METRICS, MODEL, f"{CHECKPOINT}.npz")
        return [name for name in names if self.path(name).exists()]

    def _has_work(self) -> bool:
        return bool(self._found())

    def _foreign(self) -> str:
        found = self._found()
        return f"results ({', '.join(found)})" if found else ""

    def _clear(self) -> None:
        for name in (RECORD, *self._found()):
            self.path(name).unlink(missing_ok=True)
        for path in self.path(CURVES).glob("events.out.tfevents.*"):
            path.unlink()


def is_finished(folder: str | Path) -> bool:
    """Whether the folder of a network holds everything; needs no lock."""
    path = Path(folder, RECORD)
    try:
        return json.loads(path.read_text("utf-8"))["finished"] is True
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not the record of a run; use --overwrite to start anew") from None


def read_log(path: Path) -> MetricLog:
    """The metrics by epoch in a file; none if it is missing.

    Raises:
        InputError: a damaged file.
    """
    return MetricLog.parse(path.read_text("utf-8") if path.exists() else "", str(path))
