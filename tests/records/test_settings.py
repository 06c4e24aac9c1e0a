"""Settings: what a field takes and what is said where it is given something else; records, digests, differences."""

import dataclasses
import math
import pickle
from dataclasses import dataclass

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.records.limits import MOST, SEED_LIMIT
from tfprune.records.settings import (
    Settings,
    allowed,
    canonical,
    checked,
    digest,
    named,
    refusal,
    setting,
    settings_of,
)


@dataclass(frozen=True)
class Training(Settings):
    name: str = setting(str, "What it is called.")
    steps: int = setting(int, "Steps.", 10, at_least=1, at_most=MOST)
    rate: float = setting(float, "Learning rate.", 0.1, above=0, below=math.inf)
    share: float = setting(float, "A fraction.", 0.5, at_least=0, at_most=1)
    optimizer: str = setting(str, "How.", "sgd", choices=("sgd", "adam"))
    decay: float | None = setting(float, "Weight decay.", None, at_least=0)
    augment: bool = setting(bool, "Distort.", False)
    drops: tuple[int, ...] = setting(int, "At which steps.", (), many=True, at_least=0)
    shares: tuple[float, ...] | None = setting(float, "Fractions.", None, many=True, at_least=0, below=1)
    start: str = setting(str, "Of files.", "a", rule=("the start of a file name", lambda text: "/" not in text))
    seed: int = setting(int, "Seed.", 0, at_least=0, below=SEED_LIMIT, section="Run")
    out: str = setting(str, "Folder.", "runs", place=True)
    kept: int = 7  # no setting

    def check(self):
        if len(self.drops) > self.steps:
            raise InputError("--drops are more than --steps")


def _field(name):
    return next(field for field in settings_of(Training) if field.name == name)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("name", 3, "--name must be text. Received: 3"),
        ("name", None, "--name must be text. Received: None"),
        ("steps", 0, "--steps must be a whole number in [1, 2147483647]. Received: 0"),
        ("steps", 2**31, "--steps must be a whole number in [1, 2147483647]. Received: 2147483648"),
        ("steps", 1.5, "--steps must be a whole number in [1, 2147483647]. Received: 1.5"),
        ("steps", 2.0, "--steps must be a whole number in [1, 2147483647]. Received: 2.0"),
        ("steps", True, "--steps must be a whole number in [1, 2147483647]. Received: True"),
        ("steps", "3", "--steps must be a whole number in [1, 2147483647]. Received: '3'"),
        ("steps", None, "--steps must be a whole number in [1, 2147483647]. Received: None"),
        ("rate", 0, "--rate must be a number in (0, inf). Received: 0.0"),
        ("rate", math.nan, "--rate must be a number in (0, inf). Received: nan"),
        ("rate", math.inf, "--rate must be a number in (0, inf). Received: inf"),
        ("rate", False, "--rate must be a number in (0, inf). Received: False"),
        ("rate", 10**400, "--rate must be a number in (0, inf). Received: 1000000000000"),
        ("share", -1e-9, "--share must be a number in [0, 1]. Received: -1e-09"),
        ("share", math.nan, "--share must be a number in [0, 1]. Received: nan"),
        ("share", 90, "--share must be a number in [0, 1]. Received: 90.0; did you mean 0.9?"),
        ("optimizer", "adm", "--optimizer must be one of sgd, adam. Received: 'adm'; did you mean 'adam'?"),
        ("optimizer", ("sgd",), "--optimizer must be one of sgd, adam. Received: ('sgd',)"),
        ("decay", -1.0, "--decay must be a number at least 0. Received: -1.0"),
        ("decay", math.nan, "--decay must be a number at least 0. Received: nan"),
        ("augment", 1, "--augment must be yes or no. Received: 1"),
        ("augment", "yes", "--augment must be yes or no. Received: 'yes'; without quotes: true or false"),
        ("augment", "perhaps", "--augment must be yes or no. Received: 'perhaps'"),
        ("augment", None, "--augment must be yes or no. Received: None"),
        ("drops", (3, -1), "--drops must be a whole number at least 0. Received: -1"),
        ("drops", (3, 0.5), "--drops must be a whole number at least 0. Received: 0.5"),
        ("drops", (3, None), "--drops must be a whole number at least 0. Received: None"),
        ("drops", None, "--drops must be a whole number at least 0. Received: None"),
        ("drops", {3}, "--drops must be a whole number at least 0. Received: {3}"),
        ("shares", (0.5, 1.0), "--shares must be a number in [0, 1). Received: 1.0"),
        ("shares", (0.5, math.nan), "--shares must be a number in [0, 1). Received: nan"),
        ("shares", np.array([0.5, 25.0]), "--shares must be a number in [0, 1). Received: 25.0; did you mean 0.25?"),
        ("shares", np.zeros((2, 2)), "--shares must be a number in [0, 1). Received: [0.0, 0.0]"),
        ("start", "a/b", "--start must be the start of a file name. Received: 'a/b'"),
        ("start", 0, "--start must be text: the start of a file name. Received: 0"),
        ("seed", 2**32, "[Run] seed must be a whole number in [0, 2**32). Received: 4294967296"),
        ("seed", -1, "[Run] seed must be a whole number in [0, 2**32). Received: -1"),
        ("out", 3, "--out must be text. Received: 3"),
    ],
)
def test_refused(name, value, told):
    with pytest.raises(InputError) as error:
        Training(**{"name": "a", name: value})
    assert str(error.value).startswith(told) and "\n" not in str(error.value)


