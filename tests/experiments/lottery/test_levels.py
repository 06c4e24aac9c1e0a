"""Branches of lottery runs on digits."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.experiments.lottery.branches import (
    BRANCHES,
    RandomlyPruneSettings,
    RandomlyReinitializeSettings,
    RetrainSettings,
    load_plan,
)
from tfprune.experiments.lottery.files import read_log, read_mask, read_weights, saved_steps
from tfprune.experiments.lottery.results import read_results
from tfprune.experiments.lottery.settings import PlaceSettings
from tfprune.experiments.lottery.studies import BranchStudy, TicketStudy
from tfprune.records.result import read_result, result_path

HIDDEN = ("fc_layers.0/kernel", "fc_layers.1/kernel")


@pytest.fixture(scope="module")
def run_of_three(settings, trained, tmp_path_factory):
    """A lottery run of three levels; its root is to be copied."""
    return trained(TicketStudy(settings(), PlaceSettings(root=str(tmp_path_factory.mktemp("run"))), 2))


@pytest.fixture
def trunk(run_of_three, place, trained):
    """A copy of that run: (its study, a function that carries out a branch of it and gives the study)."""
    shutil.copytree(run_of_three.place.root, place().root, dirs_exist_ok=True)
    made = replace(run_of_three, place=place())

    def branch(name, own, levels=(1, 2), overwrite=False):
        return trained(BranchStudy(made.settings, place(), own, name, levels), overwrite=overwrite)

    return made, branch


def _main(study, level):
    return study.folder_of(level)


@pytest.mark.parametrize("strategy", ["global", "layerwise", "even"])
def test_random_masks_are_as_dense(trunk, strategy):
    study, branch = trunk
    asked = branch("randomly_prune", RandomlyPruneSettings(seed=5, strategy=strategy))
    for level in (1, 2):
        own, other = read_mask(_main(study, level)), read_mask(asked.folder_of(level))
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
        first, start = (read_weights(folder, "ep0_it0") for folder in (_main(study, 0), asked.folder_of(level)))
        for path in HIDDEN:
            np.testing.assert_array_equal(start[path], first[path] * other[path])


def test_random_masks_follow_seed_replicate_and_level(trunk):
    _, branch = trunk
    masks = {
        seed: [
            read_mask(branch("randomly_prune", RandomlyPruneSettings(seed=seed)).folder_of(level))[HIDDEN[0]]
            for level in (1, 2)
        ]
        for seed in (1, 2)
    }
    assert not np.array_equal(masks[1][0], masks[2][0])
    assert (masks[1][1] & ~masks[1][0]).any()  # another draw, not a part of the last one


def test_new_weights_under_the_same_masks(trunk):
    study, branch = trunk
    asked = branch("randomly_reinitialize", RandomlyReinitializeSettings(), (2,))
    other = branch("randomly_reinitialize", RandomlyReinitializeSettings(seed=4), (2,))
    own, drawn, again = (
        read_weights(folder, "ep0_it0") for folder in (_main(study, 2), asked.folder_of(2), other.folder_of(2))
    )
    mask = read_mask(_main(study, 2))
    for path in HIDDEN:
        np.testing.assert_array_equal(read_mask(asked.folder_of(2))[path], mask[path])
        assert ((drawn[path] != 0) == mask[path]).all()
        assert not (drawn[path] == own[path])[mask[path]].any()
        assert not (drawn[path] == again[path])[mask[path]].any()


def test_retraining_alike_gives_the_same_weights_and_otherwise_others(trunk):
    study, branch = trunk
    made = study.settings
    alike = branch("retrain", RetrainSettings(made.dataset, made.training), (1,))
    longer = replace(made.training, training_steps="3ep", lr=0.05)
    other = branch("retrain", RetrainSettings(made.dataset, longer), (1,))
    own, same = (read_weights(folder, "ep2_it0") for folder in (_main(study, 1), alike.folder_of(1)))
    assert all(np.array_equal(own[path], same[path]) for path in own)
    assert [step for step, _ in read_log(other.folder_of(1)).get("test_loss")] == [0, 12, 24, 36]


def test_results_and_retraining_by_batches_of_another_size(settings, place, trained):
    """The rewinding point is a number of iterations, whatever an epoch has of them."""
    made = trained(TicketStudy(settings().rewinding_to("1ep3it"), place(), 1)).settings
    own = RetrainSettings(replace(made.dataset, batch_size=64), made.training)
    branch = trained(BranchStudy(made, place(), own, "retrain", (1,)))
    assert saved_steps(branch.folder_of(1)) == ["ep0_it15", "ep2_it0"]  # of 23 in an epoch, before of 12
    result = read_result(result_path(branch.folder_of(1)))
    assert (result.label, result.method) == ("retrain batch_size=64, level 1", "retrain batch_size=64")
    assert (result.level, result.seed, result.steps, result.digest) == (1, 1, 46 - 15, made.digest)


def test_levels_that_were_not_run(trunk):
    _, branch = trunk
    with pytest.raises(InputError, match=r"level 3 of .* has not been run; finished levels: 0, 1, 2\. Run first"):
        branch("randomly_reinitialize", RandomlyReinitializeSettings(), (1, 3))


def test_finished_branches_stay_and_overwrite_redoes_them(trunk):
    _, branch = trunk
    asked = branch("randomly_reinitialize", RandomlyReinitializeSettings(), (1,))
    path = asked.folder_of(1) / "model_ep2_it0.npz"
    before = path.stat().st_mtime_ns, path.read_bytes()
    branch("randomly_reinitialize", RandomlyReinitializeSettings(), (1,))
    assert path.stat().st_mtime_ns == before[0]
    branch("randomly_reinitialize", RandomlyReinitializeSettings(), (1,), overwrite=True)
    assert path.stat().st_mtime_ns != before[0] and path.read_bytes() == before[1]


def test_results_name_the_branch(trunk):
    study, branch = trunk
    branch("randomly_prune", RandomlyPruneSettings(seed=5, strategy="even"), (1,))
    table = read_results(_main(study, 0).parents[2])
    assert list(zip(table["branch"], table["level"], strict=True)) == [
        *(("main", level) for level in range(3)),
        ("randomly_prune seed=5 strategy=even", 1),
    ]


@pytest.mark.parametrize("name", BRANCHES)
def test_every_branch_can_be_loaded(name):
    assert callable(load_plan(name))
