"""What the files of one network tell: of earlier versions, of the originals, and of results with layers."""

import json
import warnings

import numpy as np
import pytest

from tfprune.overview.details import Details, Layer, details
from tfprune.overview.table import overview_table
from tfprune.records.metric_log import MetricLog
from tfprune.records.result import LAYER, Result, write_result


def _rows(table):
    return {row["label"]: row for row in table.to_dict("records")}


def test_layers_of_a_result(study):
    found = details(_rows(overview_table(study))["snip, direct compression 20"])
    assert found.layers == (Layer("a/kernel", 600, 49, None), Layer("b/kernel", 400, 1, 0))
    assert found.layers[0].density == 49 / 600 and found.layers[0].effective_density is None
    assert found.layers[1].effective_density == 0
    assert found.settings["drops"] == [1, 2] and found.curves == {} and found.figures == {}


def test_of_a_system_of_ones_own_logs_and_figures_are_found(study):
    log = MetricLog()
    for step, value in ((10, 0.5), (0, 0.25)):
        log.add("test_accuracy", step, value)
    log.write(study / "mine/log")
    (study / "mine/accuracy.png").write_bytes(b"")
    (row,) = overview_table(study / "mine").to_dict("records")
    found = details(row)
    assert found.curves["test_accuracy"].tolist() == [[0, 0.25], [10, 0.5]] and found.layers is None
    assert found.figures == {"accuracy": (study / "mine/accuracy.png").absolute()}


def test_old_runs(old):
    table = overview_table(old)
    for row in table.to_dict("records"):
        found = details(row)
        assert all(curve.dtype == np.float64 and curve.shape[1] == 2 for curve in found.curves.values())
        assert all((np.diff(curve[:, 0]) > 0).all() for curve in found.curves.values())
        if row["accuracy"] == row["accuracy"]:
            assert found.curves["test_accuracy"][-1, 1] == pytest.approx(row["accuracy"], abs=1e-12)
        # The masks of the others are not among these files.
        assert (found.layers is not None) == (row["family"] in ("imp", "one_shot"))
        for name in LAYER if found.layers else ():
            assert sum(getattr(layer, name) for layer in found.layers) == row[name]


def test_steps_of_one_shot_tests_are_those_of_its_settings(old):
    row = _rows(overview_table(old))["snip, effective compression 50"]
    assert details(row).curves["test_accuracy"][:, 0].tolist() == [0, 40]
    names = [layer.name for layer in details(row).layers]
    assert names == ["layer_0", "layer_1", "layer_2"]  # no masks tell them


def test_errors_of_iterative_pruning(golden):
    rows = overview_table(golden / "imp").to_dict("records")
    found = details(rows[2])
    assert found.curves["train_error"].shape == (61, 2) and found.curves["train_error"][-1, 0] == 60
    assert [layer.name for layer in found.layers] == ["layer_0/kernel", "layer_1/kernel", "layer_2/kernel"]
    assert sum(layer.effective for layer in found.layers) == rows[2]["effective"]


def test_originals_of_energy_based_pruning(tmp_path):
    lines = [" ".join(map(str, [epoch, *range(2, 7), "nan", *range(8, 12)])) for epoch in (0.5, 0.25)]
    (tmp_path / "loss_a.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "args_a.json").write_text('{"model": "ising", "nnmodel": "resnet18", "dataset": "cifar10"}')
    (row,) = overview_table(tmp_path).to_dict("records")
    found = details(row)
    assert (row["network"], row["data"]) == ("resnet18", "cifar10")
    assert found.curves["train_loss"].tolist() == [[1, 0.5], [2, 0.25]]
    assert found.curves["valid_accuracy"].tolist() == [[1, 4], [2, 4]] and "average_cost" not in found.curves


def test_what_is_damaged_costs_itself_and_a_line(old, tmp_path):
    (source,) = (path.parent for path in (old / "filters").rglob("unpruned/metrics.json"))
    for name in ("metrics.json", "run.json"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    folder = tmp_path / "unpruned"
    folder.mkdir()
    for name in ("metrics.json", "run.json"):
        (tmp_path / name).rename(folder / name)
    (folder / "logger").write_text("test_loss,1\n")
    (row,) = overview_table(tmp_path).to_dict("records")
    with pytest.warns(UserWarning, match=r"logger, line 1: must be name,iteration,value"):
        found = details(row)
    assert found.curves == {} and found.settings == row["settings"]


def test_a_result_of_before_layers_is_read(tmp_path):
    write_result(tmp_path / "result.json", Result("mine", "a", weights=3))
    content = json.loads((tmp_path / "result.json").read_text())
    assert content.pop("layers") is None
    (tmp_path / "result.json").write_text(json.dumps(content))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (row,) = overview_table(tmp_path).to_dict("records")
        assert details(row) == Details(settings={})
