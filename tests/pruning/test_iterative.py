"""The order of training and pruning."""

from tfprune.pruning.iterative import iterative_pruning


def _run(levels, done=lambda plan: False):
    told = []

    def train(level, plan):
        told.append(f"train {level} at {plan}")
        return plan * 10

    def prune(level, result, plan):
        told.append(f"prune {result} of {level}")
        return plan - 1

    return list(iterative_pruning(levels, 3, train, prune, done)), told


def test_each_level_is_pruned_from_the_one_before():
    results, told = _run(range(5, 8))
    assert results == [(5, 30), (6, 20), (7, 10)]
    assert told == ["train 5 at 3", "prune 30 of 5", "train 6 at 2", "prune 20 of 6", "train 7 at 1"]


def test_stops_where_nothing_is_left_to_train():
    results, told = _run(range(9), done=lambda plan: plan < 2)
    assert [level for level, _ in results] == [0, 1]
    assert told[-1] == "prune 20 of 1"


def test_nothing_happens_before_a_result_is_asked_for():
    trained = []
    levels = iterative_pruning(range(3), 0, lambda level, plan: trained.append(level), lambda *_: 0)
    next(levels)
    assert trained == [0]
