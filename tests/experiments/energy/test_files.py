"""The files of a run of energy-based pruning: what is written is what is read, and damage is told."""

import numpy as np
import pandas as pd
import pytest

from tfprune.errors import InputError
from tfprune.experiments.energy.files import (
    LOSSES,
    read_states,
    read_table,
    write_losses,
    write_states,
    write_test,
)
from tfprune.records.arrays import read_npz, write_npz
from tfprune.records.metric_log import MetricLog

ROWS = ["train_loss", "train_accuracy", "valid_loss", "valid_top1", "valid_top3", "valid_top5"]
ROWS += ["average_cost", "best_cost", "kept", "lr", "valid_energy"]
STRETCHES = [("conv1", 6), ("layer1.0.conv2", 1), ("größe", 4)]


def _log(costs=True):
    """Two epochs of three batches; each metric of epoch e is its place in `ROWS` + e / 10."""
    log = MetricLog()
    for epoch in (1, 2):
        for step in range(3 * epoch - 3, 3 * epoch) if costs else ():
            log.add("average_cost", step, float(step))
            log.add("best_cost", step, step - 10.0)
        for number, (column, metric) in enumerate(LOSSES.items()):
            if column not in ("average_cost", "best_cost"):
                log.add(metric, 3 * epoch, number + epoch / 10)
    return log


def test_a_row_for_each_epoch_and_one_for_each_batch(tmp_path):
    write_losses(tmp_path, "run", _log())
    losses, costs = (read_table(tmp_path / f"{start}_run.txt") for start in ("loss", "evolutionaryCost"))
    assert list(losses.columns) == ROWS == list(LOSSES)
    expected = np.arange(11) + np.array([[0.1], [0.2]])
    expected[:, 6:8] = [[1, -9], [4, -6]]  # means of 0, 1, 2 and of 3, 4, 5
    np.testing.assert_allclose(losses, expected)
    assert list(costs.columns) == ["average_cost", "best_cost"]
    np.testing.assert_array_equal(costs, [[step, step - 10] for step in range(6)])


def test_without_a_search_there_are_no_costs(tmp_path):
    write_losses(tmp_path, "run", _log(costs=False))
    assert [path.name for path in tmp_path.iterdir()] == ["loss_run.txt"]
    losses = read_table(tmp_path / "loss_run.txt")
    assert losses[["average_cost", "best_cost"]].isna().all(axis=None) and losses.notna().sum(axis=None) == 18
    assert len((tmp_path / "loss_run.txt").read_text().splitlines()[1].split()) == 11


def test_numbers_are_written_in_full(tmp_path):
    values = [1 / 3, 1e-300, -(2.0**53) - 1, np.inf]
    write_test(tmp_path, "run", pd.DataFrame({"state": list("abcd"), "loss": values}))
    table = read_table(tmp_path / "test_run.txt")
    assert list(table["state"]) == list("abcd") and list(table["loss"]) == values


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b"# a b\n1 2\n3 4 5 6\n7 8 9\n"])
def test_a_table_that_cannot_be_read(tmp_path, content):
    path = tmp_path / "loss_run.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_table(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("epochs", [1, 5])
def test_states_and_their_layers(tmp_path, epochs):
    states = np.random.default_rng(0).random((epochs, 11)) < 0.5
    write_states(tmp_path / "states.npz", states, STRETCHES)
    came, stretches = read_states(tmp_path / "states.npz")
    assert came.dtype == bool and stretches == STRETCHES
    np.testing.assert_array_equal(came, states)
    assert read_npz(tmp_path / "states.npz")["states"].shape == (epochs, 2)  # eight bits in a byte


@pytest.mark.parametrize(
    "damage",
    [
        {"states": np.zeros((0, 2), np.uint8)},
        {"states": np.zeros((2, 3), np.uint8)},
        {"states": np.zeros((2, 2), np.int16)},
        {"states": np.zeros(4, np.uint8)},
        {"states": None},
        {"names": np.frombuffer(b"\xff", np.uint8)},
        {"names": np.frombuffer(b"conv1\nfc", np.uint8)},
        {"sizes": np.array([6, 1, -4])},
        {"sizes": np.array(11)},
        {"sizes": np.array(["a", "b", "c"])},
        {"sizes": np.array([2**62, 2**62, 2**62])},
        {"sizes": np.array([20, -9, 0])},
        {"sizes": np.array([6.5, 1, 3.5])},
    ],
    ids=str,
)
def test_damaged_states(tmp_path, damage):
    path = tmp_path / "states.npz"
    write_states(path, np.ones((2, 11), bool), STRETCHES)
    arrays = {**read_npz(path), **damage}
    write_npz(path, {name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(InputError, match="not the states of a network") as error:
        read_states(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_no_states_at_all(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_states(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("states")
    with pytest.raises(InputError, match=r"text\.npz"):
        read_states(tmp_path / "text.npz")
