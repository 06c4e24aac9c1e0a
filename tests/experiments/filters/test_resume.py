"""Killed without warning again and again, a run ends with the files of one that was left in peace."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from faults import kill_when_new, killed_until_done, tree

from tfprune.layers.weights import weights_of

FLAGS = ["--data=digits", "--width=0.0625", "--finetune_epochs=2", "--learning_rate=0.05", "--scoring=l2"]
FLAGS += ["--version=v4_50"]


@pytest.fixture
def filters(command):
    def run(folder, epochs):
        result = command("filters", *FLAGS, f"--epochs={epochs}", f"--out_path={folder}")
        assert result.returncode == 0, result.stderr

    return run


def _assert_same(came, expected):
    """Models are compared by their weights and results without how long they took: both hold times."""
    came, expected = tree(came), tree(expected)

    def plain(files):
        return {name for name in files if "tensorboard" not in Path(name).parts}  # one file for each start

    assert plain(came) == plain(expected)
    assert not [name for name in came if "checkpoint" in name or "tmp" in name]
    same = [name for name in plain(expected) if Path(name).name in ("logger", "run.json", "training.png")]
    assert same and all(came[name] == expected[name] for name in same)
    for name in plain(expected):
        if Path(name).name in ("metrics.json", "result.json"):
            one, other = (json.loads(files[name]) for files in (came, expected))
            for changing in ("finetuning_seconds", "seconds", "bytes"):
                one.pop(changing, None), other.pop(changing, None)
            assert one == other, name


def _assert_same_weights(came, expected):
    paths = [path.relative_to(expected) for path in expected.rglob("model.keras")]
    assert len(paths) == 2
    for path in paths:
        one, other = (weights_of(keras.saving.load_model(root / path, compile=False)) for root in (came, expected))
        assert list(one) == list(other) and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_killed_at_one_write_after_the_other(tmp_path, filters):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    filters(whole, 1)
    assert killed_until_done(lambda: filters(killed, 1), killed, step=3) > 3
    _assert_same(killed, whole)
    _assert_same_weights(killed, whole)


@pytest.mark.slow
def test_a_killed_process_ends_with_the_same_files(tmp_path, filters):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    filters(whole, 3)
    command = ["tfprune.filters", *FLAGS, "--epochs=3", f"--out_path={killed}"]
    assert kill_when_new(command, killed, "*/finetuned_*/l2/*/checkpoint.npz")
    filters(killed, 3)
    _assert_same(killed, whole)
    _assert_same_weights(killed, whole)
