"""Sparsity from step to step of a training."""

import math

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.pruning.own_schedule import OwnSchedule
from tfprune.pruning.training_schedules import (
    ConstantSchedule,
    ExponentialSchedule,
    OneCycleSchedule,
    PolynomialSchedule,
)
from tfprune.training.regrowth import RigL


def _course(schedule):
    return {step: schedule.at(step) for step in schedule.renewals}


def test_curves_by_hand():
    assert _course(PolynomialSchedule(0.8, 0, 30, 10)) == pytest.approx(
        {10: 0.8 * (1 - (2 / 3) ** 3), 20: 0.8 * (1 - (1 / 3) ** 3), 30: 0.8}
    )
    assert _course(PolynomialSchedule(0.9, 2, 6, 2, 0.5, 1)) == pytest.approx({2: 0.5, 4: 0.7, 6: 0.9})
    assert _course(ExponentialSchedule(0.999, 0, 3, 1)) == pytest.approx({1: 0.9, 2: 0.99, 3: 0.999})
    assert _course(ExponentialSchedule(0.99, 1, 3, 1, 0.75)) == pytest.approx({1: 0.75, 2: 0.95, 3: 0.99})
    half = 0.8 * (1 + math.exp(-8)) / 2  # p = 3 / 7 is where α · p = β
    found = _course(OneCycleSchedule(0.8, 0, 7, 3 + 4))
    assert found == {7: pytest.approx(0.8)}
    assert OneCycleSchedule(0.8, 0, 7, 1).at(3) == pytest.approx(half)
    assert _course(ConstantSchedule(0.5)) == {1: 0.5}
    assert _course(ConstantSchedule(0.5, 4, 8, 2)) == {4: 0.5, 6: 0.5, 8: 0.5}
    assert _course(OwnSchedule(lambda step: step / 10, end_step=8, frequency=4)) == {4: 0.4, 8: 0.8}
    by_progress = OwnSchedule(lambda part: part / 2, of="progress", frequency=10).fixed(40)
    assert _course(by_progress) == {10: 0.125, 20: 0.25, 30: 0.375, 40: 0.5}


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (PolynomialSchedule(0.9), (0, 100, 10)),
        (PolynomialSchedule(0.9, begin=0.1, end=0.75), (20, 150, 13)),
        (PolynomialSchedule(0.9, 20, frequency=7), (20, 97, 7)),
        (PolynomialSchedule(0.9, frequency=50, end=0.6), (0, 100, 50)),
        (OneCycleSchedule(0.9), (0, 200, 20)),
        (ExponentialSchedule(0.9, 3, 13, 5), (3, 13, 5)),
    ],
)
def test_fractions_of_a_training_of_200_steps(schedule, expected):
    fixed = schedule.fixed(200)
    assert (fixed.begin_step, fixed.end_step, fixed.frequency) == expected
    assert fixed.at(fixed.renewals[-1]) == pytest.approx(0.9)
    assert ConstantSchedule(0.9, begin=0.25).fixed(200).renewals == (50,)


def test_steps_may_be_numbers_of_numpy():
    end = np.ceil(1000 / 32).astype(np.int32) * 2  # as tfmot's tutorials count them
    schedule = PolynomialSchedule(0.8, begin_step=np.int64(4), end_step=end, frequency=np.int32(10))
    assert schedule == PolynomialSchedule(0.8, 4, 64, 10)
    assert list(schedule.renewals) == [4, 14, 24, 34, 44, 54, 64]
    assert all(type(step) is int for step in (*schedule.renewals, schedule.end_step, schedule.frequency))
    assert list(OwnSchedule(abs, end_step=end, frequency=np.int64(30)).renewals) == [30, 60]
    assert list(RigL(0.9, frequency=np.int64(30), end_step=end).renewals) == [30, 60]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: PolynomialSchedule(90), r"\[0, 1\)\. Received: 90; did you mean 0.9\?"),
        (lambda: PolynomialSchedule(0.9, begin=1.0), r"begin must be a fraction of the training, in \[0, 1\)"),
        (lambda: PolynomialSchedule(0.9, end=0.0), r"end must be a fraction of the training, in \(0, 1\]"),
        (lambda: PolynomialSchedule(0.9, 3, begin=0.1), "give begin or begin_step, not both"),
        (lambda: PolynomialSchedule(0.9, 0, 100, end=0.5), "give end or end_step, not both"),
        (lambda: PolynomialSchedule(0.9, begin=0.6, end=0.5), "end must be above begin, 0.6"),
        (lambda: PolynomialSchedule(0.9, 0.5), "begin_step must be a whole number of steps. Received: 0.5"),
        (lambda: PolynomialSchedule(0.9).fixed(None), "number of steps is not known: give it begin_step and"),
        (lambda: PolynomialSchedule(0.9, 300).fixed(200), "begin_step must be below the number of training steps, 200"),
        (lambda: OneCycleSchedule(0.9, alpha=0), "alpha must be above 0"),
        (lambda: OwnSchedule(0.5), "that gives a sparsity. Received: 0.5"),
        (lambda: OwnSchedule(abs, of="steps"), "step, progress. Received: 'steps'; did you mean 'step'"),
        (lambda: OwnSchedule(abs, frequency=2.5), "frequency must be a whole number of steps. Received: 2.5"),
        (lambda: OwnSchedule(abs, frequency=None), "frequency must be a whole number of steps. Received: None"),
        (lambda: OwnSchedule(abs, begin_step="3"), "begin_step must be a whole number of steps. Received: '3'"),
        (lambda: OwnSchedule(abs, end_step=-3), "end_step must be at least 1. Received: -3"),
        (lambda: OwnSchedule(float).at(100), r"schedule float must give a sparsity in \[0, 1\); at step 100 it gave"),
    ],
)
def test_what_is_refused(make, told):
    with pytest.raises(InputError, match=told):
        make()
