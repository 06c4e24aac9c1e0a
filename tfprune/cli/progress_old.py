"""Progress of a training with fixed masks: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time

from tqdm import tqdm

_SECONDS_PER_LINE = 15.0


class TrainingProgress:
    """Shows trainings to the person who started them.

    Args:
        stream: where to; a bar is drawn if it is a terminal.
        quiet: shows nothing.
    """

    def __init__(self, stream=None, quiet: bool = False):
        self._stream = stream = stream or sys.stderr
        self._quiet = quiet
        self._terminal = stream.isatty()
        self._bar: tqdm | None = None
        self._line_time = time.monotonic()

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        if not self._quiet:
            tqdm.write(text, file=self._stream)
            self._stream.flush()

    def progress(self, progress) -> None:
        """Shows where a training stands.

        Args:
            progress: has `step`, `steps`, `train_loss`, `accuracy` (NaN where it is not measured) and
                `milliseconds_per_step`.
        """
        if self._quiet:
            return
        numbers = f"train loss {progress.train_loss:.3f}"
        if not math.isnan(progress.accuracy):
            numbers += f", test accuracy {progress.accuracy:.4f}"
        if self._terminal:
            if self._bar is None:
                self._bar = tqdm(
                    total=progress.steps,
                    initial=progress.step,
                    desc="training",
                    file=self._stream,
                    dynamic_ncols=True,
                    leave=False,
                    mininterval=0,  # we are called twice a second as it is
                    unit="step",
                )
            self._bar.set_postfix_str(numbers, refresh=False)
            self._bar.update(progress.step - self._bar.n)
        elif time.monotonic() - self._line_time > _SECONDS_PER_LINE:
            self._line_time = time.monotonic()
            left = (progress.steps - progress.step) * progress.milliseconds_per_step / 1e3
            self.say(f"step {progress.step}/{progress.steps}: {numbers}, {left:.0f} s left")
        if progress.step == progress.steps and self._bar is not None:
            self._bar.close()
            self._bar = None
