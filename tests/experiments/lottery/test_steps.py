"""Steps are ordered within one length of an epoch, and refuse what they cannot mean."""

import pytest

from tfprune.errors import InputError
from tfprune.experiments.lottery.steps import (
    Step,
    check_step,
    check_steps,
    iterations_per_epoch,
    level_ranges,
    parse_steps,
)


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
        check_step("0ep-1it")


def test_syntax_alone():
    check_step("2ep3it")
    check_steps("80ep,1000it")
    with pytest.raises(InputError, match=r"^--lr_steps: a step is written 160ep.*Received: '5'$"):
        check_steps("80ep,5", "--lr_steps")


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
        level_ranges(text)
