"""Names of runs follow from what differs from the defaults, and stay when settings are added."""

from dataclasses import dataclass, replace

import pytest

from tfprune.errors import InputError
from tfprune.experiments.lottery.branches import RandomlyPruneSettings, RetrainSettings
from tfprune.experiments.lottery.defaults import default_settings
from tfprune.experiments.lottery.names import branch_label, branch_name
from tfprune.experiments.lottery.settings import OneshotSettings, PlaceSettings, TrainingSettings
from tfprune.records.settings import canonical, setting

LENET = default_settings("mnist_lenet_300_100")


def test_pinned_digests():
    assert LENET.name() == "lottery_184ace1d6901ace6854b0a595cbd6b27"
    assert LENET.plain().name() == "train_574e51abc295d8da78175b320504f2ba"
    oneshot = OneshotSettings("snip10", 0.75, prune_highest=True)
    assert canonical(oneshot) == "Hparams(prune_fraction=0.75, prune_highest=True, strategy='snip10')"
    assert branch_name("oneshot", oneshot) == "branch_oneshot_237958348fc0ae7976576d7556ca9685"


def test_a_new_setting_with_a_default_leaves_names_as_they_are():
    @dataclass(frozen=True)
    class Wider(TrainingSettings):
        label_smoothing: float = setting(float, "Not there yet.", 0.0)

    wider = Wider("sgd", 0.1, "40ep")
    assert replace(LENET, training=wider).name() == LENET.name()
    assert replace(LENET, training=replace(wider, label_smoothing=0.1)).name() != LENET.name()


def test_own_settings_enter_names_only_when_changed():
    assert "precision" not in LENET.canonical() and "pruning_count" not in LENET.canonical()
    half = replace(LENET, training=replace(LENET.training, precision="mixed_float16"))
    assert "precision='mixed_float16'" in half.canonical()


def test_folders():
    train, name = LENET.plain(), LENET.name()
    first, second = (PlaceSettings("runs", replicate) for replicate in (1, 2))
    assert str(LENET.folder(second, 3)) == f"runs/{name}/replicate_2/level_3/main"
    assert str(LENET.folder(second, "pretrain")) == f"runs/{name}/replicate_2/level_pretrain/main"
    branch = branch_name("randomly_prune", RandomlyPruneSettings(1))
    assert str(LENET.folder(first, 0, branch)) == f"runs/{name}/replicate_1/level_0/{branch}"
    assert str(train.folder(first)) == f"runs/{train.name()}/replicate_1/main"


def test_rewinding_to_the_start_is_no_rewinding():
    assert LENET.rewinding_to("0ep") == LENET.rewinding_to(None) == LENET
    assert LENET.rewinding_to("2ep").rewinding_to("0it") == LENET
    assert LENET.start_step(469).iteration == 0
    assert LENET.rewinding_to("2ep").start_step(469).iteration == 938


def test_half_a_pretraining_is_refused():
    with pytest.raises(InputError, match="pretraining needs"):
        replace(LENET, pretrain_dataset=LENET.dataset)


def test_retraining_is_named_by_its_groups():
    assert canonical(RetrainSettings(LENET.dataset, LENET.training)) == (
        "Hparams(retrain_d=Hparams(batch_size=128, dataset_name='mnist'), "
        "retrain_t=Hparams(lr=0.1, optimizer_name='sgd', training_steps='40ep'))"
    )


def test_labels():
    assert branch_label("randomly_prune", RandomlyPruneSettings(7), LENET) == "randomly_prune seed=7"
    oneshot = OneshotSettings("grasp10", 0.5, prune_highest=True)
    assert branch_label("oneshot", oneshot, LENET) == "oneshot strategy=grasp10 prune_highest=True"
    assert branch_label("oneshot", replace(oneshot, prune_fraction=0.9), LENET) == branch_label(
        "oneshot", oneshot, LENET
    )
    retrain = RetrainSettings(LENET.dataset, replace(LENET.training, lr=0.5, momentum=0.9))
    assert branch_label("retrain", retrain, LENET) == "retrain lr=0.5 momentum=0.9"
