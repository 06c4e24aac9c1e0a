"""What a training shows: a bar on a terminal or in a notebook, lines elsewhere, nothing where it is to be quiet."""

import io
import sys
import types

import pytest

from tfprune.cli import progress as module
from tfprune.cli.progress import ProgressBar
from tfprune.training.session import Progress

NUMBERS = {"train loss": 1.25, "train error": 0.5, "test accuracy": 0.4}


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def _shown(stream, monkeypatch, **how):
    monkeypatch.setattr(module, "_SECONDS_PER_LINE", -1.0)
    monkeypatch.setenv("COLUMNS", "300")
    bar = ProgressBar(stream, **how)
    bar.say("reading")
    bar.start("level 3 of 5", "20 of 100 weights, sparsity 0.8000")
    for step in (40, 60):
        bar.progress(Progress(step, 100, NUMBERS, 1000.0))
    bar.end("test accuracy 0.4000")
    return stream.getvalue()


@pytest.mark.parametrize("stream", [_Terminal(), io.StringIO()], ids=["terminal", "file"])
def test_numbers_that_matter_are_shown(stream, monkeypatch):
    text = _shown(stream, monkeypatch)
    assert "level 3 of 5: 20 of 100 weights, sparsity 0.8000\n" in text
    assert "train loss 1.250, train error 0.5000, test accuracy 0.4000, 20 of 100 weights, sparsity 0.8000" in text
    assert "60/100" in text and "left" in text
    assert ("\r" in text) == stream.isatty()
    assert text.startswith("reading\n")
    assert text.rstrip().splitlines()[-1].endswith("level 3 of 5: test accuracy 0.4000, 0 s")
    if not stream.isatty():
        assert "level 3 of 5: step 60/100, train loss" in text and "40 s left" in text


def test_quiet_says_nothing(monkeypatch):
    assert _shown(_Terminal(), monkeypatch, quiet=True) == ""


def test_a_bar_ends_with_its_training(monkeypatch):
    stream = _Terminal()
    bar = ProgressBar(stream)
    bar.progress(Progress(100, 100, NUMBERS, 1.0))
    assert bar._bar is None
    bar.progress(Progress(1, 2, {}, 1.0))
    bar.start("the next")
    assert bar._bar is None


def test_notebooks_have_their_own_bar(monkeypatch):
    class ZMQInteractiveShell:
        pass

    assert module._notebook_bars() is None
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=ZMQInteractiveShell))
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    assert module._notebook_bars() is None
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: object())
    assert module._notebook_bars().__module__ == "tqdm.notebook"
