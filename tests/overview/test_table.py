"""The flat table: columns, what settings say, what is missing, and what belongs together."""

import itertools
import json
import shutil

import numpy as np
import pandas as pd
import pytest

import tfprune
from tfprune.experiments.results import COLUMNS as RESULT_COLUMNS
from tfprune.overview.details import Details, details
from tfprune.overview.files import write_parquet
from tfprune.overview.summary import as_text, grouped
from tfprune.overview.table import COLUMNS, overview_table
from tfprune.records.result import Result, write_result
from tfprune.sweeps.state import RECORD, RUNS


def test_columns_and_types(study):
    table = overview_table(study)
    assert tuple(table.columns[: len(COLUMNS)]) == COLUMNS and set(RESULT_COLUMNS) <= set(COLUMNS)
    assert list(table.columns[len(COLUMNS) :]) == ["settings.compression", "settings.sample"]
    kinds = {name: str(table[name].dtype) for name in table}
    assert kinds["settings.compression"] == "float64" and kinds["seed"] == kinds["sweep"]
    assert isinstance(table["sweep"].dtype, pd.StringDtype)
    # A table of other networks has the same types, and so has one of none.
    for other in (overview_table(study / "mine"), overview_table(study / "lenet5/snip"), _empty(study)):
        assert {name: str(other[name].dtype) for name in COLUMNS} == {name: kinds[name] for name in COLUMNS}


def _empty(study):
    (study / "none").mkdir()
    table = overview_table(study / "none")
    assert not len(table) and tuple(table.columns) == COLUMNS
    return table


def test_numbers_of_settings_and_results(study):
    table = overview_table(study)
    own, *snip = sorted(table.to_dict("records"), key=lambda row: row["family"] != "mine")
    assert {row["target_compression"] for row in snip} == {10.0, 20.0} and {row["target"] for row in snip} == {"direct"}
    for row in snip:
        compression = row["settings.compression"]
        assert row["compression"] == 1000 / row["kept"] == compression == row["target_compression"]
        assert row["effective_compression"] == (20 if compression == 10 else np.inf)
        assert (row["network"], row["data"], row["method"]) == ("lenet5", "cifar10", "snip")  # published for lenet5
        assert row["seed"] == row["settings.sample"] and row["settings"]["drops"] == [1, 2]
    assert (own["network"], own["data"], own["seed"]) == ("mlp", "digits", "x")
    known = {"family", "label", "network", "data", "series", "group", "seed", "settings", "more", "versions"}
    assert {name for name, value in own.items() if isinstance(value, dict) or pd.notna(value)} == {
        *known,
        *("folder", "file", "source"),
    }


def test_what_belongs_together(study):
    table = overview_table(study)
    snip = table[table["family"] == "one_shot"]
    assert snip["series"].nunique() == 1 and table["series"].nunique() == 2
    assert snip.groupby("target_compression")["group"].nunique().tolist() == [1, 1] and table["group"].nunique() == 3


def test_what_belongs_together_is_the_same_in_every_table(study):
    whole, part = overview_table(study), overview_table(study / "mine")
    for name in ("series", "group"):
        assert part[name].tolist() == whole[whole["family"] == "mine"][name].tolist()


def test_networks_without_settings_belong_together_in_one_study_alone(golden, tmp_path):
    for place in ("a", "b"):
        shutil.copytree(golden / "imp/original_run", tmp_path / place)
    table = overview_table(tmp_path)
    assert len(table) == 6 and table["series"].nunique() == 2 and table["group"].nunique() == 6
    for seed, digest in ((1, "x"), (2, "x"), (1, "y")):
        (tmp_path / f"{digest}{seed}").mkdir()
        write_result(tmp_path / f"{digest}{seed}/result.json", Result("mine", "a", seed=seed, digest=digest))
    own = overview_table(tmp_path)
    assert own[own["family"] == "mine"].groupby("digest")["group"].nunique().tolist() == [1, 1]
    assert own[own["family"] == "mine"]["group"].nunique() == 2


