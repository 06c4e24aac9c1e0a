"""A sweep for the person who looks at it: the table of its runs, and a bar while they are carried out."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tqdm import tqdm

from tfprune.cli.progress import bars_for
from tfprune.sweeps.estimate import Estimate, duration
from tfprune.sweeps.plan import Plan
from tfprune.sweeps.state import Ended
from tfprune.sweeps.sweep_file import shown

_SECONDS_PER_LINE = 15.0
_LONGEST = 60  # characters of a cell


@dataclass
class Counts:
    """How many runs are where: those that others need are counted, too.

    Attributes:
        total: all of them.
        done: finished, some of them before this start.
        failed: ended with an error, or needing one that did.
        running: under way.
    """

    total: int
    done: int = 0
    failed: int = 0
    running: int = 0

    @property
    def left(self) -> int:
        """Neither done nor failed."""
        return self.total - self.done - self.failed


class SweepBar:
    """Shows how a sweep goes on: a bar on a terminal or in a notebook, a line now and then elsewhere.

    Args:
        quiet: shows nothing.
        stream: where to; None is stderr, or the output of a notebook's cell.
    """

    def __init__(self, quiet: bool = False, stream=None):
        self._quiet, self._stream = quiet, stream or sys.stderr
        self._bars, self._bar = None if quiet else bars_for(stream), None
        self._line_time = time.monotonic()

    def __enter__(self) -> SweepBar:
        return self

    def __exit__(self, *_) -> None:
        if self._bar is not None:
            self._bar.close()

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        if not self._quiet:
            tqdm.write(text, file=self._stream)
            self._stream.flush()

    def at(self, counts: Counts, seconds_left: Callable[[], float | None]) -> None:
        """Shows where the sweep stands.

        Args:
            counts: of its runs.
            seconds_left: is called if that is shown.
        """
        if self._quiet:
            return
        if self._bars is not None:
            self._draw(counts, seconds_left())
        elif time.monotonic() - self._line_time > _SECONDS_PER_LINE:
            self._line_time = time.monotonic()
            self.say(f"{counts.done}/{counts.total} runs done, {_told(counts, seconds_left())}")

    def _draw(self, counts: Counts, seconds: float | None) -> None:
        if self._bar is None:
            self._bar = self._bars(
                total=counts.total,
                initial=counts.done,
                file=self._stream,
                dynamic_ncols=True,
                leave=False,
                mininterval=0,
                bar_format="runs: {n_fmt}/{total_fmt} done {bar:10} {desc}",
            )
        self._bar.set_description_str(_told(counts, seconds), refresh=False)
        self._bar.n = counts.done
        self._bar.refresh()


def _told(counts: Counts, seconds: float | None) -> str:
    time_left = "" if seconds is None else f", about {duration(seconds)}"
    return f"{counts.running} running, {counts.failed} failed, {counts.left} left{time_left}"


def run_table(plan: Plan, ended: Mapping[str, Ended]) -> str:
    """A line for each run, in the order in which they are started: how far it is, what it crosses, how long it took."""
    finished, failed = plan.finished, plan.failed(ended)
    names = list(dict.fromkeys(name for run in plan.runs for name in run.wanted.crossed))
    needing: dict[int, list[str]] = defaultdict(list)
    for run in plan.runs:
        if run.needs is not None:
            needing[run.needs].append(str(run.job.index + 1))
    lines = [["run", "state", *names, "seconds", ""]]
    for index in plan.order:
        run, last = plan.runs[index], ended.get(plan.runs[index].key)
        done = index in finished
        state = "done" if done else "failed" if index in failed else "begun" if run.is_begun else "-"
        crossed = run.wanted.crossed if run.listed else {}
        cells = [_cut(shown(crossed[name])) if name in crossed else "" for name in names]
        seconds = f"{last.seconds:.1f}" if last and done else ""
        notes = [] if run.needs is None else [f"after {run.needs + 1}"]
        notes += [] if run.listed else [f"needed by {_cut(', '.join(needing[index]))}"]
        notes += [_cut(failed[index])] if index in failed else []
        lines.append([str(index + 1), state, *cells, seconds, "; ".join(notes)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def estimate_text(estimate: Estimate, at_a_time: int) -> str:
    """The time that is left, and where that is known from."""
    if estimate.seconds is None:
        return "time left: not known before a run has finished"
    if not estimate.seconds:
        return "nothing is left to do"
    groups = f", by {' and '.join(estimate.grouped_by)}" if estimate.grouped_by else ""
    judged = f"judged by {estimate.runs} finished run{'' if estimate.runs == 1 else 's'}{groups}"
    return f"time left: about {duration(estimate.seconds)} with {at_a_time} at a time ({judged})"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
