"""Networks that differ in their seed alone are one line: its numbers, and what is printed."""

import numpy as np
import pandas as pd
import pytest

from tfprune.overview.summary import as_text, grouped
from tfprune.overview.table import overview_table


def test_means_deviations_and_counts(study):
    lines = grouped(overview_table(study))
    assert lines["runs"].tolist() == [1, 2, 2] and lines["family"].tolist() == ["mine", "one_shot", "one_shot"]
    ten, twenty = lines.iloc[1], lines.iloc[2]
    assert ten["accuracy"] == pytest.approx(0.85) and ten["accuracy_std"] == pytest.approx(0.1 / np.sqrt(2))
    assert (ten["accuracy_count"], twenty["accuracy_count"]) == (2, 1) and twenty["accuracy"] == 0.7
    assert ten["compression"] == 10 and "compression_std" not in lines  # the same in all runs of a line
    assert twenty["effective_compression"] == np.inf
    # What tells the lines apart is enough, and what tells repetitions apart is not shown.
    told = ["family", "network", "data", "method", "target", "target_compression", "runs"]
    assert list(lines.columns[: len(told)]) == told and not any(name.startswith("settings.") for name in lines)


def test_settings_that_tell_lines_apart_are_columns(old):
    lines = grouped(overview_table(old))
    assert len(lines) == 14 and "label" in lines  # `training` and `level 0` differ in nothing else
    assert "settings.training.lr" not in lines
    of_imp = grouped(overview_table(old / "imp"))
    assert "label" not in of_imp and of_imp["level"].tolist() == [0, 1, 2]


def test_chosen_columns(study):
    lines = grouped(overview_table(study), ["seed", "method", "accuracy"])
    assert list(lines.columns) == ["runs", "seed", "method", "accuracy", "accuracy_std", "accuracy_count"]
    assert lines["seed"].tolist() == ["x", "(2 values)", "(2 values)"]


def test_text(study):
    lines = as_text(grouped(overview_table(study), ["method", "kept", "accuracy", "effective_compression"])).split("\n")
    assert lines[0].split() == ["runs", "method", "kept", "accuracy", "effective_compression"]
    assert lines[1].split() == ["1"]  # what is missing is no 0
    assert lines[2].split("  ")[-1].strip() == "20" and "0.8500 ± 0.0707" in lines[2]
    assert lines[3].split() == ["2", "snip", "50", "0.7000", "(1)", "inf"]
    assert len({line.index("kept") + 4 for line in lines[:1]} | {line.index(" 50 ") + 3 for line in lines[3:]}) == 1


def test_an_infinite_mean_has_no_deviation(study):
    table = overview_table(study).query("method == 'snip' and target_compression == 10")
    table["effective_compression"] = [10.0, np.inf]
    table = pd.concat([table, table.iloc[:1].assign(effective_compression=12.0)])
    (line,) = grouped(table, ["effective_compression"]).to_dict("records")
    assert line["effective_compression"] == np.inf and line["effective_compression_count"] == 3
    assert np.isnan(line["effective_compression_std"])
    assert as_text(grouped(table, ["effective_compression"])).split() == ["runs", "effective_compression", "3", "inf"]


def test_text_of_rows():
    table = pd.DataFrame(
        {
            "settings.on": pd.Series([True, None], dtype="boolean"),
            "whole": pd.Series([1234567, None], dtype="Int64"),
            "part": [1234567.0, 0.1234567],
            "large": [1e300, 1e17],
            "dict": [{"a": 1}, None],
        }
    )
    assert as_text(table).split("\n") == [
        "on        whole       part                    large  dict",
        "True  1,234,567  1,234,567                   1e+300  {'a': 1}",
        "                   0.12346  100,000,000,000,000,000",
    ]
