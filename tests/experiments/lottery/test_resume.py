"""Runs that were killed at telling moments, or made by an earlier version, end with the files of one left in peace."""

import json
import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch

import numpy as np
import pytest
from faults import kill_when_new, stamps, tree

import tfprune
from tfprune.cli.run import FINISHED, TRAINED
from tfprune.experiments.lottery.study import LotteryStudy
from tfprune.records.result import read_result

HPARAMS = ["--default_hparams=mnist_lenet_20_12", "--dataset_name=digits", "--training_steps=4ep"]
LOTTERY = ["lottery", *HPARAMS, "--levels=2", "--rewinding_steps=2ep"]
BRANCH = ["lottery_branch", "randomly_prune", *HPARAMS, "--rewinding_steps=2ep", "--levels=1", "--seed=3"]
TRAIN = ["train", *HPARAMS]
ONESHOT = ["branch", "train", "oneshot", *HPARAMS, "--strategy=snip2", "--prune_fraction=0.8", "--prune_step=last"]

# Commands one after the other, each with the files after whose writing it is stopped; then it is started again.
STORY = [
    (
        LOTTERY,
        [
            "*/replicate_1/level_pretrain/main/checkpoint.npz",
            "*/replicate_1/level_0/main/mask.npz",
            "*/replicate_1/level_1/main/result.json",
            "*/lottery_*/summary.csv",
        ],
    ),
    (BRANCH, ["*/replicate_1/level_1/lottery_branch_*/checkpoint.npz"]),
    (TRAIN, ["*/main/hparams.log"]),
    (ONESHOT, ["*/replicate_1/branch_oneshot_*/mask.npz", "*/replicate_1/branch_oneshot_*/model_ep4_it0.npz"]),
]
# Long enough that a process can be killed in the middle.
LONG = ["lottery", *HPARAMS[:2], "--training_steps=30ep", "--levels=1", "--rewinding_steps=15ep"]
KILLED_AT = "*/replicate_1/level_1/main/checkpoint.npz"


@pytest.fixture
def in_peace(lth):
    """`in_peace(root, words)`: the same command to its end, in this process."""

    def run(root, words):
        result = lth(*words, f"--root={root}", "--quiet")
        assert result.returncode == 0, result.stderr

    return run


def _files(root):
    """Contents by name, without what depends on the clock."""
    return {name: re.sub(rb'"seconds": [0-9.e-]+', b"", content) for name, content in tree(root).items()}


def _assert_same(came, expected):
    assert sorted(came) == sorted(expected)
    assert not [name for name in came if "checkpoint" in name or "tmp" in name]
    assert [name for name in came if came[name] != expected[name]] == []


@pytest.fixture
def stopped_at(lth, monkeypatch):
    """`stopped_at(root, words, pattern)`: the command in this process, stopped after it wrote a file."""

    def run(root, words, pattern):
        write = os.replace

        def replace(source, target):
            write(source, target)
            if fnmatch(target, pattern):
                raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr("tfprune.records.atomic.os.replace", replace)
            assert lth(*words, f"--root={root}", "--quiet").returncode == 130

    return run


@pytest.mark.slow
def test_killed_runs_end_with_the_same_files(tmp_path, in_peace, stopped_at):
    for words, moments in STORY:
        in_peace(tmp_path / "whole", words)
        for pattern in moments:
            stopped_at(tmp_path / "killed", words, pattern)
        in_peace(tmp_path / "killed", words)
    _assert_same(_files(tmp_path / "killed"), _files(tmp_path / "whole"))


@pytest.mark.slow
def test_a_killed_process(tmp_path, in_peace):
    assert kill_when_new(
        ["tfprune.lth", *LONG, f"--root={tmp_path / 'killed'}", "--quiet"], tmp_path / "killed", KILLED_AT
    )
    in_peace(tmp_path / "killed", LONG)
    in_peace(tmp_path / "whole", LONG)
    _assert_same(_files(tmp_path / "killed"), _files(tmp_path / "whole"))


SHORT = {"default_hparams": "mnist_lenet_20_12", "dataset_name": "digits", "training_steps": "2ep", "levels": 1}


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """Root with a short lottery run, to be copied."""
    root = tmp_path_factory.mktemp("short")
    tfprune.run("lth", "lottery", root=str(root), quiet=True, **SHORT)
    return root


def _study(root):
    return LotteryStudy.asked(("lottery",), {"root": str(root), **SHORT})


@pytest.mark.slow_beyond(1)
@pytest.mark.parametrize("function", ["results.write_summary", "figures.draw_accuracy", "figures.draw_training"])
def test_killed_between_the_last_training_and_the_figures(short, tmp_path, lth, monkeypatch, function):
    words = ["lottery", "--quiet", f"--root={tmp_path}", *(f"--{name}={value}" for name, value in SHORT.items())]

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(f"tfprune.experiments.lottery.{function}", stop)
        assert lth(*words).returncode == 130
    assert _study(tmp_path).stage() == TRAINED
    trained = stamps(tmp_path, "*/replicate_1/level_*/main/model_*")
    assert lth(*words).returncode == 0
    assert stamps(tmp_path, "*/replicate_1/level_*/main/model_*") == trained  # not again
    _assert_same(_files(tmp_path), _files(short))
    assert _study(tmp_path).stage() == FINISHED
    told = lth(*words[:1], *words[2:])
    assert told.returncode == 0 and "finished; nothing to do" in told.stdout
    _assert_same(_files(tmp_path), _files(short))


