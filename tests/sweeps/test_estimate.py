"""The time that is left: judged by runs that are like those to come."""

import pytest

from tfprune.sweeps.estimate import Times, duration


def test_nothing_is_known_before_a_run_has_finished():
    assert Times([]).left([{"x": 1}], 2).seconds is None
    assert Times([]).left([], 2).seconds == 0


def test_runs_are_judged_by_the_setting_that_explains_their_times():
    finished = [
        ({"network": network, "sample": sample}, seconds + 0.1 * sample)
        for network, seconds in (("small", 1.0), ("large", 100.0))
        for sample in (0, 1, 2)
    ]
    times = Times(finished)
    assert times.grouped_by == ("network",)
    assert times.of({"network": "small", "sample": 3}) == pytest.approx(1.1)
    assert times.of({"network": "large", "sample": 3}) == pytest.approx(100.1)
    assert times.of({"network": "other", "sample": 3}) == pytest.approx(50.6)  # the median of all: (1.2 + 100) / 2
    left = times.left([{"network": "large", "sample": 3}] * 4 + [{"network": "small", "sample": 3}], 2)
    assert left.seconds == pytest.approx((4 * 100.1 + 1.1) / 2) and left.runs == 6


def test_two_settings_where_one_does_not_do():
    finished = [({"a": a, "b": b, "s": s}, float(10**a * 3**b)) for a in (0, 1) for b in (0, 3) for s in (0, 1, 2)]
    assert Times(finished).grouped_by == ("a", "b")
    assert Times(finished).of({"a": 1, "b": 3, "s": 9}) == 270


def test_settings_that_say_nothing_are_left_out():
    finished = [
        ({"a": a, "s": s}, seconds) for a, s, seconds in ((0, 0, 5), (0, 1, 6), (1, 0, 6), (1, 1, 5), (2, 0, 6))
    ]
    assert Times(finished).grouped_by == ()
    assert Times(finished).of({"a": 0, "s": 0}) == 6


def test_a_first_run_that_loads_everything_does_not_weigh():
    assert Times([({"x": x}, 30.0 if x == 0 else 1.0) for x in range(9)]).of({"x": 10}) == 1


def test_never_shorter_than_the_longest_run():
    times = Times([({"x": x}, 60.0 if x else 6.0) for x in (0, 0, 0, 1, 1, 1)])
    assert times.left([{"x": 1}, {"x": 0}], 64).seconds == 60


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (89, "89 s"), (600, "10 min"), (9000, "2.5 h"), (86400 * 5, "5.0 days")]
)
def test_as_people_say_it(seconds, text):
    assert duration(seconds) == text
