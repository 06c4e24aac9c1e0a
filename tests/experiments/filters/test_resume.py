"""Killed without warning again and again, a run ends with the files of one that was left in peace."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from faults import kill_when_new, killed_until_done, tree

from tfprune.layers.weights import weights_of

FLAGS = ["--data=digits", "--width=0.0625", "--finetune_epochs=2", "--learning_rate=0.05", "--scoring=l2"]
# The second command's tables and figures hold the results of the first, too.
VERSIONS = ("v4_50", "v5_50")


@pytest.fixture
def filters(command):
    def run(folder, version, epochs):
        words = [f"--version={version}", f"--epochs={epochs}", f"--out_path={folder}"]
        result = command("filters", *FLAGS, *words)
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
        if name.endswith("metrics.json"):
            one, other = (json.loads(files[name]) for files in (came, expected))
            for changing in ("finetuning_seconds", "bytes"):
                one.pop(changing), other.pop(changing)
            assert one == other


def _assert_same_weights(came, expected):
    paths = [path.relative_to(expected) for path in expected.rglob("model.keras")]
    assert len(paths) == 3
    for path in paths:
        one, other = (weights_of(keras.saving.load_model(root / path, compile=False)) for root in (came, expected))
        assert list(one) == list(other) and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_killed_at_one_write_after_the_other(tmp_path, filters):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for version in VERSIONS:
        filters(whole, version, 1)
    assert killed_until_done(lambda: filters(killed, VERSIONS[0], 1), killed, step=3) > 3
    filters(killed, VERSIONS[1], 1)
    _assert_same(killed, whole)
    _assert_same_weights(killed, whole)


@pytest.mark.slow
def test_a_killed_process_ends_with_the_same_files(tmp_path, filters):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for version in VERSIONS:
        filters(whole, version, 3)
    command = ["tfprune.filters", *FLAGS, f"--version={VERSIONS[0]}", "--epochs=3", f"--out_path={killed}"]
    assert kill_when_new(command, killed, "*/finetuned_*/l2/*/checkpoint.npz")
    for version in VERSIONS:
        filters(killed, version, 3)
    _assert_same(killed, whole)
    _assert_same_weights(killed, whole)
