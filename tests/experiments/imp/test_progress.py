"""What a run shows: a bar on a terminal, lines elsewhere, a table at the end."""

import io

import numpy as np
import pandas as pd
import pytest

from tfprune.experiments.imp import progress as imp_progress
from tfprune.experiments.imp.arch import LayerSpec
from tfprune.experiments.imp.training import Progress
from tfprune.layers.masks import Masks

LAYERS = (LayerSpec("f", (4, 2), True), LayerSpec("x", (2, 3), False))
MASKS = Masks(
    {
        "layer_0/kernel": [[1, 0], [0, 0], [0, 0], [0, 0]],
        "layer_0/bias": [1, 0],
        "layer_1/kernel": np.ones((2, 3), bool),
        "layer_1/bias": np.ones(3, bool),
    }
)
NUMBERS = "loss 1.250, train error 0.500, validation error 0.400"
NETWORK = "unpruned 20.000%, connected units 1/3"


class _Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("terminal", [True, False])
def test_numbers_that_matter_are_shown(terminal, monkeypatch):
    monkeypatch.setattr(imp_progress, "_SECONDS_PER_LINE", -1.0)
    monkeypatch.setenv("COLUMNS", "300")
    stream = _Terminal() if terminal else io.StringIO()
    progress = imp_progress.ImpProgress(5, stream)
    progress.start("IMP", 3, LAYERS, MASKS)
    progress.progress(Progress(3, 40, 99, 1.25, 0.5, 0.4, 1000.0))
    progress.progress(Progress(3, 60, 99, 1.25, 0.5, 0.4, 1000.0))
    progress.end({"best_validation_error": 0.25})
    text = stream.getvalue()
    assert "IMP iteration 3 of 5" in text
    assert NUMBERS in text
    assert NETWORK in text
    assert "60/100" in text
    assert ("\r" in text) == terminal
    assert "left" in text
    assert text.rstrip().splitlines()[-1].endswith("best validation error 0.2500, " + NETWORK + ", 0 s")
    if not terminal:
        assert "40 s left" in text


def test_the_default_of_max_iterations_is_no_plan():
    progress = imp_progress.ImpProgress(1000, stream := io.StringIO())
    progress.start("IMP", 3, LAYERS, MASKS)
    progress.end({"best_validation_error": 0.25})
    assert stream.getvalue().startswith("IMP iteration 3: ")


def test_summary_table():
    row = {"iteration": 1, "unpruned_fraction": 0.7, "best_validation_error": 0.125, "ms_per_step": 3.14159}
    for index, numbers in enumerate(((0.5, 20, 64), (1.0, 10, 18))):
        row |= dict(zip((f"density_{index}", f"live_units_{index}", f"live_inputs_{index}"), numbers, strict=True))
    text = imp_progress.summary_text(pd.DataFrame([row]))
    assert text.split("\n")[1].split() == ["1", "0.7000", "0.1250", "0.500/1.000", "20/10", "64/18", "3.14"]