def test_no_number_takes_nan():
    @dataclass(frozen=True)
    class Free(Settings):
        offset: float = setting(float, "Any number.", 0.0)

    assert Free(math.inf).offset == math.inf
    with pytest.raises(InputError, match=r"--offset must be a number\. Received: nan"):
        Free(math.nan)


def test_what_came_is_shortened():
    for value in ("x" * 500, "a\nb", list(range(1000)), np.zeros(5)):
        with pytest.raises(InputError) as error:
            Training(value, steps=value)
        assert len(str(error.value)) < 300 and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("steps", 1, 1),
        ("steps", MOST, MOST),
        ("steps", np.int64(3), 3),
        ("rate", 1, 1.0),
        ("rate", 1e-300, 1e-300),
        ("rate", np.float32(0.5), 0.5),
        ("share", 0, 0.0),
        ("share", 1, 1.0),
        ("optimizer", np.str_("adam"), "adam"),
        ("decay", None, None),
        ("decay", 0, 0.0),
        ("augment", np.bool_(True), True),
        ("drops", [3, np.int32(4)], (3, 4)),
        ("drops", 3, (3,)),
        ("drops", np.array([3, 4]), (3, 4)),
        ("drops", (), ()),
        ("shares", None, None),
        ("shares", [0, 0.5], (0.0, 0.5)),
        ("shares", np.array([0.25]), (0.25,)),
        ("seed", SEED_LIMIT - 1, SEED_LIMIT - 1),
    ],
)
def test_taken(name, value, taken):
    found = getattr(Training(**{"name": "a", name: value}), name)
    assert repr(found) == repr(taken)  # the kind of a number, too


def test_relations_are_checked_once_every_value_is_good():
    with pytest.raises(InputError, match="--drops are more than --steps"):
        Training("a", steps=2, drops=(1, 2, 3))
    with pytest.raises(InputError, match="--steps must be"):
        Training("a", steps="2", drops=(1, 2, 3))


def test_a_required_setting():
    with pytest.raises(TypeError, match="name"):
        Training()


