"""What a run of filter pruning may be asked for, and which runs are the same."""

from dataclasses import replace

import pytest

from tfprune.errors import InputError
from tfprune.experiments.filters.pretrained import ENDINGS
from tfprune.experiments.filters.settings import SCORINGS, WEIGHT_FILES, FilterSpec
from tfprune.pruning.filter_scores import FILTER_SCORES


def test_scorings_are_those_of_the_registry():
    assert set(SCORINGS) == set(FILTER_SCORES)
    assert set(WEIGHT_FILES) == set(ENDINGS)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"model": "vgg19"}, "--model must be one of vgg16, resnet50. Received: 'vgg19'"),
        ({"scoring": ("l1",)}, "--scoring must be of operator_norm"),
        ({"scoring": ()}, "Received: nothing"),
        ({"version": ("v3_51",)}, "--version must be of v0, v1_25"),
        ({"model": "resnet50", "version": ("v4_25",)}, "v3_90 or all for resnet50. Received: 'v4_25'"),
        ({"p": (0.5,) * 12}, "--p must have 13 fractions for vgg16. Received: 12"),
        ({"p": (0.5,) * 12 + (1.0,)}, "--p must have fractions in [0, 1). Received: 1"),
        ({"p": (0.5,) * 12 + (float("nan"),)}, "Received: nan"),
        ({"width": 0.0}, "--width must be above 0"),
        ({"width": 1e9}, "--width must be above 0 and below 100. Received: 1000000000.0"),
        ({"batch_size": 10**8}, "--batch_size must be at least 1 and at most 1000000. Received: 100000000"),
        ({"epochs": 10**11}, "--epochs must be at least 0 and at most 100000. Received"),
        ({"seed": 2**70}, "--seed must be at least 0 and below 2**32"),
        ({"epochs": -1}, "--epochs must be at least 0"),
        ({"batch_size": 0}, "--batch_size must be at least 1"),
        ({"learning_rate": float("inf")}, "--learning_rate must be above 0"),
        ({"weight_decay": -1.0}, "--weight_decay must be at least 0"),
        ({"loss": "hinge"}, "--loss must be one of standard, published"),
        ({"seed": -1}, "--seed"),
        ({"weights": "vgg.npz"}, "--weights is for resnet50"),
    ],
)
def test_refused(changed, told):
    with pytest.raises(InputError) as error:
        FilterSpec(**changed)
    assert told in str(error.value)


def test_published_phases():
    cifar = FilterSpec(data="cifar10")
    assert (cifar.training.epochs, cifar.training.optimizer, cifar.training.weight_decay) == (200, "sgd", 1e-6)
    assert FilterSpec(model="resnet50").training.epochs == 300
    mnist = FilterSpec(data="mnist")
    assert (mnist.training.optimizer, mnist.training.weight_decay) == ("adam", 0.0)
    assert (mnist.finetuning.optimizer, mnist.finetuning.weight_decay, mnist.finetuning.epochs) == ("sgd", 1e-6, 100)


def test_which_runs_share_a_folder():
    spec = FilterSpec()
    same = [{"version": ("v1_25",)}, {"scoring": ("l2",)}, {"path_to_data": "elsewhere"}]
    assert all(replace(spec, **changed).results_folder == spec.results_folder for changed in same)
    tuned = [{"finetune_epochs": 3}, {"finetune_learning_rate": 0.1}, {"pruned_batchnorm": "restart"}]
    for changed in tuned:
        other = replace(spec, **changed)
        assert other.unpruned_folder == spec.unpruned_folder and other.results_folder != spec.results_folder
    trained = [
        {"epochs": 3},
        {"seed": 1},
        {"width": 0.5},
        {"learning_rate": 0.1},
        {"augment": True},
        {"loss": "published"},
    ]
    assert len({replace(spec, **changed).unpruned_folder for changed in ({}, *trained)}) == 1 + len(trained)


def test_own_vectors_have_folders_of_their_own():
    first, second = (FilterSpec(p=(fraction,) * 13) for fraction in (0.25, 0.5))
    assert list(first.vectors.values()) == [(0.25,) * 13]
    assert list(first.vectors) != list(second.vectors)
    assert list(FilterSpec(version=("all",)).vectors) == [
        "v0",
        *(f"v{number}_{percent}" for number in range(1, 7) for percent in (25, 50, 75, 90)),
    ]