@pytest.mark.parametrize("name", ["summary.csv", "accuracy.png", "training.png"])
def test_a_finished_run_makes_what_is_missing(short, tmp_path, name):
    root = shutil.copytree(short, tmp_path / "root")
    (path,) = root.glob(f"lottery_*/{name}")
    path.unlink()
    tfprune.run("lth", "lottery", root=str(root), quiet=True, **SHORT)
    _assert_same(_files(root), _files(short))


@pytest.mark.slow
def test_results_and_figures_from_python(short, tmp_path):
    root = shutil.copytree(short, tmp_path / "root")
    longer = {**SHORT, "levels": 2, "root": str(root), "quiet": True}
    plain = {name: value for name, value in longer.items() if name != "levels"}
    tfprune.run("lth", "lottery", **longer)
    tfprune.run("lth", "lottery_branch", "randomly_prune", seed=1, **{**longer, "levels": 1})
    run = tfprune.run("lth", "lottery", **{**longer, "levels": 1})
    assert "nothing to do" in run.text and sorted(run.figures) == ["accuracy", "training"]
    assert run.results[["level", "method", "kept"]].to_numpy().tolist() == [[0, "main", 1640], [1, "main", 1336]]
    assert run.settings.model.model_name == "mnist_lenet_20_12"
    branch = tfprune.run("lth", "lottery_branch", "randomly_prune", seed=1, **{**longer, "levels": (1,)})
    assert branch.results["label"].tolist() == ["randomly_prune seed=1, level 1"]
    tfprune.run("lth", "train", **plain)
    # Their label is one, the share that is pruned is not in it.
    for fraction in (0.5, 0.75):
        words = "lth", "branch", "train", "oneshot"
        run = tfprune.run(*words, strategy="magnitude", prune_fraction=fraction, **plain)
        assert run.results["kept"].tolist() == [round(1640 * (1 - fraction))]
        assert run.results["method"].tolist() == ["oneshot strategy=magnitude"] and run.results["level"].isna().all()


def test_a_run_of_an_earlier_version_gets_its_results(short, tmp_path):
    """It is finished, but has no `result.json`; no file tells how long its training took, and by which engine."""
    root = shutil.copytree(short, tmp_path / "root")
    for path in root.glob("*/*/*/main/result.json"):
        path.unlink()
    assert _study(root).stage() == TRAINED
    tfprune.run("lth", "lottery", root=str(root), quiet=True, **SHORT)
    came, expected = ({path: read_result(path) for path in place.rglob("result.json")} for place in (root, short))
    assert [result.seconds for result in came.values()] == [None, None]
    assert all(result.seconds > 0 for result in expected.values())
    came, expected = _files(root), _files(short)
    unknown = dict.fromkeys(("seconds", "engine", "kept_layers"))
    assert [json.loads(came[name]) for name in came if name.endswith("result.json")] == [
        json.loads(re.sub(b"^  *,\n", b' "seconds": null,\n', expected[name], flags=re.M)) | unknown
        for name in came
        if name.endswith("result.json")
    ]
    assert [name for name in came if came[name] != expected[name] and not name.endswith("result.json")] == []


def test_a_checkpoint_of_an_earlier_version_is_refused_in_one_line(short, tmp_path, lth, refused):
    root = shutil.copytree(short, tmp_path / "root")
    (folder,) = root.glob("*/*/level_1/main")
    (folder / "run.json").write_text((folder / "run.json").read_text().replace("true", "false"))
    with np.load(folder / "model_ep0_it0.npz") as weights:  # as a checkpoint was before: states and a step
        np.savez(folder / "checkpoint.npz", step=12, **{f"state_{i}": w for i, w in enumerate(weights.values())})
    words = ["lottery", f"--root={root}", *(f"--{name}={value}" for name, value in SHORT.items())]
    refused(lth(*words), "level_1/main/checkpoint.npz: not a checkpoint of this network, or one of another version; ")
    (folder / "checkpoint.npz").unlink()
    assert lth(*words).returncode == 0
    _assert_same(_files(root), _files(short))


@pytest.mark.slow
def test_two_processes_on_one_run(tmp_path, in_peace):
    command = [sys.executable, "-m", "tfprune.lth", *TRAIN, f"--root={tmp_path / 'both'}", "--quiet"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]
    outputs = [process.communicate()[0] for process in processes]
    refused = [output for process, output in zip(processes, outputs, strict=True) if process.returncode]
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode in (0, 2), output
    for output in refused:  # none where one was done before the other looked
        assert len([line for line in output.splitlines() if line.startswith("error: ")]) == 1, output
        assert "another process works on this replicate" in output
    assert len(refused) < 2
    in_peace(tmp_path / "alone", TRAIN)
    _assert_same(_files(tmp_path / "both"), _files(tmp_path / "alone"))
