"""Steps are ordered within one length of an epoch, and refuse what they cannot mean."""

import pytest

from tfprune.errors import InputError
from tfprune.experiments.lottery.settings import AblationSettings
from tfprune.experiments.lottery.steps import STEP, STEPS, Step, is_zero, iterations_per_epoch, parse_steps


def test_order_text_and_hash():
    early, late = Step.parse("1ep", 100), Step.parse("120it", 100)
    assert early < late <= Step(120, 100) and late > early
    assert len({late, Step.parse("1ep20it", 100)}) == 1
    assert (str(late), late.ep, late.it) == ("ep1_it20", 1, 20)
    assert early != 100


def test_steps_of_other_epochs_do_not_compare():
    for compare in (lambda a, b: a == b, lambda a, b: a < b, lambda a, b: a >= b):
        with pytest.raises(ValueError, match="100 and 391 iterations per epoch"):
            compare(Step(5, 100), Step(5, 391))


def test_before_the_start():
    assert Step.parse("2ep-3it", 100).iteration == 197
    with pytest.raises(InputError, match="iteration >= 0"):
        Step.parse("1ep-101it", 100)
    with pytest.raises(InputError, match="before the start"):
        is_zero("0ep-1it")


def test_syntax_alone():
    (_, is_step), (_, are_steps) = STEP, STEPS
    assert is_step("2ep3it") and are_steps("80ep,1000it")
    assert not is_step("5") and not is_step("99999999999it") and not are_steps("80ep,5")
    with pytest.raises(InputError, match=r"^a step is written 160ep.*Received: '5'$"):
        Step.parse("5", 100)


def test_names_of_files():
    assert Step.of_file(str(Step.parse("2ep3it", 100)), 100) == Step.parse("203it", 100)


def test_lists():
    assert [step.iteration for step in parse_steps("1ep,50it", 100)] == [100, 50]
    assert parse_steps(None, 100) == ()


@pytest.mark.parametrize(
    ("examples", "batch", "fraction", "expected"),
    [(100, 50, None, 2), (101, 50, None, 3), (10, 50, None, 1), (100, 1, 0.07, 7), (101, 1, 0.5, 51)],
)
def test_iterations_per_epoch(examples, batch, fraction, expected):
    assert iterations_per_epoch(examples, batch, fraction) == expected


@pytest.mark.parametrize("text", ["", "a", "1,", "-1", "1-", "1-2-3", " 1", "01", "1.5", "99999"])
def test_wrong_levels(text):
    with pytest.raises(InputError, match=r"^--levels must be numbers and ranges such as 0-2,5\. Received: "):
        AblationSettings(text)
