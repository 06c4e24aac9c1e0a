"""`python -m tfprune.results` as a person uses it."""

import json
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from tfprune.errors import InputError
from tfprune.overview.command import ResultsSettings, collect


def _asked(*words):
    return subprocess.run([sys.executable, "-m", "tfprune.results", *map(str, words)], capture_output=True, text=True)


def test_it_prints_means_and_writes_nothing(study, capsys):
    before = sorted(study.rglob("*"))
    collect([str(study)], ResultsSettings())
    *lines, last = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and last.startswith("5 networks; ") and sorted(study.rglob("*")) == before


def test_networks_that_are_there_twice_are_told(study, tmp_path_factory, capsys):
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(study / "lenet5", copy / "lenet5")
    collect([str(study), str(copy)], ResultsSettings(columns=("accuracy",)))
    told = capsys.readouterr().out.splitlines()
    assert told[-1].startswith("9 networks (4 with the settings and seed of another); ")
    assert told[2].split()[:2] == ["4", "0.8500"]


def test_conditions_order_and_columns(study, capsys):
    asked = ResultsSettings(each=True, sort=("-accuracy",), columns=("sample", "pruner", "accuracy"))
    collect([str(study)], asked, ["pruner=snip", "accuracy>0"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["sample", "pruner", "accuracy"],
        ["0", "snip", "0.9000"],
        ["1", "snip", "0.8000"],
        ["0", "snip", "0.7000"],
        ["3", "networks"],
    ]


def test_files(study, old, tmp_path_factory, capsys):
    place = tmp_path_factory.mktemp("files") / "new"
    files = {name: str(place / f"all.{name}") for name in ("csv", "parquet")}
    collect([str(study), str(old)], ResultsSettings(**files, sort=("-accuracy",)))
    assert capsys.readouterr().out == f"19 networks: {files['csv']}, {files['parquet']}\n"
    csv, parquet = pd.read_csv(files["csv"]), pd.read_parquet(files["parquet"])
    assert csv["accuracy"].tolist()[:2] == parquet["accuracy"].tolist()[:2] == [0.9027777777777778, 0.9]
    assert json.loads(csv["settings"][1])["pruner"] == "snip" and list(csv.columns) == list(parquet.columns)
    collect([str(study)], ResultsSettings(csv=files["csv"], columns=("label", "lr")))
    assert list(pd.read_csv(files["csv"]).columns) == ["label", "settings.lr"]


def test_the_page(study, tmp_path, capsys):
    pytest.importorskip("bokeh")
    path = tmp_path / "page.html"
    collect([str(study)], ResultsSettings(report=str(path)), ["pruner=snip"])
    said = capsys.readouterr()
    assert said.out == f"4 networks: {path}\n" and said.err == ""
    assert "snip, direct compression 10" in path.read_text() and "mlp" not in path.read_text()


@pytest.mark.parametrize(
    "roots, given, where, told",
    [
        ((), {}, (), "give the folders in which results lie"),
        (("nowhere",), {}, (), "cannot read results in .*nowhere: no such folder"),
        (("mine/result.json",), {}, (), "cannot read results in .*result.json: it is no folder"),
        (("mine/empty",), {}, (), "there are no results in .*empty"),
        ((".",), {}, ("method=lamp",), "--where: none of 5 networks fulfils method=lamp"),
        ((".",), {"columns": ("acuracy",)}, (), "--columns must name columns or settings"),
        ((".",), {"sort": ("acuracy",)}, (), "--sort must name columns that are shown"),
        ((".",), {"csv": "mine/result.json/a.csv"}, (), "--csv: cannot use the folder .*result.json is not a folder"),
    ],
)
def test_what_cannot_be_done_is_told(study, monkeypatch, roots, given, where, told):
    monkeypatch.chdir(study)
    (study / "mine/empty").mkdir()
    with pytest.raises(InputError, match=told):
        collect(roots, ResultsSettings(**given), where)


def test_names_of_files_say_what_they_are():
    with pytest.raises(InputError, match=r"--parquet must be a file that ends in \.parquet or \.pq\. Received"):
        ResultsSettings(parquet="a.csv")


@pytest.mark.parametrize("given", [{"engine": "keras"}, {"machine": "node-1"}])
def test_what_latencies_alone_need_is_not_ignored(given):
    ((name, value),) = given.items()
    with pytest.raises(InputError, match=f"--{name} goes with --latency. Received: --{name}={value}"):
        ResultsSettings(**given)
    assert getattr(ResultsSettings(latency=True, **given), name) == value


def test_as_a_process(study):
    done = _asked(study, "--where=pruner=snip", "--where", "sample=1", "--columns=label")
    assert done.returncode == 0 and done.stdout.splitlines()[-1].startswith("2 networks") and not done.stderr
    wrong = _asked(study, "--wher=pruner=snip", "--colums=label")
    assert (wrong.returncode, wrong.stdout) == (2, "") and "--colums; the nearest is --columns" in wrong.stderr
    (study / "mine/result.json").write_text('{"tfprune_result": 1')
    damaged = _asked(study)
    assert damaged.returncode == 0 and damaged.stdout.splitlines()[-1].startswith("4 networks")
    assert damaged.stderr.count("\n") == 1 and "mine/result.json" in damaged.stderr


def test_who_reads_a_few_lines_hears_of_no_error(study):
    command = [sys.executable, "-m", "tfprune.results", str(study)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 1