def test_of_old_runs_level_and_branch_tell_groups_apart(old):
    table = overview_table(old)
    lottery = table[(table["family"] == "lottery") & table["digest"].str.startswith("deda")]
    assert lottery.groupby("method")["series"].nunique().tolist() == [1, 1]
    assert lottery["series"].nunique() == 2 and lottery["group"].nunique() == len(lottery) == 4
    imp = table[table["family"] == "imp"]
    assert imp["series"].nunique() == 1 and imp["group"].nunique() == 3
    assert table["network"].notna().all() and (table["data"] == "digits").all()
    networks = {"imp": "f6:f5:x", "lottery": "mnist_lenet_20_12", "filters": "vgg16", "one_shot": "lenet300100"}
    assert table.groupby("family")["network"].agg(set).map(list).map(lambda names: names[0]).to_dict() == networks


@pytest.mark.parametrize(
    "values, kind, first",
    [
        ((1, 2), "Int64", 1),
        ((1, 2.5), "float64", 1.0),
        ((True, False), "boolean", True),
        (("a", "b"), "str", "a"),
        ((1, "b"), "str", "1"),
        (([1], [2, "x"]), "str", "[1]"),
        ((2**70, 1), "str", str(2**70)),
        ((True, 1), "str", "true"),
    ],
)
def test_kinds_of_settings(tmp_path, values, kind, first):
    for number, value in enumerate((*values, None)):
        (tmp_path / str(number)).mkdir()
        write_result(tmp_path / f"{number}/result.json", Result("mine", "a", {"x": {"y": value}, "same": 1}))
    table = overview_table(tmp_path)
    assert list(table.columns[len(COLUMNS) :]) == ["settings.x.y"]
    column = table["settings.x.y"]
    assert column.iloc[0] == first and pd.isna(column.iloc[2])
    assert isinstance(column.dtype, pd.StringDtype) if kind == "str" else str(column.dtype) == kind


def test_settings_of_different_systems_do_not_differ(tmp_path):
    for family, rate in (("a", 1), ("b", 2)):
        (tmp_path / family).mkdir()
        write_result(tmp_path / family / "result.json", Result(family, "x", {"rate": rate, family: 3}))
    assert list(overview_table(tmp_path).columns) == list(COLUMNS)


def test_runs_of_a_sweep_are_named_after_it(study, tmp_path_factory):
    place = tmp_path_factory.mktemp("sweeps") / "snips"
    place.mkdir()
    study.rename(place / RUNS)
    assert overview_table(place)["sweep"].isna().all()  # a folder that is called runs
    (place / RECORD).write_text("{}")
    assert (overview_table(place)["sweep"] == "snips").all()
    assert (overview_table(place / RUNS / "lenet5/snip")["sweep"] == "snips").all()


def test_the_public_name():
    assert tfprune.overview_table is overview_table


_ODD = (True, 3, -1, 2**70, 1.5, float("inf"), float("nan"), "", "a\nb", "\ud800", [], [1], {}, {"a": {"b": [{}]}})


@pytest.mark.parametrize("family", ["imp", "one_shot", "lottery", "filters", "energy", "../x"])
def test_settings_may_hold_anything(tmp_path, family):
    """A result file of others, or of a later version."""
    names = ("architecture", "compression", "pruner", "data", "model", "dataset", "arch", "nnmodel", "unpruned", "seed")
    for number, (name, value) in enumerate(itertools.product((*names, "iterations", "p", "version"), _ODD)):
        (tmp_path / str(number)).mkdir()
        content = {"tfprune_result": 1, "family": family, "label": "l", "settings": {name: value}}
        (tmp_path / f"{number}/result.json").write_text(json.dumps(content))
    table = overview_table(tmp_path)
    assert len(table) == number + 1 and all(isinstance(details(row), Details) for row in table.to_dict("records"))
    assert grouped(table)["runs"].sum() == len(table) and as_text(grouped(table, ["settings.seed"]))
    write_parquet(tmp_path / "all.parquet", table)
    texts = pd.read_parquet(tmp_path / "all.parquet")["settings"]
    assert json.loads(texts[5 * len(_ODD)]) == {"dataset": True}
