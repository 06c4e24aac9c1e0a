"""Steps, names of runs, defaults and ranges of levels are those of the original."""

import json
from dataclasses import replace

import pytest

from tfprune.errors import InputError
from tfprune.experiments.lottery.branches import RandomlyPruneSettings, RandomlyReinitializeSettings
from tfprune.experiments.lottery.defaults import default_settings
from tfprune.experiments.lottery.names import LotterySettings, branch_name
from tfprune.experiments.lottery.settings import DataSettings, ModelSettings, PruningSettings, TrainingSettings
from tfprune.experiments.lottery.steps import Step, is_zero, iterations_per_epoch, level_ranges
from tfprune.records.settings import canonical

GROUPS = ("model", "dataset", "training", "pruning")
# Hyperparameters that this package does not have.
LEFT_OUT = {"unsupervised_labels", "blur_factor", "apex_fp16"}


@pytest.fixture
def hyperparameters(golden):
    return json.loads((golden / "lottery/hyperparameters.json").read_text())


@pytest.fixture
def steps(golden):
    return json.loads((golden / "lottery/steps.json").read_text())


def test_steps(steps):
    assert len(steps["examples"]) > 80
    for example in steps["examples"]:
        text, epoch = example["text"], example["iterations_per_epoch"]
        if "error" in example:
            with pytest.raises(InputError):
                Step.parse(text, epoch)
        else:
            step = Step.parse(text, epoch)
            assert (step.iteration, step.ep, step.it) == (example["iteration"], example["ep"], example["it"]), text
            assert is_zero(text) == example["is_zero_string"]


def test_iterations_per_epoch(steps):
    for example in steps["iterations_per_epoch"].values():
        if "batch_size" in example:
            found = iterations_per_epoch(example["num_train_examples"], example["batch_size"])
            assert found == example["iterations_per_epoch"]
    half = steps["iterations_per_epoch"]["cifar10_subsample_0.5"]["iterations_per_epoch"]
    assert iterations_per_epoch(50_000, 128, 0.5) == half


def test_defaults(hyperparameters):
    assert len(hyperparameters["defaults"]) == 4
    for name, expected in hyperparameters["defaults"].items():
        settings = default_settings(name)
        record = settings.record()
        for group in GROUPS:
            theirs = {key: value for key, value in expected[group].items() if key not in LEFT_OUT}
            assert theirs.items() <= record[group].items()
        assert settings.pretrain_dataset is settings.pretrain_training is None
        assert settings.canonical() == expected["canonical"]
        assert settings.name() == expected["experiment_name"]


def _described():
    """The runs of the naming examples, in their order: each changes one thing more."""
    run = LotterySettings(
        ModelSettings("cifar_resnet_20", "kaiming_normal", "uniform"),
        DataSettings("cifar10", 128),
        TrainingSettings("sgd", 0.1, "160ep"),
        PruningSettings("sparse_global"),
    )
    yield run
    for change in (
        {"momentum": 0.9},
        {"milestone_steps": "80ep,120ep", "gamma": 0.1},
        {"weight_decay": 1e-4},
        {"warmup_steps": "20ep"},
        {"data_order_seed": 0},
    ):
        run = replace(run, training=replace(run.training, **change))
        yield run
    default = default_settings("cifar_resnet_20")
    yield default.rewinding_to("1000it")
    yield default.plain()


def test_names(hyperparameters):
    examples = hyperparameters["naming_examples"]
    for example, run in zip(examples[:8], _described(), strict=True):
        assert run.canonical() == example["canonical"], example["change"]
        assert run.name() == example["experiment_name"], example["change"]


def test_rewinding(hyperparameters):
    example = hyperparameters["naming_examples"][6]
    run = default_settings("cifar_resnet_20").rewinding_to("1000it")
    assert run.start_step(391).iteration == example["train_start_iteration"]
    assert run.end_step(391).iteration == example["train_end_iteration"]


def test_branch_names(hyperparameters):
    branches = (
        ("randomly_prune", RandomlyPruneSettings(seed=7)),
        ("randomly_prune", RandomlyPruneSettings(seed=7, strategy="global")),
        ("randomly_reinitialize", RandomlyReinitializeSettings()),
    )
    for example, (branch, own) in zip(hyperparameters["naming_examples"][8:], branches, strict=True):
        assert canonical(own) == example["canonical"]
        assert branch_name(branch, own) == example["experiment_name"]


def test_level_ranges(hyperparameters):
    for text, levels in hyperparameters["level_ranges"].items():
        assert level_ranges(text) == levels
