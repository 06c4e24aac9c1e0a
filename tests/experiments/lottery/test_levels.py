"""Branches of lottery runs on digits."""

from dataclasses import replace

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.experiments.lottery.branches import (
    BRANCHES,
    RandomlyPruneArguments,
    RandomlyReinitializeArguments,
    RetrainArguments,
    load_plan,
)
from tfprune.experiments.lottery.files import read_log, read_mask, read_weights
from tfprune.experiments.lottery.levels import run_branch
from tfprune.experiments.lottery.recipe import run_lottery
from tfprune.experiments.lottery.requests import BranchRequest, LotteryRequest
from tfprune.experiments.lottery.results import read_results

HIDDEN = ("fc_layers.0/kernel", "fc_layers.1/kernel")


@pytest.fixture
def trunk(workshop, description, options, silent):
    """A lottery run of three levels: (its request, a function that runs a branch of it and gives the request)."""
    request = LotteryRequest(options(), description(), 2)
    run_lottery(request, workshop, silent())

    def branch(name, arguments, levels=(1, 2), **changes):
        asked = BranchRequest(options(**changes), request.description, name, arguments, levels)
        run_branch(asked, workshop, silent())
        return asked

    return request, branch


def _main(request, level):
    return request.description.folder(request.options.root, request.options.replicate, level)


@pytest.mark.parametrize("strategy", ["global", "layerwise", "even"])
def test_random_masks_are_as_dense(trunk, strategy):
    request, branch = trunk
    asked = branch("randomly_prune", RandomlyPruneArguments(seed=5, strategy=strategy))
    for level in (1, 2):
        own, other = read_mask(_main(request, level)), read_mask(asked.folder_of(level))
        kept, drawn = ({path: int(mask[path].sum()) for path in HIDDEN} for mask in (own, other))
        assert other["fc/kernel"].all()
        assert not any(np.array_equal(own[path], other[path]) for path in HIDDEN)
        if strategy == "layerwise":
            assert drawn == kept
        elif strategy == "global":
            assert sum(drawn.values()) == sum(kept.values())
        else:
            densities = [drawn[path] / other[path].size for path in HIDDEN]
            assert abs(densities[0] - densities[1]) < 0.005
            assert abs(sum(drawn.values()) - sum(kept.values())) <= 1
        first, start = (read_weights(folder, "ep0_it0") for folder in (_main(request, 0), asked.folder_of(level)))
        for path in HIDDEN:
            np.testing.assert_array_equal(start[path], first[path] * other[path])


def test_random_masks_follow_seed_replicate_and_level(trunk):
    _, branch = trunk
    masks = {
        seed: [
            read_mask(branch("randomly_prune", RandomlyPruneArguments(seed=seed)).folder_of(level))[HIDDEN[0]]
            for level in (1, 2)
        ]
        for seed in (1, 2)
    }
    assert not np.array_equal(masks[1][0], masks[2][0])
    assert (masks[1][1] & ~masks[1][0]).any()  # another draw, not a part of the last one


def test_new_weights_under_the_same_masks(trunk):
    request, branch = trunk
    asked = branch("randomly_reinitialize", RandomlyReinitializeArguments(), (2,))
    other = branch("randomly_reinitialize", RandomlyReinitializeArguments(seed=4), (2,))
    own, drawn, again = (
        read_weights(folder, "ep0_it0") for folder in (_main(request, 2), asked.folder_of(2), other.folder_of(2))
    )
    mask = read_mask(_main(request, 2))
    for path in HIDDEN:
        np.testing.assert_array_equal(read_mask(asked.folder_of(2))[path], mask[path])
        assert ((drawn[path] != 0) == mask[path]).all()
        assert not (drawn[path] == own[path])[mask[path]].any()
        assert not (drawn[path] == again[path])[mask[path]].any()


def test_retraining_alike_gives_the_same_weights_and_otherwise_others(trunk):
    request, branch = trunk
    made = request.description
    alike = branch("retrain", RetrainArguments(made.dataset, made.training), (1,))
    longer = replace(made.training, training_steps="3ep", lr=0.05)
    other = branch("retrain", RetrainArguments(made.dataset, longer), (1,))
    own, same = (read_weights(folder, "ep2_it0") for folder in (_main(request, 1), alike.folder_of(1)))
    assert all(np.array_equal(own[path], same[path]) for path in own)
    assert [step for step, _ in read_log(other.folder_of(1)).get("test_loss")] == [0, 12, 24, 36]


def test_levels_that_were_not_run(trunk):
    _, branch = trunk
    with pytest.raises(InputError, match=r"level 3 of .* has not been run; finished levels: 0, 1, 2\. Run first"):
        branch("randomly_reinitialize", RandomlyReinitializeArguments(), (1, 3))


def test_finished_branches_stay_and_overwrite_redoes_them(trunk):
    _, branch = trunk
    asked = branch("randomly_reinitialize", RandomlyReinitializeArguments(), (1,))
    path = asked.folder_of(1) / "model_ep2_it0.npz"
    before = path.stat().st_mtime_ns, path.read_bytes()
    branch("randomly_reinitialize", RandomlyReinitializeArguments(), (1,))
    assert path.stat().st_mtime_ns == before[0]
    branch("randomly_reinitialize", RandomlyReinitializeArguments(), (1,), overwrite=True)
    assert path.stat().st_mtime_ns != before[0] and path.read_bytes() == before[1]


def test_results_name_the_branch(trunk):
    request, branch = trunk
    branch("randomly_prune", RandomlyPruneArguments(seed=5, strategy="even"), (1,))
    table = read_results(_main(request, 0).parents[2])
    assert list(zip(table["branch"], table["level"], strict=True)) == [
        *(("main", level) for level in range(3)),
        ("randomly_prune seed=5 strategy=even", 1),
    ]


@pytest.mark.parametrize("name", BRANCHES)
def test_every_branch_can_be_loaded(name):
    assert callable(load_plan(name))
