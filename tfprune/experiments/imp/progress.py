"""Progress of iterative magnitude pruning: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time

import pandas as pd
from tqdm import tqdm

from tfprune.experiments.imp.masks import live_units, unpruned_fraction

_SECONDS_PER_LINE = 15.0


class ImpProgress:
    """Shows a run to the person who started it (the `Report` of `tfprune.experiments.imp.recipe`).

    Args:
        max_iterations: for "iteration 3 of 10"; the default of the input file (1000) is no plan and is not shown.
        stream: where to; a bar is drawn if it is a terminal.
    """

    def __init__(self, max_iterations: int, stream=sys.stderr):
        self._of = f" of {max_iterations}" if max_iterations < 1000 else ""
        self._max_iterations = max_iterations
        self._stream = stream
        self._terminal = stream.isatty()
        self._bar: tqdm | None = None
        self._line_time = 0.0
        self._head = self._network = ""

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        tqdm.write(text, file=self._stream)
        self._stream.flush()

    def start(self, what, iteration, layers, masks) -> None:
        units = "/".join(str(live_units(mask)) for path, mask in masks.items() if path.endswith("/kernel"))
        self._head = f"{what} iteration {iteration}{self._of}"
        self._network = f"unpruned {unpruned_fraction(layers, masks):.3%}, connected units {units}"
        self._bar = None
        self._began = self._line_time = time.monotonic()

    def progress(self, progress) -> None:
        numbers = (
            f"loss {progress.loss:.3f}, train error {progress.train_error:.3f}, "
            f"validation error {progress.validation_error:.3f}"
        )
        if self._terminal:
            if self._bar is None:
                self._bar = tqdm(
                    total=progress.steps + 1,
                    initial=progress.step,
                    desc=self._head,
                    file=self._stream,
                    dynamic_ncols=True,
                    leave=False,
                    mininterval=0,  # we are called twice a second as it is
                    unit="step",
                    bar_format="{desc}: step {n}/{total} {bar:10} {remaining} left, {rate_fmt}{postfix}",
                )
            self._bar.set_postfix_str(f"{numbers}, {self._network}", refresh=False)
            self._bar.update(progress.step - self._bar.n)
        elif time.monotonic() - self._line_time > _SECONDS_PER_LINE:
            self._line_time = time.monotonic()
            left = (progress.steps + 1 - progress.step) * progress.milliseconds_per_step / 1e3
            steps = f"step {progress.step}/{progress.steps + 1}"
            self.say(f"{self._head}: {steps}, {numbers}, {self._network}, {left:.0f} s left")

    def end(self, row) -> None:
        if self._bar is not None:
            self._bar.close()
        self.say(
            f"{self._head}: best validation error {row['best_validation_error']:.4f}, {self._network}, "
            f"{time.monotonic() - self._began:.0f} s"
        )


def summary_text(table: pd.DataFrame) -> str:
    """The table printed at the end of a run: density, live units and inputs per layer, cost per step."""
    shown = pd.DataFrame(
        {
            "iteration": table["iteration"],
            "unpruned": table["unpruned_fraction"].map("{:.4f}".format),
            "best val. error": table["best_validation_error"].map("{:.4f}".format),
        }
    )
    layers = [name.removeprefix("density_") for name in table if name.startswith("density_")]
    joined = {"density": "density_{}", "live units": "live_units_{}", "live inputs": "live_inputs_{}"}
    for title, name in joined.items():
        text = "{:.3f}" if title == "density" else "{}"
        columns = [table[name.format(layer)].map(text.format) for layer in layers]
        shown[title] = ["/".join(cells) for cells in zip(*columns, strict=True)]
    shown["ms/step"] = table["ms_per_step"].map("{:.2f}".format)
    return shown.to_string(index=False)
