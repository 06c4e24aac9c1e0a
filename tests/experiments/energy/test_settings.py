"""What a run of energy-based pruning may be asked for, which runs are the same, and the published flag files."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from command_lines import told_to

from tfprune.cli.run import flags_command
from tfprune.cli.words import parse
from tfprune.errors import InputError
from tfprune.experiments.energy.files import write_states
from tfprune.experiments.energy.settings import NETWORKS, RESNETS, WEIGHT_FILES, EnergySettings
from tfprune.experiments.energy.study import EnergyStudy

ROOT = Path(__file__).parents[3]
FLAGS = ROOT / "flags/energy"
OFFLINE = ["--dataset=digits", "--nnmodel=lenet"]
REFUSED = [
    (["--NS=3"], "--NS must be a whole number in [4, 10000]. Received: 3"),
    (["--keep_rate=1.5"], "--keep_rate must be a number in [0, 1]. Received: 1.5"),
    (["--keep_rate=-0.1"], "--keep_rate must be a number in [0, 1]. Received: -0.1"),
    (["--keep_rate=half"], "flag --keep_rate=half: could not convert string to float"),
    (["--init_probability=0"], "--init_probability must be a number in (0, 1]. Received: 0"),
    (["--epochs=0"], "--epochs must be a whole number in [1, 100000]. Received: 0"),
    (["--batch_size=0"], "--batch_size must be a whole number in [1, 1000000]. Received: 0"),
    (["--batch_size=16", "--state_batch=17"], "--state_batch must be at most --batch_size=16. Received: 17"),
    (["--state_batch=0"], "--state_batch must be a whole number at least 1. Received: 0"),
    (["--lr=inf"], "--lr must be a number in (0, inf). Received: inf"),
    (
        ["--states=current"],
        "--states=current is for resnet18, resnet34, resnet50, resnet101. Received: --nnmodel=lenet",
    ),
    (["--augmentation=none,flip"], "--augmentation=none stands alone. Received: none,flip"),
    (["--augmentation=flop"], "Received: 'flop'; did you mean 'flip'"),
    (["--model=isin"], "Received: 'isin'; did you mean 'ising'"),
    (["--nnmodel=resnet"], "--nnmodel must be one of resnet18, resnet34"),
    (["--optimizer_m=adadelta"], "Received: 'adadelta'; did you mean 'Adadelta'"),
    (["--evolution=binary"], "--evolution must be one of published, binary_de. Received: 'binary'"),
    (["--epocs=3"], "unknown flag --epocs; the nearest is --epochs"),
    (["--keeprate=0.3"], "unknown flag --keeprate; the nearest is --keep_rate"),
    (["digits"], "flags only"),
    (["--dataset=digit"], "--dataset=digit: no such data set, did you mean digits"),
    (
        ["--dataset=kuzushiji", "--path_to_data=missing"],
        "get it with: python -m tfprune.data kmnist --data_dir=missing",
    ),
    (["--dataset=./missing"], "missing/train: no such folder; train/<class>/*.png and test/<class>/*.png are needed"),
    (["--dataset=odd"], "odd: train and test must hold the same classes; only train has 'cat', only test has 'dog'"),
    (["--pre_trained_f=none.keras"], "--pre_trained_f: cannot read none.keras: No such file"),
    (
        ["--pre_trained_f=a.h5"],
        "--pre_trained_f must be a file that ends in .keras, .safetensors, .npz. Received: 'a.h5'",
    ),
    (["--state_f=none.npz"], "--state_f: cannot read none.npz: No such file"),
    (["--state_f=broken.npz"], "cannot read broken.npz"),
    (["--state_f=other.npz"], "cannot read other.npz: not the states of a network"),
    (["--state_f=states.npz", "--model=simple"], "--state_f is for --model=ising and random. Received: --model=simple"),
    (["--out_path=/dev/null"], "--out_path: cannot use the folder /dev/null/digits_lenet_ising"),
]


@pytest.fixture(scope="module")
def refusals(light, tmp_path_factory):
    """What became of the command lines that are refused, in a process without TensorFlow."""
    place = tmp_path_factory.mktemp("refused")
    for part, name in (("train", "ant"), ("train", "cat"), ("test", "ant"), ("test", "dog")):
        (place / "odd" / part / name).mkdir(parents=True)
    write_states(place / "states.npz", np.ones((2, 5), bool), [("conv1", 2), ("fc", 3)])
    (place / "broken.npz").write_bytes((place / "states.npz").read_bytes()[:100])
    np.savez(place / "other.npz", states=np.zeros(3))
    before = sorted(place.rglob("*"))
    words, environment = [[*OFFLINE, *words] for words, _ in REFUSED], {**light, "TFDS_DATA_DIR": str(place / "none")}
    told = told_to("tfprune.experiments.energy.study:EnergyStudy", words, environment, place)
    assert [case for case, one in zip(REFUSED, told, strict=True) if one.returncode != 2] == []
    assert sorted(place.rglob("*")) == before
    return told


@pytest.mark.parametrize("case", range(len(REFUSED)), ids=lambda case: " ".join(REFUSED[case][0]))
def test_bad_command_lines(case, refusals, refused):
    refused(refusals[case], REFUSED[case][1])


def test_names_are_those_of_the_registries():
    from tfprune.experiments.energy import networks
    from tfprune.models.torch_weights import ENDINGS
    from tfprune.pruning.evolution import EVOLUTIONS

    assert set(NETWORKS) == set(networks.NETWORKS) and set(RESNETS) < set(NETWORKS)
    assert (".keras", *ENDINGS) == WEIGHT_FILES
    for evolution in EVOLUTIONS:
        assert EnergySettings(evolution=evolution).evolution == evolution
    for name in NETWORKS:
        assert EnergySettings(nnmodel=name).side == networks.NETWORKS[name].side


def test_the_defaults_are_the_published_ones():
    settings = EnergySettings()
    assert (settings.nnmodel, settings.dataset, settings.model, settings.cost) == (
        *("resnet18", "fashion"),
        *("ising", "edropout"),
    )
    assert (settings.NS, settings.init_probability, settings.threshold_early_state, settings.stopcounter) == (
        *(8, 0.5),
        *(100, 9),
    )
    assert (settings.epochs, settings.batch_size, settings.test_batch_size, settings.seed) == (200, 128, 128, 1)
    assert (settings.optimizer_m, settings.lr, settings.gamma, settings.lr_stepsize) == ("Adadelta", 1.0, 0.1, 50)
    assert (settings.decay, replace(settings, optimizer_m="SGD").decay) == (1e-5, 1.25e-4)
    assert replace(settings, weight_decay=0.0).decay == 0


@pytest.mark.parametrize("dataset", ["fashion", "fashion_mnist", "kuzushiji", "kmnist", "mnist", "digits"])
def test_characters_are_not_mirrored(dataset):
    assert EnergySettings(dataset=dataset).distortions == ()
    assert EnergySettings(dataset=dataset, augmentation=("rotate",)).distortions == ("rotate",)


def test_other_images_are_distorted_unless_told_otherwise():
    assert EnergySettings(dataset="cifar10").distortions == ("flip", "crop")
    assert EnergySettings(dataset="cifar10", augmentation=("none",)).distortions == ()


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({}, "fashion_resnet18_ising_@"),
        ({"dataset": "digits", "nnmodel": "lenet", "model": "random"}, "digits_lenet_random_@"),
        ({"dataset": "somewhere/birds/"}, "birds_resnet18_ising_@"),
        ({"dataset": "fashion_mnist:3.0.1"}, "fashion_mnist-3.0.1_resnet18_ising_@"),
    ],
)
def test_a_run_is_named_by_what_it_is(changed, name):
    settings = EnergySettings(**changed)
    start, _, digest = settings.name.rpartition("_")
    assert f"{start}_@" == name and len(digest) == 8 and EnergyStudy(settings).digest == digest


def test_folders_have_names_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for dataset in (".", "./", os.curdir):
        assert EnergySettings(dataset=dataset).name.startswith(f"{tmp_path.name}_resnet18_")


def test_which_runs_share_a_folder():
    settings = EnergySettings()
    same = [{"test_batch_size": 7}, {"path_to_data": "elsewhere"}]
    assert all(replace(settings, **changed).name == settings.name for changed in same)
    others = [
        *({"NS": 9}, {"init_probability": 0.4}, {"keep_rate": 0.4}, {"threshold_early_state": 1}, {"stopcounter": 3}),
        *({"state_batch": 8}, {"states": "current"}, {"evolution": "binary_de"}, {"rescore": "all"}, {"epochs": 3}),
        *({"cost": "ipruning"}, {"cost_layout": "published"}, {"batch_size": 7}, {"lr": 0.5}, {"weight_decay": 0.1}),
        *({"scheduler_m": "none"}, {"gamma": 0.5}, {"lr_stepsize": 7}, {"loss": "log"}, {"augmentation": ("flip",)}),
        *({"width": 0.5}, {"pre_trained_f": "a.keras"}, {"state_f": "a.npz"}, {"seed": 2}, {"model": "simple"}),
        *({"optimizer_m": "SGD"}, {"nnmodel": "lenet"}, {"dataset": "mnist"}),
    ]
    assert len({replace(settings, **changed).name for changed in ({}, *others)}) == 1 + len(others)


def _asked(*words):
    """The settings that a command line asks for."""
    got, values = [], flags.FlagValues()
    command = flags_command(EnergyStudy)
    command.define(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tfprune.cli.run.tell", lambda study, how: got.append(study.settings))
        assert parse(values, ["energy", *words]) == []
        command.main(values, [])
    return got[0]


@pytest.mark.parametrize("path", sorted(FLAGS.glob("*.flags")), ids=lambda path: path.stem)
def test_flag_files(path):
    settings = _asked(f"--flagfile={path}")
    if path.stem == "digits":
        assert (settings.dataset, settings.nnmodel) == ("digits", "lenet")
    elif path.stem == "ipruning":
        assert settings == EnergySettings(cost="ipruning")
    elif path.stem == "published-faults":
        assert settings == EnergySettings(states="current", cost_layout="published")
    else:
        assert settings == EnergySettings(dataset=path.stem, augmentation=settings.augmentation)
        assert ("flip" in settings.distortions) == path.stem.startswith(("cifar", "flowers"))
        assert ("rotate" in settings.distortions) == (path.stem == "flowers")


def test_flag_files_combine_and_the_last_word_wins():
    words = [f"--flagfile={FLAGS / name}.flags" for name in ("cifar10", "ipruning", "published-faults")]
    settings = _asked(*words, "--nnmodel=resnet34", "--keep_rate=0.3")
    expected = {"cost": "ipruning", "states": "current", "cost_layout": "published", "keep_rate": 0.3}
    assert settings == EnergySettings(
        dataset="cifar10", nnmodel="resnet34", augmentation=("flip", "crop", "cutout"), **expected
    )


def test_a_value_of_a_wrong_kind_is_refused_from_python():
    with pytest.raises(InputError, match="--NS must be a whole number"):
        EnergySettings(NS=4.5)
    with pytest.raises(InputError, match="--keep_rate must be a number in"):
        EnergySettings(keep_rate=float("nan"))
