"""`python -m tfprune.filters` as a person meets it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_lines import told_to

import tfprune

ROOT = Path(__file__).parents[3]
FLAG_FILES = sorted((ROOT / "flags/filters").glob("*.flags"))
REFUSED = [
    (["--scoring=l1"], "--scoring must be one of operator_norm, operator_norm_absolute, l1_norm"),
    (["--version=v7_25"], "--version must be of v0, v1_25"),
    (["--version=v3_5"], "Received: 'v3_5'; did you mean 'v3_50'"),
    (["--scoring=operator_nrm"], "Received: 'operator_nrm'; did you mean 'operator_norm'"),
    (["--p=0.5,half"], "--p must be a number in [0, 1). Received: 'half'"),
    (["--p=0.5"], "--p must have 13 fractions for vgg16. Received: 1"),
    (["--p=0.5", "--version=v1_25"], "give --version or --p, not both"),
    (["--widht=1"], "unknown flag --widht; the nearest is --width"),
    (["cifar10"], "flags only"),
    (["--flagfile=none.flags"], "none.flags"),
    (["--data=digit"], "--data=digit: no such data set, did you mean digits"),
    (["--data=mnist", "--path_to_data=missing"], "get it with: python -m tfprune.data mnist --data_dir=missing"),
    (["--data=digits", "--model=resnet50", "--weights=none.npz"], "--weights: cannot read none.npz: No such file"),
    (["--data=digits", "--model=resnet50", "--weights=none.h5"], "ends in .safetensors or .npz. Received: 'none.h5'"),
    (["--data=digits", "--weights=none.npz"], "--weights is for resnet50"),
    (["--data=digits", "--out_path=/dev/null"], "--out_path: cannot use the folder /dev/null/vgg16_digits"),
]
# Of a flag file, the last flag is refused, so those before it are known and allowed, and nothing is trained.
TOO_SMALL = "--batch_size must be a whole number in [1, 1000000]. Received: 0"
REFUSED += [([f"--flagfile={path}", "--batch_size=0"], TOO_SMALL) for path in FLAG_FILES]
DIES_IN_ITS_SECOND_EPOCH = """
import os, pathlib, runpy, sys

def replace(source, target, usual=os.replace):
    target = pathlib.Path(target)
    if target.parts[-3:] == ("l1_norm", "v4_50", "logger") and (target.parent / "checkpoint.npz").exists():
        os.kill(os.getpid(), 9)
    usual(source, target)

os.replace = replace
runpy.run_module("tfprune.filters", run_name="__main__", alter_sys=True)
"""


def _python(*arguments, env=None, **more):
    environment = env or {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, **more)


@pytest.fixture(scope="module")
def refusals(light, tmp_path_factory):
    """What became of the command lines that are refused, in a process without TensorFlow."""
    place = tmp_path_factory.mktemp("refused")
    told = told_to("tfprune.experiments.filters.study:FilterStudy", [words for words, _ in REFUSED], light, place)
    assert not list(place.iterdir())
    return told


@pytest.mark.parametrize("case", range(len(REFUSED)), ids=lambda case: REFUSED[case][0][0])
def test_bad_command_lines(case, refusals, refused):
    refused(refusals[case], REFUSED[case][1])


@pytest.mark.slow
def test_a_run_that_is_killed_its_repetition_and_one_more_version(small, finished, tmp_path):
    words = [f"--{name}={value}" for name, value in {**small, "out_path": tmp_path}.items()]
    several = [*words, "--scoring=l1_norm,random"]
    assert _python("-c", DIES_IN_ITS_SECOND_EPOCH, *several).returncode == -signal.SIGKILL
    (results,) = tmp_path.glob("vgg16_digits_w0.0625_*/finetuned_*")
    assert (results / "l1_norm/v4_50/checkpoint.npz").exists() and not (results / "results.json").exists()
    result = _python("-m", "tfprune.filters", *several)
    assert result.returncode == 0, result.stderr
    assert "l1_norm v4_50: " in result.stderr and "cuInit" not in result.stderr
    whole = finished.settings.version_folder("l1_norm", "v4_50")
    assert (results / "l1_norm/v4_50/logger").read_bytes() == (whole / "logger").read_bytes()
    stored = json.loads((results / "results.json").read_text())
    assert set(stored) == {"unpruned", "l1_norm", "random"}
    accuracy = stored["l1_norm"]["v4_50"]["test_accuracy"]
    assert f"{accuracy:.4f}" in result.stdout
    assert all((results / name).stat().st_size > 1000 for name in ("accuracy.png", "training.png"))
    settings = {**small, "out_path": str(tmp_path), "quiet": True}
    assert "nothing to do" in tfprune.run("filters", **{**settings, "scoring": ["l1_norm", "random"]}).text
    del settings["version"]
    tfprune.run("filters", **settings, p=[0.5] * 13)
    assert len(json.loads((results / "results.json").read_text())["l1_norm"]) == 2
