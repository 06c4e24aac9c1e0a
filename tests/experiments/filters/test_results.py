"""Folders of filter-pruning runs, and their tables."""

import json

import pytest

from tfprune.errors import InputError
from tfprune.experiments.filters.results import (
    COLUMNS,
    LAYOUT,
    TRAINED,
    read_curves,
    read_metrics,
    read_results,
    write_results,
)
from tfprune.records.metric_log import MetricLog
from tfprune.records.run_folder import RunFolder, is_finished


def _make(path, scoring, version, accuracies, trained=True):
    folder = RunFolder(path, LAYOUT)
    folder.claim({"version": version})
    log = MetricLog()
    for epoch, accuracy in enumerate(accuracies):
        log.add("test_accuracy", epoch, accuracy)
    log.write(folder.path("logger"))
    if trained:
        metrics = {"scoring": scoring, "version": version, "parameters": 7, "test_accuracy": accuracies[-1]}
        folder.path("metrics.json").write_text(json.dumps(metrics))
        folder.mark(TRAINED)
    folder.release()


@pytest.fixture
def results(tmp_path):
    _make(tmp_path / "unpruned", "unpruned", "unpruned", [0.1, 0.9])
    tuned = tmp_path / "finetuned_1"
    _make(tuned / "l2/v1_50", "l2", "v1_50", [0.4, 0.8])
    _make(tuned / "gm_norm/v1_50", "gm_norm", "v1_50", [0.5, 0.7])
    _make(tuned / "gm_norm/v1_25", "gm_norm", "v1_25", [0.6, 0.85])
    _make(tuned / "gm_norm/v1_75", "gm_norm", "v1_75", [0.3], trained=False)
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
    trained = [is_finished(results / name, LAYOUT, stage=TRAINED) for name in ("gm_norm/v1_75", "l2/v1_50")]
    assert trained == [False, True]


def test_a_folder_belongs_to_one_network(results):
    folder = RunFolder(results / "l2/v1_50", LAYOUT)
    with pytest.raises(InputError, match="version: v1_50 -> v1_90"):
        folder.claim({"version": "v1_90"})
    with pytest.raises(InputError, match="another process"):
        RunFolder(results / "l2/v1_50", LAYOUT)
    curves = folder.path("tensorboard/events.out.tfevents.1")
    curves.parent.mkdir()
    curves.touch()
    folder.claim({"version": "v1_90"}, overwrite=True)
    assert not folder.reached(TRAINED)
    assert not any(folder.path(name).exists() for name in ("metrics.json", "logger")) and not curves.exists()


def test_damaged_files_are_named(results):
    path = results / "l2/v1_50/metrics.json"
    path.write_text("{")
    with pytest.raises(InputError, match=r"metrics.json"):
        read_metrics(path.parent)
    (path.parent / "run.json").write_text("[]")
    with pytest.raises(InputError, match=r"run.json: not the record of a run"):
        read_results(results)
