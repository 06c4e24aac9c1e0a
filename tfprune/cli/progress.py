"""Progress of a study for the person who started it: a bar on a terminal or in a notebook, plain lines elsewhere."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

_SECONDS_PER_LINE = 15.0
T = TypeVar("T")


class ProgressBar:
    """Shows trainings as they go on (the `Watch` of `tfprune.training.session`).

    Args:
        stream: where to; None is stderr, or the output of a notebook's cell. A bar is drawn if it is a terminal.
        quiet: shows nothing.
    """

    def __init__(self, stream=None, quiet: bool = False):
        self._stream, self._quiet = stream or sys.stderr, quiet
        self._bars = bars_for(stream)
        self._bar: tqdm | None = None
        self._what, self._details, self._began = "training", "", time.monotonic()
        self._line_time = self._began

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        if not self._quiet:
            tqdm.write(text, file=self._stream)
            self._stream.flush()

    @property
    def quiet(self) -> bool:
        """Whether nothing is shown."""
        return self._quiet

    def start(self, what: str, details: str = "") -> None:
        """Says that the training of `what` begins, for example with how many weights; the bar and lines say both."""
        self._close()
        self._what, self._details = what, details
        self._began = self._line_time = time.monotonic()
        self.say(f"{what}: {details}" if details else what)

    def progress(self, progress) -> None:
        """Shows a `Progress`."""
        if self._quiet:
            return
        shown = [f"{name} {value:{_form(name)}}" for name, value in progress.numbers.items()]
        numbers = ", ".join([*shown, self._details] if self._details else shown)
        if self._bars is not None:
            if self._bar is None:
                self._bar = self._bars(
                    total=progress.steps,
                    initial=progress.step,
                    desc=self._what,
                    file=self._stream,
                    dynamic_ncols=True,
                    leave=False,
                    mininterval=0,  # we are called twice a second as it is
                    unit="step",
                    bar_format="{desc}: step {n}/{total} {bar:10} {remaining} left, {rate_fmt}{postfix}",
                )
            self._bar.set_postfix_str(numbers, refresh=False)
            self._bar.update(progress.step - self._bar.n)
        elif time.monotonic() - self._line_time > _SECONDS_PER_LINE:
            self._line_time = time.monotonic()
            left = (progress.steps - progress.step) * progress.milliseconds_per_step / 1e3
            self.say(f"{self._what}: step {progress.step}/{progress.steps}, {numbers}, {left:.0f} s left")
        if progress.step == progress.steps:
            self._close()

    def end(self, text: str = "") -> None:
        """Says what came of it and how long it took."""
        self._close()
        if text:
            self.say(f"{self._what}: {text}, {time.monotonic() - self._began:.0f} s")

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def counted(items: Sequence[T], what: str, stream=None, quiet: bool = False) -> Iterator[T]:
    """The items, one after the other, while a bar, or a line now and then, shows how many were taken.

    Args:
        items: all of them.
        what: is done with them, for example `reading curves`.
        stream: as for `ProgressBar`.
        quiet: shows nothing.
    """
    bars, stream = _notebook_bars() if stream is None else None, stream or sys.stderr
    if quiet or bars or stream.isatty():
        yield from (bars or tqdm)(items, desc=what, file=stream, dynamic_ncols=True, leave=False, disable=quiet)
        return
    line_time = time.monotonic()
    for number, item in enumerate(items):
        if time.monotonic() - line_time > _SECONDS_PER_LINE:
            line_time = time.monotonic()
            print(f"{what}: {number} of {len(items)}", file=stream, flush=True)
        yield item


def _form(name: str) -> str:
    return ".3f" if name.endswith("loss") else ".4f"


def bars_for(stream):
    """What draws bars on a stream: None where lines are better.

    Args:
        stream: where to; None is stderr, or the output of a notebook's cell.
    """
    bars = _notebook_bars() if stream is None else None
    return tqdm if bars is None and (stream or sys.stderr).isatty() else bars


def _notebook_bars():
    """tqdm's bars for notebooks; None outside of one, or where their widgets are not installed."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if type(shell).__name__ != "ZMQInteractiveShell" or importlib.util.find_spec("ipywidgets") is None:
        return None
    from tqdm.notebook import tqdm as bars

    return bars
