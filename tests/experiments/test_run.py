"""`tfprune.run`: studies from Python do what their commands do."""

from pathlib import Path

import pandas as pd
import pytest

import tfprune
from tfprune.errors import InputError
from tfprune.experiments.family import study_of
from tfprune.experiments.results import COLUMNS


@pytest.mark.parametrize(
    ("command", "words", "given", "told"),
    [
        ("mian", (), {}, "a command must be one of imp, main, .*, or module:Study .*'mian'; did you mean 'main'?"),
        ("no_such:Study", (), {}, "there is no module no_such"),
        (3, (), {}, "command must be a name or a Study. Received: 3"),
        ("main", ("snip",), {}, "settings are given by name"),
        ("main", (), {"pruner": "snipp"}, "--pruner must be one of .*; did you mean 'snip'?"),
        ("main", (), {"prunner": "snip"}, "no setting is called 'prunner'; did you mean 'pruner'?"),
        ("main", (), {"target_sparsity": 90}, r"--target_sparsity must be .* Received: 90.0; did you mean 0.9\?"),
        ("main", (), {"device": "tpu"}, "--device must be one of auto, cpu, gpu"),
        ("filters", (), {"version": "v3_51"}, "v3_51"),
        ("imp", (), {}, "one input file"),
        ("imp", ("missing.ini",), {}, "missing.ini"),
        ("imp", (3,), {}, "a word of a command must be text or a path. Received: 3"),
        ("imp", (Path("a.ini"), Path("b.ini")), {}, "give one input file, .* Received: a.ini b.ini"),
        ("main", (None,), {}, "a word of a command must be text or a path. Received: None"),
        ("lth", (["lottery"],), {}, r"a word of a command must be text or a path. Received: \['lottery'\]"),
        ("lth", (), {}, "train"),
        ("lth", ("lottery",), {"default_hparams": "mnist_lenet_20"}, "--levels must be given"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(command, words, given, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=told):
        tfprune.run(command, *words, quiet=True, **given)
    assert not list(tmp_path.iterdir())


def test_without_files_the_settings_stay_as_they_were_asked_for_and_there_are_no_rows(tmp_path):
    out = str(tmp_path / "out")
    given = {"pruner": "random/erk", "data": "digits", "train": False, "save": False, "out_path": out}
    run = tfprune.run("main", quiet=True, **given)
    assert run.settings.out_path == out and not list(tmp_path.iterdir())
    assert run.results.empty and list(run.results.columns) == list(COLUMNS)


def test_runs_of_one_folder_with_the_same_settings_are_one_run_each(tmp_path):
    """Prefixes of iterative pruning tell runs of a folder apart; their networks are the same."""
    ini = Path(__file__).parents[2] / "inputs" / "main.ini"
    study = study_of("imp").asked([str(ini)], {"save_dir": str(tmp_path), "prefix": "a"})
    row = {"digest": study.digest, "seed": 0}
    table = pd.DataFrame([row | {"label": label} for label in ("level 0", "level 1", "level 0", "level 1")])
    assert study.own(table)["label"].tolist() == ["level 0", "level 1"]
