"""The engine that carries out runs in this process, one after the other."""

from __future__ import annotations

from pathlib import Path

from tfprune.sweeps.engine import Engine, Job, Outcome
from tfprune.sweeps.settings import EngineSettings
from tfprune.sweeps.worker import perform


class InlineEngine(Engine):
    """For runs that are over at once, and for debuggers.

    Args:
        how: `threads` has no effect once TensorFlow is loaded.
        folder: of the sweep.
    """

    def __init__(self, how: EngineSettings, folder: Path):
        self._job: Job | None = None

    @property
    def slots(self) -> int:
        return 1

    def start(self, job: Job) -> None:
        self._job = job

    def wait(self, seconds: float) -> Outcome | None:
        job, self._job = self._job, None
        return None if job is None else perform(job)

    def __exit__(self, *_) -> None:
        self._job = None
