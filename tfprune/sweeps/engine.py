"""What carries out the runs of a sweep: the contract between the scheduler and an engine.

The scheduler decides what is run and when, and keeps the sweep's record; an engine is a number of places at which runs
are carried out. It knows neither what a run needs nor what came before: what it is given can start at once.

    with engine:
        engine.start(job)                    # never more than engine.slots at a time
        outcome = engine.wait(seconds)       # of any job that was started, or None

An engine calls `tfprune.sweeps.worker.perform(job)` in a process of its own choice and hands on what that returns. It
adds one outcome of its own, `lost`: the process or machine of the job is gone, whatever took it.

When a job's outcome has no error, the run's files lie where `tfprune.sweeps.worker.study_of_job(job)` says, as seen by
the process that waits. So must, before the job is carried out, the files of the run that it needs, if it needs one
(`Study.needs`), as seen by the process that carries it out. An engine whose machines share no files brings them there
and back; `dataclasses.replace(job, root=...)` puts a run elsewhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Job:
    """A run to carry out; plain values, so that it can be sent to another process or machine.

    Attributes:
        index: tells the jobs of a sweep apart.
        command: entry point, or `module:Study`.
        words: of the command.
        settings: of the command, as the sweep file says them: without the folder.
        root: folder, absolute, below which the run's files lie.
        device: `auto`, `cpu` or `gpu`.
        threads: how many threads TensorFlow and its libraries may use; None leaves it to them.
        back: 0 means the run itself, 1 the run that it needs, 2 the run that this one needs, ...
    """

    index: int
    command: str
    words: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    root: str = "."
    device: str = "auto"
    threads: int | None = None
    back: int = 0


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
        job: it.
        error: why it failed, in one line; None where it did not.
        seconds: that it took.
        details: traceback and what the run said, for the log of a run that failed.
        lost: process or machine are gone, so that nothing is known of the run; it may be started again.
        full: it failed for want of space, as others would.
    """

    job: Job
    error: str | None = None
    seconds: float = 0.0
    details: str = ""
    lost: bool = False
    full: bool = False


class Engine(ABC):
    """Places at which jobs are carried out; a context manager that frees them.

    Raises:
        InputError: on entering: what it needs (a package, a cluster) is not there.
    """

    @property
    @abstractmethod
    def slots(self) -> int:
        """How many jobs may be under way at a time, at least 1; may change while it is used."""

    @abstractmethod
    def start(self, job: Job) -> None:
        """Starts a job and returns at once, where it can; fewer than `slots` are under way."""

    @abstractmethod
    def wait(self, seconds: float) -> Outcome | None:
        """Waits for any job that was started.

        Args:
            seconds: to wait at most; an engine that works in this process may take longer.

        Returns:
            Its outcome, each once; None where none ended.
        """

    def __enter__(self) -> Engine:
        return self

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops what is still under way and frees everything; also after Ctrl-C."""
