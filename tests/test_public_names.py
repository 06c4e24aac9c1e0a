"""The public names exist and load late; saved sparse models load in a fresh process."""

import inspect
import re
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest

import tfprune


def test_every_name_is_there_and_listed():
    for name in tfprune.__all__:
        assert getattr(tfprune, name) is not None
        assert name in dir(tfprune)
    assert not hasattr(tfprune, "no_such_name")


def test_sparsity_is_a_function():
    from tfprune.connectivity.report import sparsity

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="d")])
    report = tfprune.sparsity(model, {"d/kernel": np.eye(3, 2, dtype=bool)})
    assert (report.weights.kept, report.weights.effective) == (2, 2)
    given = list(inspect.signature(tfprune.sparsity).parameters)
    assert given == list(inspect.signature(sparsity).parameters)


@pytest.mark.slow
def test_a_saved_sparse_model_loads_in_a_fresh_process(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="d")])
    path = tmp_path / "sparse.keras"
    tfprune.masked(model, {"d/kernel": np.eye(3, 2, dtype=bool)}).save(path)
    code = f"import tfprune; print(tfprune.masks_of(tfprune.load_model({str(path)!r})).kept)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "2", done.stderr[-2000:]


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "sparse.keras"
    with pytest.raises(tfprune.InputError, match=f"cannot read {path}"):
        tfprune.load_model(path)
    path.write_bytes(b"PK not a model")
    with pytest.raises(tfprune.InputError, match=f"cannot read {path}") as caught:
        tfprune.load_model(path)
    assert "\n" not in str(caught.value)


def _results(tmp_path):
    """Name of a public function or class -> what it gave, and numbers that its text must hold."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, activation="relu", name="c"),
            keras.layers.Flatten(),
            keras.layers.Dense(2, name="d"),
        ]
    )
    masks = {"c/kernel": np.arange(36).reshape(3, 3, 1, 4) % 4 == 0, "d/kernel": np.ones((144, 2), bool)}
    sparse = tfprune.masked(model, masks)
    small = tfprune.compact(sparse)
    report, compaction = tfprune.sparsity(sparse), tfprune.compaction_report(sparse, small)
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype("float32")
    tfprune.save_masks(tmp_path / "m.npz", tfprune.Masks(masks))
    narrow = tfprune.prune_filters(model, "l2", 0.5)
    return {
        "prune": (tfprune.prune(model, "random/uniform", 0.5, seed=0), "162 of 324"),
        "Masks": (tfprune.Masks(masks), "297 of 324"),
        "masks_of": (tfprune.masks_of(sparse), "297 of 324"),
        "load_masks": (tfprune.load_masks(tmp_path / "m.npz"), "297 of 324"),
        "sparsity": (report, "330 parameters in all, 324"),
        "Counts": (report.weights, "297 of 324 kept"),
        "compaction_report": (compaction, "FLOPs after"),
        "Size": (compaction.before, "330 parameters"),
        "acceleration_report": (tfprune.acceleration_report(sparse, repeats=1), "with Adam"),
        "Cost": (tfprune.acceleration_report(sparse, repeats=1).total, "81 of 81 kept, 324 bytes, "),
        "pattern_report": (tfprune.pattern_report(sparse, patterns="row"), "-"),
        "PatternCounts": (tfprune.pattern_report(sparse).counts["column"]["d/kernel"], "2 of 2 groups kept"),
        "pruners": (tfprune.pruners(), "snip/iterative"),
        "scores": (tfprune.scores(), "magnitude "),
        "filter_scores": (tfprune.filter_scores(), "operator_norm_absolute "),
        "quotas": (tfprune.quotas(), "erk "),
        "export": (tfprune.export(model, tmp_path / "m.keras"), "bytes, "),
        "export_report": (tfprune.export_report({"m": model}, x, precisions=["float32"], repeats=1), "ms_batch_32"),
        "report": (tfprune.report(model, sparse, small, files=False), "effective sparsity"),
        "prunable": (tfprune.prunable(model), "3 x 3 x 1 x 4"),
        "unsupported": (tfprune.unsupported(model), "[]"),
        "Reachability": (tfprune.Reachability(model), "2 kernels"),
        "prune_filters": (narrow, "Sequential"),
        "compact": (small, "Sequential"),
    }


def test_every_result_prints_as_a_table_or_a_sentence(tmp_path):
    for name, (result, part) in _results(tmp_path).items():
        for text in (str(result), repr(result)):
            assert part in text, (name, text)
            assert not re.match(r"\w+\(\w+=", text), f"{name} shows a dataclass: {text[:80]}"
            assert "object at 0x" not in text and "array(" not in text and len(text) < 3000, (name, text[:200])


def test_no_column_of_an_export_report_is_hidden_and_parts_of_it_are_plain():
    from tfprune.surgery.export_report import ExportTable

    row = {"model": "m", "bytes": 1234567, "difference": 1.25e-7, "agreement": 0.996, "ms_batch_1": 1.23456}
    table = ExportTable([row, {**row, "agreement": None}])
    first, second, _ = str(table).splitlines()
    assert first.split() == list(row) and second.split() == ["m", "1,234,567", "1.2e-07", "0.9960", "1.23"]
    assert type(table[["model"]]) is pd.DataFrame and table["bytes"].sum() == 2 * 1234567
