"""What a long pruning call shows: nothing for three seconds, then a bar on a terminal or plain lines."""

import io

import keras
import numpy as np
import pytest
from keras import layers

from tfprune.pruning import progress
from tfprune.pruning.progress import Progress
from tfprune.pruning.pruner import prune
from tfprune.pruning.schedules import Schedule


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    time = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: time[0])
    return time


def test_plain_lines_from_the_fourth_second_on(clock):
    stream = io.StringIO()
    with Progress(stream=stream) as shown:
        shown.at("scoring", 0, 10)
        clock[0] += 2.9
        shown.at("scoring", 1, 10)
        assert stream.getvalue() == ""
        clock[0] += 0.2
        shown.at("scoring", 2, 10)
        clock[0] += 14
        shown.at("scoring", 3, 10)
        clock[0] += 2
        for _ in shown.batches([1, 2]):
            clock[0] += 16
        shown.at("looking for paths", 6, note="5 weights kept")
    assert stream.getvalue().splitlines() == [
        "pruning, scoring: step 3 of 10",
        "pruning, scoring: step 4 of 10, 0 batches read",
        "pruning, scoring: step 4 of 10, 1 batches read",
        "pruning, looking for paths: step 7, 5 weights kept",
    ]


def test_a_bar_on_a_terminal(clock):
    stream = Terminal()
    with Progress(stream=stream) as shown:
        for step in range(5):
            shown.at("scoring", step, 5)
            clock[0] += 2
        assert "pruning, scoring" in stream.getvalue() and "4/5" in stream.getvalue()
    assert stream.getvalue().endswith("\r")  # the bar is gone


@pytest.fixture(scope="module")
def network():
    model = keras.Sequential([keras.Input((9,)), layers.Dense(30, "relu"), layers.Dense(3)])
    rng = np.random.default_rng(0)
    return model, (rng.normal(size=(30, 9)).astype("f4"), rng.integers(0, 3, 30))


@pytest.mark.parametrize("pruning_type", ["direct", "effective"])
@pytest.mark.parametrize("verbose", [0, 1, False, True])
def test_pruning_tells_rounds_and_search(network, pruning_type, verbose, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SILENT_SECONDS", 0)
    monkeypatch.setattr(progress, "SECONDS_PER_LINE", 0)
    model, data = network
    options = {"data": data, "batch_size": 10, "schedule": Schedule(4)}
    prune(model, "snip", 0.9, pruning_type, verbose=verbose, **options)
    lines = capsys.readouterr().err.splitlines()
    assert bool(lines) == bool(verbose)
    if verbose:
        assert "pruning, scoring by snip: step 1 of 4" in lines
        assert "pruning, scoring by snip: step 4 of 4" in lines
        assert "pruning, scoring by snip: step 2 of 4, 2 batches read" in lines
        assert any("looking for paths" in line for line in lines) == (pruning_type == "effective")


def test_short_calls_are_silent(network, capsys):
    prune(network[0], "magnitude", 0.5)
    assert capsys.readouterr().err == ""
