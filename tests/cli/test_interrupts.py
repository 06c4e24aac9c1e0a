"""Ctrl-C where Python or TensorFlow would lose it."""

import signal
import sys
import time
import warnings

import pytest
from absl import flags

from tfprune.cli import app
from tfprune.cli.interrupts import prompt_interrupts


class _Interrupted:
    """Ctrl-C comes while it is being destroyed."""

    def __del__(self):
        signal.raise_signal(signal.SIGINT)


def _work(seconds=10.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.001)


def test_in_a_destructor():
    hook, handler = sys.unraisablehook, signal.getsignal(signal.SIGINT)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), prompt_interrupts():
        thing = _Interrupted()
        del thing  # Python prints that it was ignored, and goes on
        _work()
    assert time.monotonic() - began < 9  # it did not just come to its end
    assert sys.unraisablehook is hook and signal.getsignal(signal.SIGINT) is handler


def test_lost_again_and_again():
    things, lost = [], []
    with pytest.raises(KeyboardInterrupt), prompt_interrupts():
        things += [_Interrupted() for _ in range(5)]
        while things:
            things.pop()
            lost.append(1)
        _work()
    assert len(lost) == 5


def test_made_another_error_by_who_calls_back():
    with pytest.raises(KeyboardInterrupt), prompt_interrupts():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise RuntimeError("UnknownError: KeyboardInterrupt") from None


def test_other_errors_and_plain_interrupts_pass():
    with pytest.raises(RuntimeError, match="own"), prompt_interrupts():
        raise RuntimeError("own")
    with pytest.raises(KeyboardInterrupt), prompt_interrupts():
        signal.raise_signal(signal.SIGINT)


def test_other_ignored_errors_are_still_told(capsys):
    class Faulty:
        def __del__(self):
            raise ValueError("in a destructor")

    told = []
    kept, sys.unraisablehook = sys.unraisablehook, told.append
    try:
        with prompt_interrupts():
            thing = Faulty()
            del thing
    finally:
        sys.unraisablehook = kept
    assert [str(event.exc_value) for event in told] == ["in a destructor"]


def test_an_entry_point_ends_with_its_own_code(capsys, monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # entry points change it for good

    def interrupted(values):
        thing = _Interrupted()
        del thing
        _work()

    command = app.Command(("train",), "", lambda values: [], lambda values: None, interrupted)
    values = flags.FlagValues()
    flags.DEFINE_bool("debug", False, "As that of every entry point.", flag_values=values)
    with pytest.raises(SystemExit) as end:
        app.run_command([command], "", values, ["train"])
    assert end.value.code == 130
    assert "interrupted; the same command continues" in capsys.readouterr().err
