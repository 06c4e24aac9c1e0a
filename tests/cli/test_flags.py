"""Settings as flags: what a command line says, what it shows, and what it refuses."""

from dataclasses import dataclass

import numpy as np
import pytest
from absl import flags

from tfprune.cli import flags as setting_flags
from tfprune.cli.words import parse
from tfprune.errors import InputError
from tfprune.records.settings import Settings, setting


@dataclass(frozen=True)
class Training(Settings):
    title = "How to train"

    name: str = setting(str, "What it is called.")
    steps: int = setting(int, "Steps.", 10, at_least=1)
    rate: float = setting(float, "Learning rate.", 0.1, above=0)
    optimizer: str = setting(str, "What takes the steps.", "sgd", choices=("sgd", "adam"))
    decay: float | None = setting(float, "Weight decay.", None, at_least=0)
    label: str | None = setting(str, "A text or none.", None)
    augment: bool = setting(bool, "Distort.", False)
    save: bool = setting(bool, "Keep the model.", True, with_value=True)
    scoring: tuple[str, ...] = setting(str, "Scores.", ("l1", "l2"), many=True, choices=("l1", "l2", "gm"))
    drops: tuple[int, ...] = setting(int, "At which steps.", (), many=True, at_least=0)
    shares: tuple[float, ...] | None = setting(float, "Fractions.", None, many=True, at_least=0, below=1)


def _values(*words, without=()):
    values = flags.FlagValues()
    assert setting_flags.define(values, Training, without) == "How to train"
    assert parse(values, ["command", *words]) == []
    return values


def _read(*words, **given):
    return setting_flags.read(_values(*words), Training, **given)


def test_defaults():
    assert _read("--name=a") == Training("a")


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        (["--steps=3", "--rate=1", "--optimizer=adam"], {"steps": 3, "rate": 1.0, "optimizer": "adam"}),
        (["--steps", "3"], {"steps": 3}),
        (["--decay=0.5"], {"decay": 0.5}),
        (["--decay=none"], {}),
        (["--decay=0.5", "--decay="], {}),
        (["--label=x"], {"label": "x"}),
        (["--label=none"], {}),
        (["--augment"], {"augment": True}),
        (["--augment", "--noaugment"], {}),
        (["--save=0"], {"save": False}),
        (["--save", "no"], {"save": False}),
        (["--scoring=gm"], {"scoring": ("gm",)}),
        (["--scoring=gm,l1"], {"scoring": ("gm", "l1")}),
        (["--scoring="], {"scoring": ()}),
        (["--drops=3, 4"], {"drops": (3, 4)}),
        (["--shares=0,0.5"], {"shares": (0.0, 0.5)}),
    ],
)
def test_words(words, changed):
    assert repr(_read("--name=a", *words)) == repr(Training("a", **changed))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "--name must be given: What it is called."),
        (["--name=a", "--steps=0"], "--steps must be a whole number at least 1. Received: 0"),
        (["--name=a", "--steps=x"], "flag --steps=x: invalid literal"),
        (["--name=a", "--steps=1.5"], "flag --steps=1.5: invalid literal"),
        (["--name=a", "--rate=nan"], "--rate must be a number above 0. Received: nan"),
        (
            ["--name=a", "--optimizer=adm"],
            "--optimizer must be one of sgd, adam. Received: 'adm'; did you mean 'adam'?",
        ),
        (["--name=a", "--decay=no"], "--decay=no"),
        (["--name=a", "--save=2"], "--save=2: 0, 1, true and false are allowed, received '2'"),
        (["--name=a", "--scoring=l1,gn"], "--scoring must be one of l1, l2, gm. Received: 'gn'"),
        (["--name=a", "--drops=3,x"], "--drops must be a whole number at least 0. Received: 'x'"),
        (["--name=a", "--drops=3,0.5"], "--drops must be a whole number at least 0. Received: '0.5'"),
        (["--name=a", "--drops=3,-1"], "--drops must be a whole number at least 0. Received: -1"),
        (["--name=a", "--shares=0.5,half"], "--shares must be a number in [0, 1). Received: 'half'"),
        (["--name=a", "--shares=0.5,50"], "--shares must be a number in [0, 1). Received: 50.0; did you mean 0.5?"),
        (["--name=a", "--shares=nan"], "--shares must be a number in [0, 1). Received: nan"),
        (["--name=a", "--stepps=3"], "unknown flag --stepps; the nearest is --steps"),
    ],
)
def test_refused(words, told):
    with pytest.raises(InputError) as error:
        _read(*words)
    assert told in str(error.value) and "\n" not in str(error.value)


def test_what_is_given_goes_before_the_flags():
    assert _read("--name=a", "--steps=3", steps=4) == Training("a", steps=4)
    assert _read(name="b") == Training("b")


def test_flags_that_are_left_out():
    values = _values("--name=a", without=("steps",))
    assert "steps" not in values and "rate" in values
    assert setting_flags.read(values, Training) == Training("a")


def test_help():
    told = _values().module_help("How to train")
    assert "--optimizer: What takes the steps. One of sgd, adam." in told
    assert "Scores. Any of l1, l2, gm." in told and "(default: 'l1,l2')" in told
    assert "--[no]augment: Distort." in told and "--save: Keep the model." in told and "0 or 1" in told
    assert "(number, or none)" in told


def test_calls_from_python():
    values = _values()
    given = {"name": "a", "rate": 1, "scoring": "gm", "drops": np.array([1, 2]), "shares": (0.5, 0), "augment": True}
    setting_flags.give(values, given)
    assert repr(setting_flags.read(values, Training)) == repr(
        Training("a", rate=1.0, scoring=("gm",), drops=(1, 2), shares=(0.5, 0.0), augment=True)
    )
    assert values["rate"].present and not values["steps"].present


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"stepps": 3}, "no setting is called 'stepps'; did you mean 'steps'?"),
        ({"steps": "3"}, "--steps must be a whole number at least 1. Received: '3'"),
        ({"augment": "no"}, "--augment must be yes or no. Received: 'no'"),
        ({"drops": [0.5]}, "--drops must be a whole number at least 0. Received: 0.5"),
        ({"drops": 0.5}, "--drops must be a whole number at least 0. Received: 0.5"),
        ({"shares": "half"}, "--shares must be a number in [0, 1). Received: 'half'"),
    ],
)
def test_calls_from_python_that_are_refused(given, told):
    values = _values()
    with pytest.raises(InputError) as error:
        setting_flags.give(values, {"name": "a", **given})
        setting_flags.read(values, Training)
    assert told in str(error.value)
