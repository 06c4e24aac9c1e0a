"""What a run of filter pruning may be asked for, and which runs are the same."""

from dataclasses import replace
from pathlib import Path

import pytest

from tfprune.errors import InputError
from tfprune.experiments.filters.settings import SCORINGS, WEIGHT_FILES, FilterSettings
from tfprune.experiments.filters.study import FilterStudy
from tfprune.models.torch_weights import ENDINGS
from tfprune.pruning.filter_scores import FILTER_SCORES


def test_scorings_are_those_of_the_registry():
    assert set(SCORINGS) == set(FILTER_SCORES)
    assert set(WEIGHT_FILES) == set(ENDINGS)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"model": "vgg19"}, "--model must be one of vgg16, resnet50. Received: 'vgg19'"),
        ({"scoring": ("l1",)}, "--scoring must be one of operator_norm, operator_norm_absolute, l1_norm"),
        ({"scoring": ()}, "--scoring must have at least one name. Received: nothing"),
        ({"version": ()}, "--version must have at least one name. Received: nothing"),
        ({"version": ("v3_51",)}, "--version must be of v0, v1_25"),
        ({"model": "resnet50", "version": ("v4_25",)}, "v3_90 or all for resnet50. Received: 'v4_25'"),
        ({"p": (0.5,) * 12}, "--p must have 13 fractions for vgg16. Received: 12"),
        ({"p": (0.5,) * 12 + (1.0,)}, "--p must be a number in [0, 1). Received: 1.0"),
        ({"p": (0.5,) * 12 + (float("nan"),)}, "--p must be a number in [0, 1). Received: nan"),
        ({"p": (0.5,) * 13, "version": ("v3_50",)}, "give --version or --p, not both"),
        ({"width": 0.0}, "--width must be a number in (0, 100). Received: 0.0"),
        ({"width": 1e9}, "--width must be a number in (0, 100). Received: 1000000000.0"),
        ({"batch_size": 10**8}, "--batch_size must be a whole number in [1, 1000000]. Received: 100000000"),
        ({"epochs": 10**11}, "--epochs must be a whole number in [0, 100000]. Received: 100000000000"),
        ({"seed": 2**70}, "--seed must be a whole number in [0, 2**32)"),
        ({"epochs": -1}, "--epochs must be a whole number in [0, 100000]. Received: -1"),
        ({"finetune_epochs": -1}, "--finetune_epochs must be a whole number in [0, 100000]. Received: -1"),
        ({"batch_size": 0}, "--batch_size must be a whole number in [1, 1000000]. Received: 0"),
        ({"learning_rate": float("inf")}, "--learning_rate must be a number in (0, inf). Received: inf"),
        ({"finetune_learning_rate": 0.0}, "--finetune_learning_rate must be a number in (0, inf). Received: 0.0"),
        ({"weight_decay": -1.0}, "--weight_decay must be a number in [0, inf). Received: -1.0"),
        ({"loss": "hinge"}, "--loss must be one of standard, published"),
        ({"seed": -1}, "--seed must be a whole number in [0, 2**32). Received: -1"),
        ({"weights": "vgg.npz"}, "--weights is for resnet50. Received: --model=vgg16"),
        (
            {"model": "resnet50", "weights": "a.h5"},
            "--weights must be a file that ends in .safetensors or .npz. Received: 'a.h5'",
        ),
    ],
)
def test_refused(changed, told):
    with pytest.raises(InputError) as error:
        FilterSettings(**changed)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("changed", "unpruned", "finetuned"),
    [
        ({}, "vgg16_cifar10_559b2d9d", "7fabda64"),
        (
            {"data": "digits", "width": 1 / 16, "epochs": 1, "finetune_epochs": 2, "learning_rate": 0.05},
            "vgg16_digits_w0.0625_6eecab73",
            "3b33d9a3",
        ),
        (
            {
                "model": "resnet50",
                "weights": "a/b.npz",
                "weight_decay": 0,
                "width": 2,
                "pruned_batchnorm": "restart",
                "optimizer": "adam",
                "schedule": "cosine",
            },
            "resnet50_cifar10_w2_7a12e214",
            "ce96cdcf",
        ),
        (
            {
                "data": "mnist",
                "augment": True,
                "seed": 3,
                "test_dropout": "on",
                "loss": "published",
                "finetune_learning_rate": 1e-4,
            },
            "vgg16_mnist_d654104f",
            "3b5cb505",
        ),
    ],
)
def test_folders_are_named_as_ever(changed, unpruned, finetuned):
    settings = FilterSettings(**changed)
    assert settings.unpruned_folder == Path("FilterPruning", unpruned, "unpruned")
    assert settings.finetuned_folder == Path("FilterPruning", unpruned, f"finetuned_{finetuned}")
    assert settings.version_folder("l2", "v1_50") == settings.finetuned_folder / "l2" / "v1_50"


def test_published_phases():
    cifar = FilterSettings(data="cifar10")
    assert (cifar.training.epochs, cifar.training.optimizer, cifar.training.weight_decay) == (200, "sgd", 1e-6)
    assert FilterSettings(model="resnet50").training.epochs == 300
    mnist = FilterSettings(data="mnist")
    assert (mnist.training.optimizer, mnist.training.weight_decay) == ("adam", 0.0)
    assert (mnist.finetuning.optimizer, mnist.finetuning.weight_decay, mnist.finetuning.epochs) == ("sgd", 1e-6, 100)


def test_which_runs_share_a_folder():
    settings = FilterSettings()
    same = [{"version": ("v1_25",)}, {"scoring": ("l2",)}, {"path_to_data": "elsewhere"}]
    assert all(replace(settings, **changed).finetuned_folder == settings.finetuned_folder for changed in same)
    tuned = [{"finetune_epochs": 3}, {"finetune_learning_rate": 0.1}, {"pruned_batchnorm": "restart"}]
    for changed in tuned:
        other = replace(settings, **changed)
        assert other.unpruned_folder == settings.unpruned_folder and other.finetuned_folder != settings.finetuned_folder
    trained = [
        {"epochs": 3},
        {"seed": 1},
        {"width": 0.5},
        {"learning_rate": 0.1},
        {"augment": True},
        {"loss": "published"},
    ]
    assert len({replace(settings, **changed).unpruned_folder for changed in ({}, *trained)}) == 1 + len(trained)


def test_own_vectors_have_folders_of_their_own():
    first, second = (FilterSettings(p=(fraction,) * 13) for fraction in (0.25, 0.5))
    assert list(first.vectors.values()) == [(0.25,) * 13]
    assert list(first.vectors) == ["own_7ad95e38"] != list(second.vectors)
    assert list(FilterSettings(version=("all",)).vectors) == [
        "v0",
        *(f"v{number}_{percent}" for number in range(1, 7) for percent in (25, 50, 75, 90)),
    ]


def test_all_scorings_are_the_published_ones_each_once():
    assert FilterSettings(scoring=("l2", "all", "l2", "gm_norm")).networks == [
        (scoring, "v3_50") for scoring in ("l2", "operator_norm", "l1_norm", "gm_norm")
    ]


def test_a_studys_digest_is_of_what_its_networks_have_in_common():
    studies = [FilterStudy(FilterSettings(**changed)) for changed in ({}, {"version": "v1_25"}, {"finetune_epochs": 3})]
    first, same, other = (study.digest for study in studies)
    assert first == same != other