def test_fields_say_what_they_take_and_how_they_are_called():
    assert [field.name for field in settings_of(Training)][-2:] == ["seed", "out"]
    assert allowed(_field("decay")) == "a number at least 0" and named(_field("seed")) == "[Run] seed"
    words = {
        "a number above 0": {"above": 0},
        "a number at most 0": {"at_most": 0},
        "a number below 0.5": {"below": 0.5},
        "a number in (0, 0.5]": {"above": 0, "at_most": 0.5},
        "a number": {},
    }
    for text, bounds in words.items():
        assert allowed(_lone(float, **bounds)) == text
    assert allowed(_lone(int, at_least=1, at_most=2**40)) == "a whole number in [1, 2**40]"
    assert str(refusal(_field("seed"), "x", "[Run] SEED")) == (
        "[Run] SEED must be a whole number in [0, 2**32). Received: 'x'"
    )


def _lone(kind, **bounds):
    made = dataclasses.make_dataclass("Lone", [("value", kind, setting(kind, "", **bounds))])
    return next(settings_of(made))


def test_a_bound_that_is_zero_is_one():
    assert checked(_lone(float, below=0), -1.0) == -1.0
    with pytest.raises(InputError, match="a number below 0"):
        checked(_lone(float, below=0), 0.0)
    with pytest.raises(InputError, match="a number above 0"):
        checked(_lone(float, above=0), 0.0)


def test_the_record_holds_what_defines_the_results():
    settings = Training("a", shares=(0.5,), out="elsewhere")
    assert settings.record() == {
        "name": "a",
        "steps": 10,
        "rate": 0.1,
        "share": 0.5,
        "optimizer": "sgd",
        "decay": None,
        "augment": False,
        "drops": [],
        "shares": [0.5],
        "start": "a",
        "seed": 0,
    }
    assert settings.record() == Training("a", shares=(0.5,)).record()


def test_what_differs():
    settings = Training("a", drops=(1, 2))
    assert settings.differing(settings.record()) == []
    record = settings.record() | {"drops": [1], "rate": 1.0, "seed": 3}
    assert settings.differing(record) == ["--rate: 1.0 -> 0.1", "--drops: [1] -> [1, 2]", "[Run] seed: 3 -> 0"]


def test_a_key_that_a_record_lacks_is_at_its_default():
    record = Training("a").record()
    del record["augment"], record["shares"], record["rate"]
    assert Training("a").differing(record) == []
    assert Training("a", rate=0.2, augment=True).differing(record) == ["--rate: 0.1 -> 0.2", "--augment: False -> True"]
    del record["name"]  # has no default
    assert Training("a").differing(record) == ["--name: None -> a"]


def test_a_key_that_there_is_no_more_differs():
    assert Training("a").differing({**Training("a").record(), "old": 3}) == ["--old: 3 -> None"]


def test_what_was_changed():
    assert Training("a", steps=10, rate=0.2, out="b").changed() == {"name": "a", "rate": 0.2, "out": "b"}


def test_settings_can_be_sent_compared_and_used_as_keys():
    settings = Training("a", drops=[1, 2], shares=np.array([0.5]))
    again = pickle.loads(pickle.dumps(settings))
    assert again == settings and again.record() == settings.record()
    assert len({settings, again, Training("b")}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.steps = 3
    with pytest.raises(InputError, match="--steps must be"):
        dataclasses.replace(settings, steps=0)


def test_digests_are_pinned():
    assert digest("Hparams(lr=0.1)") == "722f54f9241b377f8ecd15d86a6271bd"
    assert digest({"b": [1, None], "a": 0.5}, 8) == digest({"a": 0.5, "b": (1, None)}, 8) == "bb2044b1"
    assert digest(Training("a").record(), 8) == "5e4b1611"
    assert len(digest("x")) == 32 and digest("x").startswith(digest("x", 8))


def test_the_canonical_text_leaves_defaults_out():
    assert canonical(Training("a")) == "Hparams(name='a')"
    assert canonical(Training("a", rate=1, drops=[3, 4], out="b")) == (
        "Hparams(drops=(3, 4), name='a', out='b', rate=1.0)"
    )


def test_canonical_texts_of_groups_in_groups():
    @dataclass(frozen=True)
    class Whole:
        training: Training
        kind: str = "x"

    assert canonical(Whole(Training("a", steps=3))) == "Hparams(training=Hparams(name='a', steps=3))"
