"""Command lines of `python -m tfprune.lth`: what they ask for, what they show and what they refuse."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from command_lines import told_to

from tfprune.cli.run import RunSettings
from tfprune.cli.words import parse
from tfprune.errors import InputError
from tfprune.experiments.lottery.branches import RandomlyPruneSettings, RandomlyReinitializeSettings, RetrainSettings
from tfprune.experiments.lottery.defaults import default_settings
from tfprune.experiments.lottery.flags import commands
from tfprune.experiments.lottery.settings import PlaceSettings
from tfprune.experiments.lottery.study import LotteryStudy

ROOT = Path(__file__).parents[3]
LENET = "--default_hparams=mnist_lenet_300_100"
DEFAULT = default_settings("mnist_lenet_300_100")


@pytest.fixture
def asked(monkeypatch):
    """`asked("train", "--lr=1", ...)`: the study that the command line asks for; `asked.how`, how to run it."""

    def ask(*words):
        count = next((at for at, word in enumerate(words) if word.startswith("-")), len(words))
        (command,) = (each for each in commands() if each.words == words[:count])
        monkeypatch.setattr("tfprune.experiments.lottery.flags.tell", lambda *given: got.append(given))
        values = flags.FlagValues()
        command.define(values)
        assert parse(values, ["lth", *words[count:]]) == []
        command.fill(values)
        command.main(values, [])
        study, ask.how = got.pop()
        return study

    got = []
    return ask


def _lth(*arguments, **keywords):
    command = [sys.executable, "-m", "tfprune.lth", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **keywords)


def test_train(asked):
    study = asked("train", LENET, "--lr=1", "--momentum=0.9", "--do_not_augment", "--quiet", "--replicate=3")
    training = replace(DEFAULT.training, lr=1.0, momentum=0.9)
    dataset = replace(DEFAULT.dataset, do_not_augment=True)
    assert study.settings == replace(DEFAULT.plain(), training=training, dataset=dataset)
    assert study.place == PlaceSettings(replicate=3)
    assert asked.how == RunSettings(quiet=True)
    assert str(study.folder).endswith("/replicate_3/main")


def test_without_defaults(asked):
    given = ["--model_name=mnist_lenet_300_100", "--model_init=kaiming_normal", "--batchnorm_init=uniform"]
    given += ["--dataset_name=mnist", "--batch_size=128", "--optimizer_name=sgd", "--lr=0.1", "--training_steps=40ep"]
    assert asked("train", *given) == asked("train", LENET)


def test_defaults_give_way_wherever_they_stand(asked):
    first = asked("train", "--lr=0.5", LENET)
    assert first == asked("train", LENET, "--lr=0.5")
    assert first.settings.training.lr == 0.5


def test_a_flag_file(asked, tmp_path):
    path = tmp_path / "lenet.flags"
    path.write_text(f"{LENET}\n--lr=0.5\n")
    assert asked("train", f"--flagfile={path}").settings.training.lr == 0.5


def test_a_default_is_taken_back(asked):
    resnet = "--default_hparams=cifar_resnet_20"
    training = asked("train", resnet, "--milestone_steps=none", "--gamma=", "--weight_decay=none").settings.training
    assert (training.milestone_steps, training.gamma, training.weight_decay) == (None, None, None)


def test_distribution_has_two_names(asked):
    for command in (("train",), ("lottery", "--levels=1")):
        for flag in ("--distribute=mirrored", "--strategy=mirrored"):
            assert asked(*command, LENET, flag).place.distribute == "mirrored"
        assert asked(*command, LENET, "--strategy=none").place.distribute == "none"
    study = asked("lottery_branch", "randomly_prune", LENET, "--levels=1", "--seed=1", "--distribute=mirrored")
    assert study.place.distribute == "mirrored"
    with pytest.raises(InputError, match="contradict each other"):
        asked("train", LENET, "--strategy=none", "--distribute=mirrored")


def test_lottery(asked):
    study = asked("lottery", LENET, "--levels=3", "--rewinding_steps=100it", "--pruning_count=published")
    pruning = replace(DEFAULT.pruning, pruning_count="published")
    assert study.settings == replace(DEFAULT, pruning=pruning).rewinding_to("100it")
    assert study.levels == 3
    assert str(study.folder).endswith("/replicate_1/level_0/main")


def test_pretraining(asked):
    flags_given = ["--pretrain", "--pretrain_training_steps=2ep", "--pretrain_random_labels_fraction=1"]
    study = asked("lottery", LENET, "--levels=1", "--lr=0.2", *flags_given, "--pretrain_dataset_name=kmnist")
    settings = study.settings
    assert settings.pretrain_training == replace(DEFAULT.training, lr=0.2, training_steps="2ep")
    expected = replace(DEFAULT.dataset, random_labels_fraction=1.0, dataset_name="kmnist")
    assert settings.pretrain_dataset == expected
    same = asked("lottery", LENET, "--levels=1", "--pretrain", "--pretrain_training_steps=2ep").settings
    assert same == DEFAULT.rewinding_to("2ep")
    none = asked("lottery", LENET, "--levels=1", "--pretrain", "--pretrain_training_steps=0it").settings
    assert none == DEFAULT


def test_branches(asked):
    study = asked("lottery_branch", "randomly_prune", LENET, "--levels=3,0-1", "--seed=7", "--strategy=even")
    assert study.levels == (0, 1, 3)
    assert study.own_settings == RandomlyPruneSettings(7, "even")
    assert study.settings == DEFAULT
    assert study.folder == study.folder_of(0) != study.folder_of(1)
    assert study.label == "randomly_prune seed=7 strategy=even"
    study = asked("lottery_branch", "randomly_reinitialize", LENET, "--levels=2")
    assert study.own_settings == RandomlyReinitializeSettings()
    assert study.folder.name == "lottery_branch_randomly_reinitialize_7b99794732481fff503d5290ee43fb4b"


def test_retraining(asked):
    given = ["--levels=1", "--batch_size=64", "--retrain_lr=0.01", "--retrain_do_not_augment"]
    study = asked("lottery_branch", "retrain", LENET, *given)
    dataset = replace(DEFAULT.dataset, batch_size=64)
    assert study.settings.dataset == dataset
    expected = RetrainSettings(replace(dataset, do_not_augment=True), replace(DEFAULT.training, lr=0.01))
    assert study.own_settings == expected


def test_oneshot(asked):
    given = ["--strategy=snip20", "--prune_fraction=0.75", "--state_step=1000it", "--prune_highest"]
    study = asked("branch", "train", "oneshot", LENET, *given, "--prune_step=last")
    assert study.own_settings.prune_step == "40ep"
    assert study.own_settings.state_step == "1000it"
    assert (study.own_settings.scoring.score, study.own_settings.scoring.examples_per_class) == ("snip", 20)
    assert study.settings == DEFAULT.plain()
    same = asked("branch", "train", "oneshot", LENET, *given, "--prune_step=40ep")
    assert study.folder == same.folder and study.folder.name.startswith("branch_oneshot_")


@pytest.mark.parametrize(
    ("words", "given", "line"),
    [
        (("lottery",), {"levels": 2, "lr": 1, "rewinding_steps": "9it"}, ["--levels=2", "--lr=1", "--rewind=9it"]),
        (("train",), {"weight_decay": None, "strategy": "mirrored"}, ["--weight_decay=none", "--distribute=mirrored"]),
        (("lottery_branch", "randomly_prune"), {"levels": 3, "seed": 7}, ["--levels=3", "--seed=7"]),
        (("lottery_branch", "randomly_reinitialize"), {"levels": (0, 1, 3)}, ["--levels=0-1,3"]),
        (("lottery_branch", "randomly_reinitialize"), {"levels": np.int64(2)}, ["--levels=2"]),
        (("lottery_branch", "randomly_reinitialize"), {"levels": np.array([0, 1, 3])}, ["--levels=0-1,3"]),
        (
            ("lottery_branch", "retrain"),
            {"levels": "1", "retrain_lr": 0.01, "apex_fp16": True},
            ["--levels=1", "--retrain_lr=0.01", "--apex_fp16"],
        ),
        (
            ("branch", "train", "oneshot"),
            {"strategy": "snip", "prune_fraction": 0.5, "state_step": "last"},
            ["--strategy=snip", "--prune_fraction=0.5", "--state_step=40ep"],
        ),
    ],
)
def test_the_same_from_python(asked, words, given, line):
    study = LotteryStudy.asked(words, {"default_hparams": "mnist_lenet_300_100", **given})
    assert study == asked(*words, LENET, *line)


@pytest.mark.parametrize(
    ("words", "given", "told"),
    [
        ((), {}, "a command of lth must be one of train; lottery; lottery_branch randomly_prune; "),
        (("lottery_branch",), {}, "Received: lottery_branch"),
        (("train",), {"leaning_rate": 1}, "no setting is called 'leaning_rate'"),
        (("train",), {"display_output_location": True}, "no setting is called 'display_output_location'"),
        (("train",), {"lr": "much"}, "--lr must be a number in (0, inf). Received: 'much'"),
        (("lottery",), {"levels": -1}, "--levels must be a whole number in [0, 9999]. Received: -1"),
        (("lottery_branch", "randomly_reinitialize"), {"levels": ()}, "--levels must be numbers and ranges"),
        (("lottery_branch", "randomly_reinitialize"), {"levels": 1.0}, "--levels must be numbers and ranges"),
        (("train",), {"default_hparams": 3}, "--default_hparams"),
        (
            ("branch", "train", "oneshot"),
            {"strategy": "snip", "prune_fraction": 1, "prune_step": np.ones(2)},
            "--prune_",
        ),
    ],
)
def test_refused_from_python(words, given, told):
    with pytest.raises(InputError) as caught:
        LotteryStudy.asked(words, {"default_hparams": "mnist_lenet_300_100", **given})
    assert told in str(caught.value)


def test_command_lines_of_the_original(asked, capsys):
    """As they stand in scripts: argparse takes beginnings of names, and values after a blank."""
    words = ["--num_workers", "4", "--default_hparams=cifar_resnet_20", "--model_name", "cifar_resnet_14"]
    words += ["--rewind", "1000it", "--level=16", "--replicate=2", "--platform=local", "--apex_fp16"]
    same = ["--default_hparams=cifar_resnet_20", "--model_name=cifar_resnet_14", "--rewinding_steps=1000it"]
    same += ["--levels=16", "--replicate=2", "--precision=mixed_float16"]
    assert asked("lottery", *words) == asked("lottery", *same)
    notes = capsys.readouterr().err.splitlines()
    assert notes[:2] == ["note: --rewind is read as --rewinding_steps", "note: --level is read as --levels"]
    assert [note.split(" has ")[0] for note in notes[2:4]] == ["note: --num_workers", "note: --platform"]
    assert notes[4:] == ["note: --apex_fp16 is read as --precision=mixed_float16"]
    words = ["--seed", "-7", LENET]  # a value that looks like a flag
    with pytest.raises(InputError, match=r"--seed must be a whole number in \[0, 2\*\*32\)\. Received: -7"):
        asked("lottery_branch", "randomly_prune", "--level=0-3", *words)


def test_half_precision_of_the_original_for_parts_of_a_run(asked):
    given = ["--pretrain", "--pretrain_training_steps=2ep", "--pretrain_apex_fp16"]
    settings = asked("lottery", LENET, "--levels=1", *given).settings
    assert (settings.training.precision, settings.pretrain_training.precision) == ("float32", "mixed_float16")
    study = asked("lottery_branch", "retrain", LENET, "--levels=1", "--retrain_apex_fp16")
    assert study.own_settings.retrain_t == replace(DEFAULT.training, precision="mixed_float16")
    assert study.settings.training.precision == "float32"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", LENET, "--apex_fp16", "--precision=float32"], "--apex_fp16 and --precision=float32 contradict"),
        (["train", LENET, "--unsupervised_labels=rotation"], "--unsupervised_labels of OpenLTH is not available"),
        (["train", LENET, "--blur=2"], "--blur_factor of OpenLTH is not available: blurred images are not made"),
        (["train", "--weight_s=1it", "--batch=3", LENET], "--batch may mean --batch_size or --batchnorm_frozen or "),
        (["train", "--lr=0.1"], "--model_name, --model_init, --batchnorm_init, --dataset_name, --batch_size, "),
        (["train", "--default_hparams=lenet"], "--default_hparams must be one of mnist_lenet_A_B_"),
        (["train", LENET, "--lr=-1"], "--lr must be a number in (0, inf). Received: -1.0"),
        (["train", LENET, "--replicate=0"], "--replicate must be a whole number in [1, 2147483647]. Received: 0"),
        (["train", LENET, "--device=tpu"], "--device must be one of auto, cpu, gpu"),
        (
            ["train", LENET, "--weight_save_steps=1000"],
            "--weight_save_steps must be steps, separated by commas",
        ),
        (["train", LENET, "--root="], "--root must be the path of a folder. Received: ''"),
        (["lottery", LENET], "--levels must be given: Number of prunings"),
        (["lottery", LENET, "--levels=-1"], "--levels must be a whole number in [0, 9999]. Received: -1"),
        (["lottery", LENET, "--levels=100000000000"], "--levels must be a whole number in [0, 9999]"),
        (["train", LENET, "--batch_size=100000000"], "--batch_size must be a whole number in [1, 1000000]. "),
        (["train", LENET, "--training_steps=99999999999it"], "of at most 2147483647 epochs or"),
        (["train", LENET, f"--data_order_seed={2**70}"], "--data_order_seed must be a whole number in [0, 2**32)"),
        (["train", LENET, "--replicate=100000000000"], "--replicate must be a whole number in [1, 2147483647]"),
        (["lottery", LENET, "--levels=1", "--pretrain"], "--pretrain needs --pretrain_training_steps"),
        (["lottery", LENET, "--levels=1", "--pretrain_lr=1"], "--pretrain_lr goes with --pretrain"),
        (
            ["lottery", LENET, "--levels=1", "--pretrain", "--rewinding_steps=1it"],
            "--rewinding_steps and --pretrain exclude each other",
        ),
        (
            ["lottery", LENET, "--levels=1", "--pretrain", "--pretrain_training_steps=1it", "--pretrain_lr=0"],
            "flags with --pretrain_ before their names: --lr must be a number in (0, inf). Received: 0.0",
        ),
        (["lottery", LENET, "--levels=1", "--rewinding_steps=1"], "--rewinding_steps must be a step, written 160ep"),
        (
            ["lottery_branch", "randomly_prune", LENET, "--seed=1"],
            "--levels must be given: Levels of the",
        ),
        (["lottery_branch", "randomly_prune", LENET, "--levels=0"], "--seed must be given: Seed of the mask."),
        (["lottery_branch", "randomly_prune", LENET, "--levels=x", "--seed=1"], "--levels must be numbers and ranges"),
        (["lottery_branch", "randomly_reinitialize", LENET, "--levels=3-1"], "--levels must hold a level"),
        (["branch", "train", "oneshot", LENET, "--strategy=snip"], "--prune_fraction must be given"),
        (
            ["branch", "train", "oneshot", LENET, "--strategy=fisher", "--prune_fraction=0.5"],
            "--strategy must be one of random, magnitude, synflow, snipN, graspN, graspabsN",
        ),
    ],
)
def test_refused(asked, words, told):
    with pytest.raises(InputError) as caught:
        asked(*words)
    assert told in str(caught.value) and "\n" not in str(caught.value)


REFUSED = [
    ([], "begin with one of train; lottery; lottery_branch randomly_prune; "),
    (["lottery_branch"], "Received: lottery_branch"),
    (["--lr=1", "train"], "Received: --lr=1 train"),
    (["train", "lenet", LENET], "train takes flags only. Received: lenet"),
    (["train", "--leaning_rate=1"], "unknown flag --leaning_rate; --help lists the flags"),
    (["train", "--data_set_name=mnist"], "unknown flag --data_set_name; the nearest is --dataset_name"),
    (["train", LENET, "--path_to_data=nowhere"], "get it with: python -m tfprune.data mnist --data_dir=nowhere"),
    (["lottery", LENET, "--levels=1", "--dataset_name=digits", "--rewinding_steps=40ep"], "must lie before"),
    (["train", LENET, "--dataset_name=digits", "--weight_save_steps=481it"], "ep40_it1 lies after the end of"),
    (
        ["train", LENET, "--dataset_name=digits", "--root=/dev/null"],
        "--root: cannot use the folder /dev/null/train",
    ),
    (
        ["branch", "train", "oneshot", LENET, "--dataset_name=digits", "--strategy=snip", "--prune_fraction=0.5"],
        "main is not trained; run first: python -m tfprune.lth train",
    ),
    (
        ["lottery_branch", "randomly_prune", LENET, "--dataset_name=digits", "--levels=0", "--seed=1"],
        "level 0 of lottery_runs/lottery_",
    ),
    (["train", "--default_hparams=imagenet_resnet_18", "--path_to_data=."], "train: no such folder"),
    (["train", "--batch_size=many"], "batch_size"),
    (["lottery", LENET, "--levels=1", "--strategy=snip"], "value should be one of <none|mirrored|multiworker>"),
]


@pytest.fixture(scope="module")
def refusals(light, tmp_path_factory):
    """What became of the command lines that are refused, in a process without TensorFlow."""
    place = tmp_path_factory.mktemp("refused")
    told = told_to("tfprune.experiments.lottery.flags:commands", [words for words, _ in REFUSED], light, place)
    assert not list(place.iterdir())
    return told


@pytest.mark.parametrize("case", range(len(REFUSED)), ids=lambda case: " ".join(REFUSED[case][0]))
def test_bad_command_lines(case, refusals, refused):
    refused(refusals[case], REFUSED[case][1])


def test_a_bad_command_line_of_a_process(refused, light, tmp_path):
    refused(_lth("train", "--leaning_rate=1", env=light, cwd=tmp_path), "unknown flag --leaning_rate; --help lists")
    assert not list(tmp_path.iterdir())


def test_help_lists_the_commands(light):
    result = _lth("--help", env=light)
    assert result.returncode == 0, result.stderr
    for command in commands():
        assert f"  {' '.join(command.words)} " in result.stdout
        assert command.summary in result.stdout


def test_help_shows_the_defaults_that_are_filled_in():
    plain = _lth("train", "--help")
    assert plain.returncode == 0, plain.stderr
    assert "--milestone_steps" in plain.stdout and "80ep,120ep" not in plain.stdout
    assert "--pruning_fraction" not in plain.stdout
    filled = _lth("lottery", "--default_hparams=cifar_resnet_20", "--help")
    for text in ("(default: '80ep,120ep')", "(default: '0.0001')", "(default: 'sparse_global')", "--pretrain_lr"):
        assert text in filled.stdout


def test_the_output_location_without_tensorflow(light):
    result = _lth("train", "--default_hparams=cifar_resnet_20", "--display_output_location", env=light)
    expected = "lottery_runs/train_71bc92a970b64a76d7ab7681764b0021/replicate_1/main\n"
    assert (result.returncode, result.stdout) == (0, expected), result.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "flags/lth").glob("*.flags")), ids=lambda path: path.stem)
def test_flag_files(asked, path):
    words = {"lottery": ["lottery"], "oneshot": ["branch", "train", "oneshot"]}.get(path.stem.split("-")[0], ["train"])
    more = [LENET, "--prune_fraction=0.9"] if words[0] == "branch" else []
    study = asked(*words, f"--flagfile={path}", *more)
    if path.stem == "digits":
        assert study.settings.dataset.dataset_name == "digits"
    elif words == ["lottery"]:
        assert path.stem == f"lottery-{study.settings.model.model_name}"
    else:
        assert path.stem == f"oneshot-{study.own_settings.scoring.score}"
        assert study.own_settings.prune_highest == (study.own_settings.scoring.score == "grasp")
