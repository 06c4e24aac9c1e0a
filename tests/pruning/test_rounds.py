"""How often a round is scored, and that what a score must not be is refused in every round."""

from itertools import pairwise

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.layers.masks import Masks
from tfprune.pruning.rounds import Rounds
from tfprune.pruning.schedules import Schedule
from tfprune.pruning.shares import GlobalShare

START = Masks({"a": np.ones((20, 30), bool), "b": np.ones((30, 10), bool)})
SHARE = GlobalShare({path: mask.shape for path, mask in START.items()})
DENSITIES = Schedule(rounds=5).densities(0.1)  # kept: 568, 359, 227, 143, 90


class Counted:
    """Random scores that depend on the round; notes which rounds were asked for."""

    def __init__(self, bad: tuple[int, float] | None = None):
        self.rounds: list[int] = []
        self._bad = bad

    def __call__(self, masks, number):
        self.rounds.append(number)
        rng = np.random.default_rng(number)
        scores = {path: rng.random(mask.shape, np.float32) * mask for path, mask in masks.items()}
        if self._bad and self._bad[0] == number:
            scores["b"][np.nonzero(masks["b"])[0][0]] = self._bad[1]
        return scores


def test_every_round_is_scored_once_and_the_last_one_kept():
    score = Counted()
    rounds = Rounds(score, SHARE, DENSITIES, START, seed=0)
    nested = [rounds.final, *map(rounds.masks, (100, 120, 142)), *map(rounds.masks, rounds.ends[-2::-1]), START]
    assert score.rounds == [1, 2, 3, 4, 5]
    assert [masks.kept for masks in nested] == [90, 100, 120, 142, 143, 227, 359, 568, 900]
    assert all(fewer & more == fewer for fewer, more in pairwise(nested))


def test_an_earlier_round_is_scored_again_once():
    score = Counted()
    rounds = Rounds(score, SHARE, DENSITIES, START, seed=0)
    between = [rounds.masks(kept) for kept in (227, 250, 300, 359)]
    assert score.rounds == [1, 2, 3, 4, 3]
    assert all(fewer & more == fewer for fewer, more in pairwise(between))


@pytest.mark.parametrize("number", [1, 3, 5])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_must_be_finite_in_every_round(number, value):
    with pytest.raises(InputError, match="scores of kernel 'b' are not finite"):
        assert Rounds(Counted((number, value)), SHARE, DENSITIES, START, seed=0).final
