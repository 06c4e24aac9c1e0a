"""Finished runs as tables."""

import json

import numpy as np
import pandas as pd
import pytest

from tfprune.errors import InputError
from tfprune.experiments.lottery.files import LAYOUT, LOGGER, REPORT, TRAINED
from tfprune.experiments.lottery.results import read_curves, read_results, summary, write_summary
from tfprune.records.metric_log import MetricLog
from tfprune.records.run_folder import RunFolder

BRANCH = "lottery_branch_randomly_prune_5f"


def _make(folder, label, accuracies, unpruned=None, finished=True, loss=True):
    run = RunFolder(folder, LAYOUT)
    run.claim({"label": label})
    log = MetricLog()
    for index, accuracy in enumerate(accuracies):
        log.add("test_accuracy", 10 * index, accuracy)
        if loss:
            log.add("test_loss", 10 * index, 1 - accuracy)
    log.write(run.path(LOGGER))
    if unpruned is not None:
        run.path(REPORT).write_text(json.dumps({"total": 100, "unpruned": unpruned}))
    if finished:
        run.mark(TRAINED)
    run.release()


@pytest.fixture
def runs(tmp_path):
    for replicate, top in ((1, 0.9), (2, 0.8), (10, 0.7)):
        folder = tmp_path / f"replicate_{replicate}"
        _make(folder / "level_pretrain/main", "main", [0.1, 0.2], 100)
        _make(folder / "level_0/main", "main", [0.1, top, top - 0.1], 100)
        _make(folder / "level_1/main", "main", [0.1, top - 0.05], 80, finished=replicate < 10)
        _make(folder / f"level_1/{BRANCH}", "randomly_prune seed=7", [0.1, 0.5], 80, loss=False)
    (tmp_path / "replicate_x/main").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("")
    return tmp_path


def test_results(runs):
    table = read_results(runs)
    assert table["branch"].tolist() == ["main"] * 5 + ["randomly_prune seed=7"] * 3
    assert table["level"].tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert table["replicate"].tolist() == [1, 2, 10, 1, 2, 1, 2, 10]
    first = table.iloc[0]
    assert (first["density"], first["kept"], first["iteration"], first["run"]) == (1.0, 100, 20, "main")
    assert (first["test_accuracy"], first["best_test_accuracy"]) == (pytest.approx(0.8), 0.9)
    assert first["test_loss"] == pytest.approx(0.2)
    assert table["test_loss"].isna().tolist() == [False] * 5 + [True] * 3


def test_summary(runs):
    table = summary(read_results(runs))
    assert list(zip(table["branch"], table["level"], strict=True)) == [
        ("main", 0),
        ("main", 1),
        ("randomly_prune seed=7", 1),
    ]
    np.testing.assert_allclose(table["test_accuracy_mean"], [0.7, 0.8, 0.5])
    np.testing.assert_allclose(table["test_accuracy_std"], [0.1, np.std([0.85, 0.75], ddof=1), 0], atol=1e-12)
    assert table["test_accuracy_count"].tolist() == [3, 2, 3]
    assert table["test_loss_count"].tolist() == [3, 2, 0]
    np.testing.assert_allclose(table["density"], [1, 0.8, 0.8])
    path = write_summary(runs)
    assert path.name == "summary.csv" and not list(runs.glob(".*"))
    pd.testing.assert_frame_equal(pd.read_csv(path), table, check_dtype=False)


def test_curves(runs):
    curves = read_curves(runs)
    one = curves[(curves["level"] == 0) & (curves["replicate"] == 10)]
    assert one["iteration"].tolist() == [0, 10, 20]
    np.testing.assert_allclose(one["test_accuracy"], [0.1, 0.7, 0.6])


def test_one_shot_branches_of_one_strategy_are_points_of_one_line(tmp_path):
    for digest, unpruned in (("a", 50), ("b", 25)):
        _make(tmp_path / f"replicate_1/branch_oneshot_{digest}", "oneshot strategy=snip10", [0.5], unpruned)
    _make(tmp_path / "replicate_1/main", "main", [0.9])
    table = summary(read_results(tmp_path))
    assert table["branch"].tolist() == ["main", "oneshot strategy=snip10", "oneshot strategy=snip10"]
    assert table["density"].tolist()[1:] == [0.5, 0.25]
    assert np.isnan(table["density"][0]) and np.isnan(table["test_accuracy_std"][0])


def test_nothing_there(tmp_path):
    assert read_results(tmp_path).empty and summary(read_results(tmp_path)).empty and read_curves(tmp_path).empty
    with pytest.raises(InputError, match="none: no such folder of runs"):
        read_results(tmp_path / "none")


def test_a_damaged_file_is_named(runs):
    (runs / "replicate_1/level_0/main/logger").write_text("test_accuracy;1;2")
    with pytest.raises(InputError, match=r"level_0/main/logger, line 1"):
        read_results(runs)
