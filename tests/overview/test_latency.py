"""Latencies: measured once per machine and engine, kept beside the results, and read where they belong."""

import json

import pandas as pd
import pytest

import tfprune
from tfprune.connectivity.measured import parameters_of
from tfprune.overview import latency
from tfprune.overview.command import ResultsSettings, collect
from tfprune.overview.latency import latency_path, measure
from tfprune.overview.table import overview_table


@pytest.fixture
def run(tmp_path):
    """A network that is pruned and not trained."""
    how = {"data": "digits", "sample": "0", "train": False, "out_path": str(tmp_path), "quiet": True}
    tfprune.run("main", pruner="random/igq", pruning_type="effective", target_sparsity=0.98, **how)
    return tmp_path


def test_the_compacted_network_is_measured_once(run, monkeypatch, capsys):
    timed = []
    monkeypatch.setattr("tfprune.pruning.latency.median_milliseconds", lambda *_: timed.append(1) or len(timed) / 4)
    system, built = latency.told_of("one_shot"), []
    network = system.network
    monkeypatch.setattr(type(system), "network", lambda _, *given: built.append(network(*given)) or built[-1])
    asked = ResultsSettings(latency=True, engine="keras", machine="node-1", columns=("latency_ms", "latency_machine"))
    collect([str(run)], asked)
    (row,) = overview_table(run).to_dict("records")
    assert (row["latency_ms"], row["latency_dense_ms"], row["latency_machine"]) == (0.25, 0.5, "node-1, keras")
    (model, masks), small = built[0], tfprune.compact(*built[0])
    assert masks.kept == row["kept"] and parameters_of(model) == row["parameters"]
    assert parameters_of(small) == row["parameters_compacted"] < row["parameters"]
    (path,) = run.rglob("*latency*")
    assert path.name.endswith("_latency_node-1_keras.json") and path == latency_path(
        path.parent, row["file"], "node-1", "keras"
    )
    said = capsys.readouterr()
    assert "0.25 " in said.out and "measured 1 of 1 networks on node-1" in said.err
    collect([str(run)], asked)
    assert len(timed) == 2 and "measured 0 of 1" in capsys.readouterr().err
    # Of a network that was made anew since, they say nothing.
    file = path.parent / row["file"]
    file.write_text(json.dumps({**json.loads(file.read_text()), "effective": 1}))
    assert pd.isna(overview_table(run)["latency_ms"]).all()
    collect([str(run)], asked)
    assert overview_table(run)["latency_ms"].tolist() == [0.75]


def _told(study, sample, machine, ms, **changed):
    (row,) = (row for row in overview_table(study).to_dict("records") if row["file"] == f"{sample}_10_result.json")
    of = {name: None if pd.isna(row[name]) else row[name] for name in latency._OF}
    content = {"tfprune_latency": 1, "latency_ms": ms, "latency_dense_ms": None, "of": of}
    path = latency_path(row["folder"], row["file"], machine, "litert")
    path.write_text(json.dumps(content | changed))
    return path


def test_one_machine_is_shown(study):
    _told(study, 0, "b", 1.5)
    _told(study, 0, "a", 9.5)
    _told(study, 1, "b", 2.5)
    table = overview_table(study)
    assert table["latency_ms"].dropna().tolist() == [1.5, 2.5]
    assert set(table["latency_machine"].dropna()) == {"b, litert"}
    other = overview_table(study, latency_machine="a, litert")
    assert other["latency_ms"].dropna().tolist() == [9.5]
    latency_path(study / "lenet5/snip/direct", "0_10_result.json", "b", "litert").unlink()
    with pytest.warns(UserWarning, match="latencies are those on a, litert; 1 of networks"):
        table = overview_table(study)
    assert table["latency_ms"].dropna().tolist() == [9.5]


_DAMAGED = ({"latency_ms": 0}, {"latency_ms": "1"}, {"tfprune_latency": 2}, {"latency_dense_ms": -1})


@pytest.mark.parametrize("changed", _DAMAGED)
def test_damaged_files_cost_a_line(study, changed):
    path = _told(study, 0, "a", 1.5, **changed)
    with pytest.warns(UserWarning, match=f"cannot read {path}: not the latency of a network"):
        assert overview_table(study)["latency_ms"].isna().all()


def test_networks_that_their_files_do_not_give_are_left_out(study):
    assert measure(overview_table(study).to_dict("records"), "keras", "a") == 0
    assert not list(study.rglob("*latency*"))


@pytest.mark.filterwarnings("ignore:no latency of")
def test_one_that_fails_costs_a_line(study, monkeypatch):
    def refused(*_):
        raise ValueError("no room\nfor it")

    monkeypatch.setattr(type(latency.told_of("one_shot")), "network", refused)
    with pytest.warns(UserWarning, match=r"no latency of .*0_10_result\.json: no room for it"):
        assert measure(overview_table(study).to_dict("records"), "keras", "a") == 0
