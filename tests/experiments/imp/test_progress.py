"""What a run shows: a bar on a terminal, lines elsewhere, a table at the end."""

import io

import pandas as pd
import pytest

from tfprune.cli import progress as bars
from tfprune.experiments.imp.files.tables import summary_text
from tfprune.training.session import Progress

NUMBERS = {"train loss": 1.25, "train error": 0.5, "validation error": 0.4}  # as the session names them
SHOWN = "train loss 1.250, train error 0.5000, validation error 0.4000"
NETWORK = "unpruned 20.000%, connected units 1/3"


class _Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("terminal", [True, False])
def test_numbers_that_matter_are_shown(terminal, monkeypatch):
    monkeypatch.setattr(bars, "_SECONDS_PER_LINE", -1.0)
    monkeypatch.setenv("COLUMNS", "300")
    stream = _Terminal() if terminal else io.StringIO()
    watch = bars.ProgressBar(stream)
    watch.start("IMP iteration 3 of 5", NETWORK)
    watch.progress(Progress(40, 100, NUMBERS, 1000.0))
    watch.progress(Progress(60, 100, NUMBERS, 1000.0))
    watch.end("best validation error 0.2500")
    text = stream.getvalue()
    assert f"IMP iteration 3 of 5: {NETWORK}\n" in text
    assert SHOWN in text
    assert "60/100" in text
    assert ("\r" in text) == terminal
    assert "left" in text
    assert text.rstrip().splitlines()[-1].endswith("IMP iteration 3 of 5: best validation error 0.2500, 0 s")
    if not terminal:
        assert "40 s left" in text


def test_a_run_shows_these_numbers_and_its_network(imp):
    # The default of max_iterations is no plan: it is not told.
    _, watcher, _, _ = imp(IMP_max_iterations=None, Network_arch="f4:x", IMP_prune="T:F", IMP_stop_ratio=0.99)
    assert list(watcher.numbers) == list(NUMBERS)
    assert watcher.started[0] == "IMP iteration 0"
    assert watcher.details[0] == "unpruned 100.000%, connected units 4/10"


def test_summary_table():
    row = {"iteration": 1, "unpruned_fraction": 0.7, "best_validation_error": 0.125, "ms_per_step": 3.14159}
    for index, numbers in enumerate(((0.5, 20, 64), (1.0, 10, 18))):
        row |= dict(zip((f"density_{index}", f"live_units_{index}", f"live_inputs_{index}"), numbers, strict=True))
    text = summary_text(pd.DataFrame([row]))
    assert text.split("\n")[1].split() == ["1", "0.7000", "0.1250", "0.500/1.000", "20/10", "64/18", "3.14"]
