"""Densities per round."""

from itertools import pairwise

import pytest

from tfprune.errors import InputError
from tfprune.pruning.schedules import ITERATIVE_SNIP, ONE_SHOT, SYNFLOW, Schedule
from tfprune.pruning.training_schedules import PolynomialSchedule


def test_curves_by_hand():
    assert Schedule(3).densities(0.001) == pytest.approx([0.1, 0.01, 0.001])
    assert Schedule(4, "linear").densities(0.2) == pytest.approx([0.8, 0.6, 0.4, 0.2])
    assert ONE_SHOT.densities(0.3) == [0.3]
    assert (SYNFLOW.rounds, ITERATIVE_SNIP.rounds) == (100, 300)


@pytest.mark.parametrize("curve", ["exponential", "linear"])
def test_falls_to_exactly_the_target(curve):
    densities = Schedule(7, curve).densities(0.1)
    assert len(densities) == 7 and densities[-1] == 0.1
    assert all(later < earlier < 1 for earlier, later in pairwise(densities))


@pytest.mark.parametrize("rounds", [0, -1, 2.5, True])
def test_wrong_rounds(rounds):
    with pytest.raises(InputError, match="positive integer; received"):
        Schedule(rounds)


def test_wrong_curve_and_density():
    with pytest.raises(InputError, match="exponential, linear; received 'cosine'"):
        Schedule(2, "cosine")
    with pytest.raises(InputError, match=r"\(0, 1\]"):
        Schedule().densities(0.0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((96_000,), (0, 48_000, 100)),
        ((4250,), (0, 2100, 100)),
        ((60,), (0, 30, 3)),
        ((2,), (0, 1, 1)),
        ((1,), (0, 1, 1)),
        ((2000, 200), (200, 1000, 80)),
        ((2000, 200, 1700), (200, 1700, 100)),
        ((2000, None, 700, 350), (0, 700, 350)),
        ((2000, None, None, 300), (0, 900, 300)),
    ],
)
def test_schedules_within_a_training(given, expected):
    steps, *rest = given
    found = PolynomialSchedule.within(steps, 0.9, *rest)
    assert (found.final, found.initial, found.power) == (0.9, 0.0, 3)
    assert (found.begin_step, found.end_step, found.frequency) == expected


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((1.0, 0, 10, 5), r"the final sparsity must lie in \[0, 1\)\. Received: 1.0"),
        ((0.5, 0, 10, 5, 0.6), r"the initial sparsity must lie in \[0, 0.5\]\. Received: 0.6"),
        ((0.5, -1, 10, 5), "begin_step must be at least 0"),
        ((0.5, 0, 10, 0), "frequency must be at least 1"),
        ((0.5, 10, 10, 5), "end_step must be above begin_step, 10"),
        ((0.5, 3, 10, 8), r"frequency must lie in 1 to 7, the steps from begin_step to end_step\. Received: 8"),
        ((0.5, 3, 10, 5), r"end_step must be begin_step and a multiple of frequency \(3 \+ n·5\)"),
        ((0.5, 0, 10, 5, 0.0, 0), "power must be above 0"),
    ],
)
def test_polynomial_schedules_refuse(arguments, told):
    with pytest.raises(InputError, match=told):
        PolynomialSchedule(*arguments)


def test_a_schedule_ends_within_the_training():
    with pytest.raises(InputError, match=r"end_step must be at most the number of training steps, 50\. Received: 60"):
        PolynomialSchedule.within(50, 0.9, None, 60)
    with pytest.raises(InputError, match=r"frequency must lie in 1 to 25, .* first half of the 50 steps .*: 26"):
        PolynomialSchedule.within(50, 0.9, None, None, 26)
    assert PolynomialSchedule.within(50, 0.9, None, None, 25).end_step == 25
