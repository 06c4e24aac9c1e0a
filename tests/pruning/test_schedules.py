"""Densities per round."""

from itertools import pairwise

import pytest

from tfprune.errors import InputError
from tfprune.pruning.schedules import ITERATIVE_SNIP, ONE_SHOT, SYNFLOW, Schedule


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
