"""Carries out the runs of a plan with an engine: what is needed first, nothing twice, and no failure stops the rest."""

from __future__ import annotations

import time
from collections import deque

from tfprune.cli.run import FINISHED
from tfprune.errors import InputError
from tfprune.sweeps.display import Counts, SweepBar
from tfprune.sweeps.engine import Engine, Outcome
from tfprune.sweeps.estimate import Times
from tfprune.sweeps.plan import Plan, Run, stage_of
from tfprune.sweeps.state import Ended, SweepFolder

_SECONDS_PER_WAIT = 0.5
_SECONDS_PER_ESTIMATE = 2.0
_SHARE_OF_ESTIMATES = 0.02  # of the time, at most


class Scheduler:
    """Starts runs as places get free and what they need is finished.

    Args:
        plan: looked at.
        folder: of the sweep.
        engine: entered.
        bar: is told how it goes.
        attempts: how often a run is started whose process is lost.
        retry_failed: whether runs that failed are started again.
    """

    def __init__(
        self, plan: Plan, folder: SweepFolder, engine: Engine, bar: SweepBar, attempts: int, retry_failed: bool
    ):
        self._plan, self._folder, self._engine, self._bar, self._attempts = plan, folder, engine, bar, attempts
        self._finished = set(plan.finished)
        self._lost: dict[int, int] = {}
        self._whole: dict[int, bool] = {}
        self._dependents: dict[int, list[int]] = {}
        for run in plan.runs:
            if run.needs is not None:
                self._dependents.setdefault(run.needs, []).append(run.job.index)
        self.failed = {} if retry_failed else plan.failed(folder.ended)
        self._ready = deque(index for index in plan.order if self._is_ready(index))
        self.counts = Counts(len(plan.runs), len(self._finished), len(self.failed))
        self._estimated, self._due = None, 0.0

    def run(self) -> None:
        """Carries out what is left.

        Raises:
            InputError: no space is left, or the engine cannot go on.
        """
        while self._ready or self.counts.running:
            while self._ready and self.counts.running < self._engine.slots:
                self._start(self._plan.runs[self._ready.popleft()])
            self._bar.at(self.counts, self._seconds_left)
            outcome = self._engine.wait(_SECONDS_PER_WAIT)
            if outcome is not None:
                self.counts.running -= 1
                self._end(self._plan.runs[outcome.job.index], outcome)

    def _start(self, run: Run) -> None:
        self._whole.setdefault(run.job.index, not run.is_begun)
        self._engine.start(run.job)
        self.counts.running += 1

    def _end(self, run: Run, outcome: Outcome) -> None:
        index = run.job.index
        if outcome.full:
            raise InputError(f"{run.name}: {outcome.error}; the sweep stops here, the same command continues it")
        if outcome.lost:
            self._lost[index] = self._lost.get(index, 0) + 1
            self._whole[index] = False
            if self._lost[index] < self._attempts:
                self._bar.say(f"{run.name}: {outcome.error}; it is started again")
                self._ready.append(index)
                return
        error, seconds = outcome.error, round(outcome.seconds, 3)
        if error is None and stage_of(run.study) != FINISHED:  # what the next start would see
            error = f"it ended without an error, but its files are not all there: {run.study.folder}"
        self._folder.add(Ended(run.key, error, seconds, self._whole[index] and error is None))
        if error is None:
            self._finished.add(index)
            self._ready.extend(each for each in self._dependents.get(index, ()) if self._is_ready(each))
        else:
            log = self._folder.log(run.key, f"{run.name}\n{run.job}\n\n{error}\n\n{outcome.details}\n")
            self._bar.say(f"failed: {run.name}: {error} ({log})")
            self._fail(run, error)
        self.counts.done, self.counts.failed = len(self._finished), len(self.failed)

    def _fail(self, run: Run, error: str) -> None:
        """Of a run, and of those that need it."""
        self.failed[run.job.index] = error
        for index in self._dependents.get(run.job.index, ()):
            if index not in self._finished and index not in self.failed:
                self._fail(self._plan.runs[index], f"{run.name} failed: {error}")

    def _is_ready(self, index: int) -> bool:
        needs = self._plan.runs[index].needs
        done = needs is None or needs in self._finished
        return done and index not in self._finished and index not in self.failed

    def _seconds_left(self) -> float | None:
        began = time.monotonic()
        if began >= self._due:
            self._estimated = self._estimate()
            cost = time.monotonic() - began
            self._due = began + max(_SECONDS_PER_ESTIMATE, cost / _SHARE_OF_ESTIMATES)
        return self._estimated

    def _estimate(self) -> float | None:
        times, over = times_of(self._plan, self._folder.ended), self._finished | self.failed.keys()
        left = [cell_of(run) for run in self._plan.runs if run.job.index not in over]
        return times.left(left, self._engine.slots).seconds


def times_of(plan: Plan, ended: dict[str, Ended]) -> Times:
    """What is known of how long runs take."""
    found = [(run, ended.get(run.key)) for run in plan.runs]
    return Times((cell_of(run), last.seconds) for run, last in found if last and last.whole)


def cell_of(run: Run) -> dict[str, object]:
    """What runs are grouped by."""
    return dict(run.wanted.crossed) if run.listed else {"needed": "yes"}
