"""Settings that cannot be meant are refused in one line that names the flag."""

from dataclasses import replace

import pytest

from tfprune.errors import InputError
from tfprune.experiments.lottery import settings as groups
from tfprune.experiments.lottery.branches import RandomlyPruneSettings
from tfprune.experiments.lottery.defaults import default_settings
from tfprune.experiments.lottery.settings import OneshotSettings, Scoring, scoring
from tfprune.records.settings import Settings, settings_of

RUN = default_settings("cifar_resnet_20")


@pytest.mark.parametrize(
    ("group", "change", "told"),
    [
        ("model", {"model_name": "cifar_resnet_21"}, "the nearest: 20, 26. Received: 21"),
        ("model", {"model_init": "xavier"}, "--model_init must be one of kaiming_normal, kaiming_uniform"),
        ("model", {"batchnorm_init": "ones"}, "--batchnorm_init must be one of uniform, fixed"),
        ("model", {"output_frozen": 1}, "--output_frozen must be yes or no. Received: 1"),
        ("model", {"others_frozen_exceptions": "fc"}, "goes with --others_frozen"),
        ("dataset", {"dataset_name": "svhn"}, "--dataset_name must be one of mnist, cifar10"),
        ("dataset", {"batch_size": 0}, "--batch_size must be a whole number in [1, 1000000]. Received: 0"),
        ("dataset", {"subsample_fraction": 0.0}, "--subsample_fraction must be a number in (0, 1]"),
        ("dataset", {"random_labels_fraction": 1.5}, "--random_labels_fraction must be a number in (0, 1]"),
        ("dataset", {"transformation_seed": -1}, "--transformation_seed must be a whole number in [0, 2**32)"),
        ("training", {"optimizer_name": "rmsprop"}, "--optimizer_name must be one of sgd, adam"),
        ("training", {"lr": 0.0}, "--lr must be a number in (0, inf)"),
        ("training", {"lr": float("nan")}, "--lr must be a number in (0, inf). Received: nan"),
        ("training", {"lr": float("inf")}, "--lr must be a number in (0, inf). Received: inf"),
        ("training", {"momentum": 1.0}, "--momentum must be a number in [0, 1)"),
        ("training", {"nesterov_momentum": 0.9}, "--momentum and --nesterov_momentum exclude each other"),
        ("training", {"optimizer_name": "adam"}, "--momentum goes with --optimizer_name=sgd"),
        ("training", {"training_steps": "160"}, "--training_steps must be a step, written 160ep, 1000it or 2ep3it"),
        (
            "training",
            {"milestone_steps": "80ep;90ep"},
            "--milestone_steps must be steps, separated by commas, ",
        ),
        ("training", {"milestone_steps": None}, "--gamma needs --milestone_steps"),
        ("training", {"gamma": None}, "--milestone_steps needs --gamma"),
        (
            "training",
            {"milestone_steps": "80ep,"},
            "--milestone_steps must be steps, separated by commas, ",
        ),
        ("training", {"training_steps": "0ep-1it"}, "and none before the start. Received: '0ep-1it'"),
        ("training", {"warmup_steps": "x"}, "--warmup_steps must be a step"),
        ("training", {"weight_decay": -1.0}, "--weight_decay must be a number in [0, inf)"),
        ("training", {"precision": "float16"}, "--precision must be one of float32, mixed_float16"),
        ("pruning", {"pruning_strategy": "magic"}, "--pruning_strategy must be one of sparse_global"),
        ("pruning", {"pruning_fraction": 1.0}, "--pruning_fraction must be a number in (0, 1)"),
        ("pruning", {"pruning_count": "some"}, "--pruning_count must be one of exact, published"),
        (
            "pruning",
            {"pruning_layers_to_ignore": "fc', x='"},
            "--pruning_layers_to_ignore must be names, ",
        ),
    ],
)
def test_wrong_values(group, change, told):
    with pytest.raises(InputError) as caught:
        replace(getattr(RUN, group), **change)
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_groups_that_do_not_fit():
    digits = replace(RUN.dataset, dataset_name="digits")
    assert replace(RUN, dataset=digits).dataset.dataset_name == "digits"
    with pytest.raises(InputError, match="--dataset_name=digits has 8x8 pixels"):
        replace(default_settings("imagenet_resnet_18"), dataset=digits)
    with pytest.raises(InputError, match="--training_steps must be above 0"):
        replace(RUN, training=replace(RUN.training, training_steps="0ep"))


def test_whole_numbers_count_as_decimals():
    assert replace(RUN.training, lr=1) == replace(RUN.training, lr=1.0)
    assert repr(replace(RUN.training, lr=1).lr) == "1.0"


def test_every_setting_explains_itself():
    found = [each for each in vars(groups).values() if isinstance(each, type) and issubclass(each, Settings)]
    assert len(found) >= 9
    for group in [*found, RandomlyPruneSettings]:
        for field in settings_of(group):
            assert field.metadata["help"].endswith("."), field.name
            assert field.metadata["kind"] in (str, int, float, bool)


@pytest.mark.parametrize(
    ("text", "score", "examples"),
    [
        ("random", "random", None),
        ("magnitude", "magnitude", None),
        ("synflow", "synflow", None),
        ("snip20", "snip", 20),
        ("snip", "snip", 10),
        ("grasp1", "grasp", 1),
        ("graspabs30", "graspabs", 30),
    ],
)
def test_scoring_strategies(text, score, examples):
    assert scoring(text) == Scoring(score, examples)


@pytest.mark.parametrize("text", ["", "snip0", "snip-1", "synflow10", "Snip", "fisher", "snip 10"])
def test_unknown_strategies(text):
    with pytest.raises(InputError, match=r"random, magnitude, synflow, snipN, graspN, graspabsN .*Received: "):
        OneshotSettings(text, 0.5)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"prune_fraction": 1.0}, "--prune_fraction must be a number in [0, 1)"),
        ({"prune_iterations": 0}, "--prune_iterations must be a whole number at least 1"),
        ({"prune_step": "5"}, "--prune_step must be a step"),
        ({"state_step": "ep"}, "--state_step must be a step"),
        ({"strategy": "x"}, "--strategy must be one of"),
    ],
)
def test_wrong_settings_of_one_shot_pruning(change, told):
    with pytest.raises(InputError) as caught:
        OneshotSettings(**{"strategy": "snip10", "prune_fraction": 0.5} | change)
    assert told in str(caught.value)


def test_wrong_settings_of_branches():
    with pytest.raises(InputError, match="--strategy must be one of global, layerwise, even"):
        RandomlyPruneSettings(seed=1, strategy="random")
    with pytest.raises(InputError, match=r"--seed must be a whole number in \[0, 2\*\*32\)"):
        RandomlyPruneSettings(seed=-1)
