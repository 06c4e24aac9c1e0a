"""Progress of a pruning call that takes long: a bar on a terminal, plain lines elsewhere, and without tqdm."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm

SILENT_SECONDS = 3.0
SECONDS_PER_LINE = 15.0
SECONDS_PER_FRAME = 0.2


class Progress:
    """Says how far a call is, from its fourth second on; a context manager, as a bar has to be closed.

    Args:
        verbose: False says nothing.
        what: the call does.
        stream: where to, stderr by default; a bar is drawn if it is a terminal.
    """

    def __init__(self, verbose: bool = True, what: str = "pruning", stream=None):
        self._what = what
        self._stream = stream or sys.stderr
        self._verbose = verbose
        self._bar: tqdm | None = None
        self._due = time.monotonic() + SILENT_SECONDS
        self._phase, self._done, self._total = "", 0, None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_) -> None:
        self._close()

    def at(self, phase: str, done: int, total: int | None = None, note: str = "") -> None:
        """Tells what is being done now.

        Args:
            phase: what, in a word or two; each has a bar of its own.
            done: steps that are behind.
            total: of them, None where nobody knows.
            note: what else is worth a word.
        """
        if phase != self._phase:
            self._close()
        self._phase, self._done, self._total = phase, done, total
        self.tell(note)

    def batches(self, batches: Iterable) -> Iterable:
        """The same batches; those that were read are told beside the phase."""
        return _Watched(batches, self)

    def tell(self, note: str) -> None:
        """Tells more of the same step."""
        now = time.monotonic()
        if not self._verbose or now < self._due:
            return
        if self._stream.isatty() and find_spec("tqdm"):
            if self._bar is None:
                from tqdm import tqdm

                self._bar = tqdm(
                    total=self._total,
                    initial=self._done,
                    desc=f"{self._what}, {self._phase}",
                    file=self._stream,
                    dynamic_ncols=True,
                    leave=False,
                    unit="step",
                )
            self._due = now + SECONDS_PER_FRAME
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.n = self._done
            self._bar.refresh()
        else:
            self._due = now + SECONDS_PER_LINE
            of = "" if self._total is None else f" of {self._total}"
            text = f"{self._what}, {self._phase}: step {self._done + 1}{of}{f', {note}' if note else ''}"
            print(text, file=self._stream, flush=True)

    def say(self, line: str) -> None:
        """A line that is worth being read however short the call was."""
        self._close()
        if self._verbose:
            print(f"{self._what}: {line}", file=self._stream, flush=True)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class _Watched:
    def __init__(self, batches: Iterable, progress: Progress):
        self._batches, self._progress = batches, progress

    def __iter__(self) -> Iterator:
        for number, batch in enumerate(self._batches):
            self._progress.tell(f"{number} batches read")
            yield batch
