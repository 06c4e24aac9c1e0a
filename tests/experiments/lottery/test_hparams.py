"""Hyperparameters that cannot be meant are refused in one line that names the flag."""

from dataclasses import replace

import pytest

from tfprune.errors import InputError
from tfprune.experiments.lottery.branches import RandomlyPruneArguments
from tfprune.experiments.lottery.defaults import default_hparams
from tfprune.experiments.lottery.fields import settings_of
from tfprune.experiments.lottery.oneshot_arguments import OneshotArguments, ScoringStrategy

RUN = default_hparams("cifar_resnet_20")


@pytest.mark.parametrize(
    ("group", "change", "told"),
    [
        ("model", {"model_name": "cifar_resnet_21"}, "the nearest: 20, 26. Received: 21"),
        ("model", {"model_init": "xavier"}, "--model_init must be one of kaiming_normal, kaiming_uniform"),
        ("model", {"batchnorm_init": "ones"}, "--batchnorm_init must be one of uniform, fixed"),
        ("model", {"output_frozen": 1}, "--output_frozen must be of type bool"),
        ("model", {"others_frozen_exceptions": "fc"}, "goes with --others_frozen"),
        ("dataset", {"dataset_name": "svhn"}, "--dataset_name must be one of mnist, cifar10"),
        ("dataset", {"batch_size": 0}, "--batch_size must be at least 1. Received: 0"),
        ("dataset", {"subsample_fraction": 0.0}, r"--subsample_fraction must lie in (0, 1]"),
        ("dataset", {"random_labels_fraction": 1.5}, r"--random_labels_fraction must lie in (0, 1]"),
        ("dataset", {"transformation_seed": -1}, "--transformation_seed must lie in [0, 2**32)"),
        ("training", {"optimizer_name": "rmsprop"}, "--optimizer_name must be one of sgd, adam"),
        ("training", {"lr": 0.0}, "--lr must be above 0"),
        ("training", {"lr": float("nan")}, "--lr must be above 0. Received: nan"),
        ("training", {"momentum": 1.0}, "--momentum must lie in [0, 1)"),
        ("training", {"nesterov_momentum": 0.9}, "--momentum and --nesterov_momentum exclude each other"),
        ("training", {"optimizer_name": "adam"}, "--momentum goes with --optimizer_name=sgd"),
        ("training", {"training_steps": "160"}, "--training_steps: a step is written 160ep"),
        ("training", {"milestone_steps": "80ep;90ep"}, "--milestone_steps: a step is written"),
        ("training", {"milestone_steps": None}, "--gamma needs --milestone_steps"),
        ("training", {"gamma": None}, "--milestone_steps needs --gamma"),
        ("training", {"warmup_steps": "x"}, "--warmup_steps: a step"),
        ("training", {"weight_decay": -1.0}, "--weight_decay must be at least 0"),
        ("training", {"precision": "float16"}, "--precision must be one of float32, mixed_float16"),
        ("pruning", {"pruning_strategy": "magic"}, "--pruning_strategy must be one of sparse_global"),
        ("pruning", {"pruning_fraction": 1.0}, "--pruning_fraction must lie in (0, 1)"),
        ("pruning", {"pruning_count": "some"}, "--pruning_count must be one of exact, published"),
        ("pruning", {"pruning_layers_to_ignore": "fc', x='"}, "--pruning_layers_to_ignore must be names"),
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
        replace(default_hparams("imagenet_resnet_18"), dataset=digits)
    with pytest.raises(InputError, match="--training_steps must be above 0"):
        replace(RUN, training=replace(RUN.training, training_steps="0ep"))


def test_whole_numbers_count_as_decimals():
    assert replace(RUN.training, lr=1) == replace(RUN.training, lr=1.0)
    assert repr(replace(RUN.training, lr=1).lr) == "1.0"


def test_every_setting_explains_itself():
    groups = [RUN.model, RUN.dataset, RUN.training, RUN.pruning, OneshotArguments, RandomlyPruneArguments]
    for group in groups:
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
    assert ScoringStrategy.parse(text) == ScoringStrategy(score, examples)


@pytest.mark.parametrize("text", ["", "snip0", "snip-1", "synflow10", "Snip", "fisher", "snip 10"])
def test_unknown_strategies(text):
    with pytest.raises(InputError, match=r"random, magnitude, synflow, snipN, graspN, graspabsN .*Received: "):
        ScoringStrategy.parse(text)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"prune_fraction": 1.0}, "--prune_fraction must lie in"),
        ({"prune_iterations": 0}, "--prune_iterations must be at least 1"),
        ({"prune_step": "5"}, "--prune_step: a step"),
        ({"state_step": "ep"}, "--state_step: a step"),
        ({"strategy": "x"}, "--strategy must be one of"),
    ],
)
def test_wrong_oneshot_arguments(change, told):
    with pytest.raises(InputError) as caught:
        OneshotArguments(**{"strategy": "snip10", "prune_fraction": 0.5} | change)
    assert told in str(caught.value)


def test_wrong_branch_arguments():
    with pytest.raises(InputError, match="--strategy must be one of global, layerwise, even"):
        RandomlyPruneArguments(seed=1, strategy="random")
    with pytest.raises(InputError, match="--seed must lie in"):
        RandomlyPruneArguments(seed=-1)
