"""Folders of filter-pruning runs, and their tables."""

import json

import pytest

from tfprune.errors import InputError
from tfprune.experiments.filters.folder import FilterFolder
from tfprune.experiments.filters.results import COLUMNS, read_curves, read_metrics, read_results, write_results
from tfprune.records.metric_log import MetricLog
from tfprune.records.network_folder import is_finished


def _make(path, scoring, version, accuracies, finished=True):
    folder = FilterFolder(path)
    folder.claim({"version": version})
    log = MetricLog()
    for epoch, accuracy in enumerate(accuracies):
        log.add("test_accuracy", epoch, accuracy)
    folder.write_log(log)
    if finished:
        folder.finish({"scoring": scoring, "version": version, "parameters": 7, "test_accuracy": accuracies[-1]})
    folder.release()


@pytest.fixture
def results(tmp_path):
    _make(tmp_path / "unpruned", "unpruned", "unpruned", [0.1, 0.9])
    tuned = tmp_path / "finetuned_1"
    _make(tuned / "l2/v1_50", "l2", "v1_50", [0.4, 0.8])
    _make(tuned / "gm_norm/v1_50", "gm_norm", "v1_50", [0.5, 0.7])
    _make(tuned / "gm_norm/v1_25", "gm_norm", "v1_25", [0.6, 0.85])
    _make(tuned / "gm_norm/v1_75", "gm_norm", "v1_75", [0.3], finished=False)
    return tuned


def test_tables(results):
    table = write_results(results)
    assert list(table.columns) == list(COLUMNS)
    assert list(zip(table["scoring"], table["version"], strict=True)) == [
        ("unpruned", "unpruned"),
        ("gm_norm", "v1_25"),
        ("gm_norm", "v1_50"),
        ("l2", "v1_50"),
    ]
    assert table.equals(read_results(results))
    stored = json.loads((results / "results.json").read_text())
    assert stored["gm_norm"]["v1_25"]["test_accuracy"] == 0.85 and "v1_75" not in stored["gm_norm"]
    curves = read_curves(results)
    part = curves[(curves["scoring"] == "l2")]
    assert part["epoch"].tolist() == [0, 1] and part["test_accuracy"].tolist() == [0.4, 0.8]
    assert not is_finished(results / "gm_norm/v1_75") and is_finished(results / "l2/v1_50")


def test_a_folder_belongs_to_one_network(results):
    folder = FilterFolder(results / "l2/v1_50")
    with pytest.raises(InputError, match="version: v1_50 -> v1_90"):
        folder.claim({"version": "v1_90"})
    with pytest.raises(InputError, match="another process"):
        FilterFolder(results / "l2/v1_50")
    folder.claim({"version": "v1_90"}, overwrite=True)
    assert not folder.finished and not folder.path("metrics.json").exists() and not folder.path("logger").exists()


def test_damaged_files_are_named(results):
    path = results / "l2/v1_50/metrics.json"
    path.write_text("{")
    with pytest.raises(InputError, match=r"metrics.json"):
        read_metrics(path.parent)
    (path.parent / "run.json").write_text("[]")
    with pytest.raises(InputError, match=r"run.json: not the record of a run"):
        read_results(results)
