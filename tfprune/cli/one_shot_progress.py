"""Progress of one-shot pruning: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time

import pandas as pd
from tqdm import tqdm

_SECONDS_PER_LINE = 15.0


class OneShotProgress:
    """Shows a run to the person who started it (the `Report` of `tfprune.experiments.one_shot`).

    Args:
        stream: where to; a bar is drawn if it is a terminal.
    """

    def __init__(self, stream=sys.stderr):
        self._stream = stream
        self._terminal = stream.isatty()
        self._bar: tqdm | None = None
        self._line_time = time.monotonic()

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        tqdm.write(text, file=self._stream)
        self._stream.flush()

    def pruned(self, spec, found) -> None:
        self.say(
            f"{spec.architecture}, {spec.pruner}: {found.weights.kept:,} of {found.weights.dense:,} weights kept, "
            f"{found.weights.effective:,} effective; compression {found.weights.direct_compression:.4g} direct, "
            f"{found.weights.effective_compression:.4g} effective"
        )
        if spec.train and found.weights.effective == 0:
            self.say("no path leads from the input to the output: the network answers by chance and is not trained")

    def progress(self, progress) -> None:
        numbers = f"train loss {progress.train_loss:.3f}, test accuracy {progress.accuracy:.4f}"
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


def layer_table(found) -> pd.DataFrame:
    """Sparsities and compressions, one row per kernel and one for the total."""
    rows = {**found.weights_of, "total": found.weights}
    return pd.DataFrame(
        {
            "layer": list(rows),
            "weights": [counts.dense for counts in rows.values()],
            "direct sparsity": [counts.direct_sparsity for counts in rows.values()],
            "effective sparsity": [counts.effective_sparsity for counts in rows.values()],
            "direct compression": [counts.direct_compression for counts in rows.values()],
            "effective compression": [counts.effective_compression for counts in rows.values()],
        }
    )


def layer_text(table: pd.DataFrame) -> str:
    """The table printed at the end of a run."""
    formats = dict.fromkeys(("direct sparsity", "effective sparsity"), "{:.6f}".format)
    formats |= dict.fromkeys(("direct compression", "effective compression"), "{:.5g}".format)
    return table.to_string(index=False, formatters={**formats, "weights": "{:,}".format})
