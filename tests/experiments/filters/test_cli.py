"""`python -m tfprune.filters` as a person meets it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FLAG_FILES = sorted((ROOT / "flags/filters").glob("*.flags"))


def _python(*arguments, cwd=None, env=None):
    command = [sys.executable, "-m", "tfprune.filters", *map(str, arguments)]
    environment = env or {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--scoring=l1"], "--scoring must be of operator_norm, operator_norm_absolute, l1_norm"),
        (["--version=v7_25"], "--version must be of v0, v1_25"),
        (["--version=v3_5"], "Received: 'v3_5'; did you mean 'v3_50'"),
        (["--scoring=operator_nrm"], "Received: operator_nrm; did you mean 'operator_norm'"),
        (["--p=0.5,half"], "--p must be numbers in [0, 1), with commas between them. Received: 0.5,half"),
        (["--p=0.5"], "--p must have 13 fractions for vgg16. Received: 1"),
        (["--p=0.5", "--version=v1_25"], "give --version or --p, not both"),
        (["--widht=1"], "unknown flag --widht; the nearest is --width"),
        (["cifar10"], "flags only"),
        (["--flagfile=none.flags"], "none.flags"),
        (["--data=digit"], "--data=digit: no such data set, did you mean digits"),
        (["--data=mnist", "--path_to_data=none"], "get it with: python -m tfprune.data mnist --data_dir=none"),
        (["--data=digits", "--model=resnet50", "--weights=none.npz"], "--weights: cannot read none.npz: No such file"),
        (["--data=digits", "--model=resnet50", "--weights=none.h5"], "ends in .safetensors or .npz. Received: none.h5"),
        (["--data=digits", "--weights=none.npz"], "--weights is for resnet50"),
        (["--data=digits", "--out_path=/dev/null"], "--out_path: cannot use the folder /dev/null/vgg16_digits"),
    ],
)
def test_bad_command_lines(arguments, told, tmp_path, refused, light):
    refused(_python(*arguments, cwd=tmp_path, env=light), told)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", FLAG_FILES, ids=lambda path: path.stem)
def test_flag_files_are_accepted(path, tmp_path, refused, light):
    # The last flag is refused, so those before it are known and allowed, and nothing is trained.
    refused(_python(f"--flagfile={path}", "--batch_size=0", cwd=tmp_path, env=light), "--batch_size must be at least 1")


def test_a_run_its_repetition_and_one_more_version(tmp_path):
    flags = ["--data=digits", "--width=0.0625", "--epochs=1", "--finetune_epochs=1", "--learning_rate=0.05"]
    flags += ["--scoring=l2,random", f"--out_path={tmp_path}"]
    result = _python(*flags, "--version=v4_50")
    assert result.returncode == 0, result.stderr
    assert "l2 v4_50: " in result.stderr and "cuInit" not in result.stderr
    (results,) = tmp_path.glob("vgg16_digits_w0.0625_*/finetuned_*")
    stored = json.loads((results / "results.json").read_text())
    assert set(stored) == {"unpruned", "l2", "random"}
    accuracy = stored["l2"]["v4_50"]["test_accuracy"]
    assert f"{accuracy:.4f}" in result.stdout
    assert all((results / name).stat().st_size > 1000 for name in ("accuracy.png", "training.png"))
    again = _python(*flags, "--version=v4_50")
    assert again.returncode == 0 and "nothing to do" in again.stdout
    more = _python(*flags, "--scoring=l2", "--p", ",".join(["0.5"] * 13))
    assert more.returncode == 0, more.stderr
    assert len(json.loads((results / "results.json").read_text())["l2"]) == 2
