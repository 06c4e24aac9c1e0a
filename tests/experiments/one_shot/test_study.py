"""A run of one-shot pruning as a study: its row among results, its figures, and what earlier versions left."""

import json

import numpy as np
import pandas as pd
import pytest

import tfprune
from tfprune.cli.run import FINISHED, TRAINED, UNFINISHED
from tfprune.connectivity.measured import measured
from tfprune.errors import InputError
from tfprune.experiments.one_shot.recipe import one_shot_of
from tfprune.experiments.one_shot.settings import OneShotSettings
from tfprune.experiments.one_shot.study import OneShotStudy
from tfprune.layers.masks import load_masks


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    flags = {"pruner": "random/igq", "pruning_type": "effective", "data": "digits", "iterations": 60, "quiet": True}
    return tfprune.run("main", **flags, sample="a", com_exp=1.5, out_path=str(tmp_path_factory.mktemp("runs")))


def test_a_row_of_results(finished):
    (row,) = finished.results.to_dict("records")
    start = finished.folder / finished.study.prefix
    counts = np.array([64 * 300, 300 * 100, 1000])
    direct, effective = (
        np.load(f"{start}_{name}.npy") for name in ("sparsities_direct", "sparsities_effective_synflow")
    )
    assert (row["family"], row["label"], row["method"]) == (
        "one_shot",
        "random/igq, effective compression 31.6228",
        "random/igq",
    )
    assert (row["seed"], row["steps"], row["source"]) == ("a", 60, "tfprune")
    assert (row["weights"], row["kept"]) == (50_200, round(counts @ (1 - direct)))
    assert row["effective"] == round(counts @ (1 - effective)) <= row["kept"]
    # Also 2 scales and shifts for each of the 410 units.
    assert row["parameters"] == 50_200 + 820 and row["parameters_masked"] == row["kept"] + 820
    assert row["parameters_compacted"] < row["parameters"] and row["flops_masked"] == 2 * row["kept"]
    accuracies, losses = np.load(f"{start}_accuracies.npy"), np.load(f"{start}_losses.npy")
    assert row["accuracy"] == accuracies[-1] and 0 < row["loss"] < losses[-1]  # the file's hold the weight decay
    assert row["more"]["target_sparsity"] == pytest.approx(1 - 10**-1.5)
    assert row["more"]["effective_sparsity"] == pytest.approx(1 - row["effective"] / 50_200)
    assert row["seconds"] > 0 and row["settings"]["compression"] == 31.6227766017
    assert set(finished.figures) == {"training", "densities"}
    assert finished.figures["training"]._repr_png_().startswith(b"\x89PNG")


def test_samples_are_one_study_and_a_run_knows_its_own_row(finished):
    flags = finished.settings.changed() | {"sample": "b", "train": False}
    other = tfprune.run("main", **flags, quiet=True)
    (row,) = other.results.to_dict("records")
    assert row["seed"] == "b" and np.isnan(row["accuracy"]) and row["effective"] > 0
    (own,) = finished.results.to_dict("records")
    assert own["seed"] == "a" and own["digest"] == row["digest"] == finished.study.digest
    assert OneShotStudy(OneShotSettings(**flags | {"com_exp": 1.0})).digest != row["digest"]


def test_what_is_counted_is_that_of_the_trained_network(run, digits):
    """Trained weights are not kept: the network with its initial ones is as small."""
    settings, folder, *_ = run(pruner="snip", com_exp=2.0)
    trained = digits._trainer(settings, None).model
    masks = load_masks(folder.path("masks.npz"))
    assert digits.counted(settings, folder) == measured(trained, masks)


def test_without_training_it_is_finished_at_its_masks(tmp_path):
    flags = {"pruner": "random/erk", "data": "digits", "iterations": 60, "out_path": str(tmp_path)}
    pruned, trained = (OneShotStudy(OneShotSettings(**flags, train=train)) for train in (False, True))
    assert pruned.stage() == trained.stage() == UNFINISHED
    tfprune.run("main", **flags, train=False, quiet=True)
    assert (pruned.stage(), trained.stage()) == (FINISHED, UNFINISHED)
    assert "after 60 steps" in tfprune.run("main", **flags, quiet=True).text
    assert pruned.stage() == trained.stage() == FINISHED


def _as_before(study):
    """Leaves the files of a run as earlier versions left them."""
    for path in study.folder.iterdir():
        path.rename(study.folder / path.name.replace(study.settings.prefix, study.settings.rounded_prefix))
    path = study.folder / f"{study.settings.rounded_prefix}_result.json"
    path.write_text(json.dumps({"missed": None, "pruning_type": "direct", "weights": 50_200, "kept": 1588}))


def test_a_finished_run_of_an_earlier_version_gets_its_result(tmp_path):
    flags = {"pruner": "random/erk", "data": "digits", "iterations": 60, "com_exp": 1.5, "out_path": str(tmp_path)}
    run = tfprune.run("main", **flags, quiet=True)
    (row,) = run.results.to_dict("records")
    study = run.study
    before = {path.name.split("_", 3)[-1]: path.read_bytes() for path in study.folder.iterdir()}
    _as_before(study)
    assert study.prefix == "0_32" and study.stage() == TRAINED
    again = tfprune.run("main", **flags, quiet=True)
    assert again.text.replace("0_32", run.settings.prefix) == run.text
    (told,) = again.results.to_dict("records")
    unknown = {name: told.pop(name) for name in ("loss", "seconds", "engine", "kept_layers")}
    assert all(map(pd.isna, unknown.values()))
    assert told.pop("file") == "0_32_result.json"
    assert told == {name: value for name, value in row.items() if name not in {*unknown, "file"}}
    after = {path.name.split("_", 2)[-1]: path.read_bytes() for path in study.folder.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"result.json"}
    assert study.stage() == FINISHED


def test_finished_comes_last(tmp_path, monkeypatch):
    flags = {"pruner": "random/erk", "data": "digits", "iterations": 60, "out_path": str(tmp_path), "quiet": True}

    def fails(self, folder):
        raise InputError("no figure")

    with monkeypatch.context() as patch, pytest.raises(InputError, match="no figure"):
        patch.setattr(OneShotStudy, "report", fails)
        tfprune.run("main", **flags)
    study = OneShotStudy(OneShotSettings(**{name: value for name, value in flags.items() if name != "quiet"}))
    assert study.stage() == UNFINISHED and study.has_results()
    steps = []
    monkeypatch.setattr("tfprune.training.loop.TrainingLoop.run", lambda *_: steps.append(_))
    assert "after 60 steps" in tfprune.run("main", **flags).text
    assert study.stage() == FINISHED and steps == []  # none was taken again


def test_one_runner_serves_all_runs_of_a_network_and_its_data():
    assert one_shot_of("lenet300100", "digits", None) is one_shot_of("lenet300100", "digits", None)
