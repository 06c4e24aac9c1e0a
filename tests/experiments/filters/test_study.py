"""Filter pruning on small images: what is kept, what is made anew, and what the published faults change."""

import json
import shutil
from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tfprune.cli.run import FINISHED, TRAINED, RunSettings, carry_out
from tfprune.errors import InputError
from tfprune.experiments.filters import recipe
from tfprune.experiments.filters.networks import NETWORKS
from tfprune.experiments.filters.recipe import prune_version, write_network_result
from tfprune.experiments.filters.results import LAYOUT, read_curves, read_results
from tfprune.experiments.filters.settings import FilterSettings
from tfprune.experiments.filters.study import FilterStudy
from tfprune.layers.weights import weights_of
from tfprune.records.metric_log import MetricLog
from tfprune.records.result import read_result
from tfprune.records.run_folder import is_finished


class Silent:
    """A watch that remembers which trainings were begun, and what was said."""

    def __init__(self):
        self.started, self.said = [], []

    def say(self, text):
        self.said.append(text)

    def start(self, what, details=""):
        self.started.append(what)

    def progress(self, progress):
        pass

    def end(self, text=""):
        pass


class Killed(Exception):
    pass


def carry(settings, watch=None, overwrite=False):
    """Carries a study out; gives what was trained."""
    watch = watch or Silent()
    carry_out(FilterStudy(settings), RunSettings(overwrite=overwrite, quiet=True), watch)
    return watch.started


@pytest.fixture
def settings(small, tmp_path):
    return FilterSettings(**small, out_path=str(tmp_path))


@pytest.fixture
def done(finished, settings):
    """The settings of a copy of the finished run."""
    shutil.copytree(finished.settings.out_path, settings.out_path, dirs_exist_ok=True)
    return settings


def _model(folder):
    return keras.saving.load_model(folder / "model.keras", compile=False)


def _size(model):
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


def test_a_run(done):
    unpruned, folder = _model(done.unpruned_folder), done.version_folder("l1_norm", "v4_50")
    metrics, pruned = json.loads((folder / "metrics.json").read_text()), _model(folder)
    widths = [round(filters / 16) for filters in (64, 64, 128, 128)] + [8] * 3 + [16] * 6
    assert metrics["kept_filters"] == [pruned.get_layer(name).filters for name in NETWORKS["vgg16"].layers] == widths
    assert metrics["parameters"] == _size(pruned) < _size(unpruned)
    log = MetricLog.read(folder / "logger")
    assert [epoch for epoch, _ in log.get("test_loss")] == [0, 1, 2]
    assert [epoch for epoch, _ in log.get("train_loss")] == [1, 2]
    assert log.names == ["test_loss", "test_accuracy", "train_loss", "train_accuracy"]
    assert metrics["test_accuracy"] == log.last("test_accuracy")
    assert metrics["pruned_test_accuracy"] == dict(log.get("test_accuracy"))[0]
    assert metrics["steps"] == 2 * 1437 // 479
    # What TensorBoard is shown is what is in the log.
    shown = {}
    for path in (folder / "tensorboard").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                shown[value.tag, event.step] = tf.make_ndarray(value.tensor).item()
    assert len(shown) == len(log)
    for name in log.names:
        for epoch, value in log.get(name):
            assert shown[name.replace("_", "/"), epoch] == pytest.approx(value, rel=1e-6)


@pytest.mark.slow
def test_what_is_there_is_not_made_again(done):
    folder = done.version_folder("l1_norm", "v4_50")
    metrics = json.loads((folder / "metrics.json").read_text())
    first = (done.unpruned_folder / "model.keras").read_bytes()
    # A second start has nothing to do, another version needs no new unpruned network.
    assert carry(done) == []
    assert carry(replace(done, version=("v0",))) == ["l1_norm v0"]
    table = read_results(done.finetuned_folder)
    assert list(table["version"]) == ["unpruned", "v0", "v4_50"]
    assert table["parameters"][0] == table["parameters"][1] > table["parameters"][2]
    assert table["flops"][0] > table["flops"][2] and table["bytes"][0] > table["bytes"][2]
    assert set(read_curves(done.finetuned_folder)["epoch"]) == {0, 1, 2}
    assert carry(done, overwrite=True) == ["l1_norm v4_50"]
    assert json.loads((folder / "metrics.json").read_text())["test_loss"] == metrics["test_loss"]
    assert (done.unpruned_folder / "model.keras").read_bytes() == first
    assert is_finished(done.version_folder("l1_norm", "v0"), LAYOUT)


def test_results_say_what_was_lost(finished):
    settings = finished.settings
    whole, small = (
        read_result(folder / "result.json")
        for folder in (settings.unpruned_folder, settings.version_folder("l1_norm", "v4_50"))
    )
    table = read_results(settings.finetuned_folder)
    assert whole.parameters == whole.parameters_masked == whole.parameters_compacted == small.parameters
    assert small.parameters_masked == small.parameters_compacted < small.parameters
    assert list(table["parameters"]) == [whole.parameters, small.parameters_compacted]
    assert list(table["flops"]) == [whole.flops, small.flops_compacted] == [small.flops, small.flops_masked]
    # Kernels: VGG-16's widths / 16, halved from convolution 5 on, and two dense layers.
    widths, halved = [4, 4, 8, 8, 16, 16, 16, *[32] * 6], [4, 4, 8, 8, 8, 8, 8, *[16] * 6]
    kernels = [
        sum(9 * before * after for before, after in zip([3, *counts], counts, strict=False)) + 32 * (counts[-1] + 10)
        for counts in (widths, halved)
    ]
    assert [small.weights, small.kept, small.effective] == [*kernels, kernels[1]]
    assert (whole.label, whole.method, whole.version) == ("unpruned", None, None)
    assert (small.label, small.method, small.version) == ("l1_norm v4_50", "l1_norm", "v4_50")
    assert (whole.steps, small.steps, small.seed) == (3, 6, 0)
    assert [whole.accuracy, small.accuracy] == list(table["test_accuracy"])
    assert [whole.loss, small.loss] == list(table["test_loss"])
    assert whole.digest == settings.unpruned_folder.parent.name[-8:]
    assert small.digest == FilterStudy(settings).digest
    assert small.settings["unpruned"] == whole.settings and small.settings["epochs"] == 2
    rows = finished.results.set_index("label")
    assert set(rows.index) == {"unpruned", "l1_norm v4_50"}
    assert rows.loc["l1_norm v4_50", "parameters_compacted"] == small.parameters_compacted
    assert rows.loc["unpruned", "digest"] == whole.digest
    assert set(finished.figures) == {"accuracy", "training"}
    assert f"{small.accuracy:.4f}" in finished.text


def test_the_rows_of_a_study_are_those_of_its_networks(settings):
    folders = [settings.unpruned_folder, *(settings.version_folder("l1_norm", name) for name in ("v4_50", "v0"))]
    table = pd.DataFrame({"folder": list(map(str, folders)), "family": "filters"})
    assert list(FilterStudy(settings).own(table)["folder"]) == list(map(str, folders[:2]))


def test_the_published_loss_is_no_cross_entropy(done):
    published = replace(done, loss="published")
    shutil.copytree(done.unpruned_folder, published.unpruned_folder)
    write_network_result(published, published.unpruned_folder)
    result = read_result(published.unpruned_folder / "result.json")
    assert result.loss is None and result.accuracy == read_result(done.unpruned_folder / "result.json").accuracy


@pytest.mark.parametrize("lost", ["results.json", "results.csv", "accuracy.png", "training.png", "a result", "the end"])
def test_what_is_missing_at_the_end_is_made_without_training(done, lost, monkeypatch):
    network, study = done.version_folder("l1_norm", "v4_50"), FilterStudy(done)
    paths = [done.finetuned_folder / name for name in ("results.json", "results.csv", "accuracy.png", "training.png")]
    paths += [folder / "result.json" for folder in (done.unpruned_folder, network)]
    before = [path.read_bytes() for path in paths]
    assert study.stage() == FINISHED
    if lost == "the end":  # killed in the figures
        (network / "run.json").write_text((network / "run.json").read_text().replace("true", '"trained"'))
        paths[2].unlink()
    else:  # a result: as an earlier version left it
        for path in paths:
            if path.name == lost or (lost == "a result" and path.name == "result.json"):
                path.unlink()
    monkeypatch.setattr(recipe, "load_images", _dies)  # no data are needed
    assert study.stage() == TRAINED
    assert carry(done) == []
    assert study.stage() == FINISHED and is_finished(network, LAYOUT)
    assert [path.read_bytes() for path in paths] == before


def test_networks_that_are_trained_are_told_when_a_later_one_fails(done, monkeypatch):
    more = replace(done, version=("v4_50", "v1_25"))
    (done.finetuned_folder / "accuracy.png").unlink()
    monkeypatch.setattr(recipe, "prune_version", _fails)
    watch = Silent()
    with pytest.raises(InputError, match="no room"):
        carry(more, watch)
    assert "v4_50" in watch.said[-1] and (done.finetuned_folder / "accuracy.png").exists()
    assert FilterStudy(more).stage() < TRAINED


@pytest.mark.slow
def test_killed_and_resumed(finished, settings, monkeypatch):
    whole = finished.settings.version_folder("l1_norm", "v4_50")
    folder = settings.version_folder("l1_norm", "v4_50")

    class Dies(Silent):
        """Dies in the second epoch of the unpruned or the pruned network, each once."""

        def progress(self, progress):
            if progress.step > progress.steps / 2 and self.started[-1] not in died:
                died.append(self.started[-1])
                raise Killed

    died = []
    for _ in range(2):
        with pytest.raises(Killed):
            carry(settings, Dies())
    assert died == ["unpruned network", "l1_norm v4_50"] and not is_finished(folder, LAYOUT, stage="trained")
    assert FilterStudy(settings).stage() < TRAINED
    # As an earlier version left it.
    path = folder / "checkpoint.npz"
    kept, arrays = path.read_bytes(), dict(np.load(path))
    np.savez(
        path, **{name: arrays[name] for name in arrays if name.startswith("state_") or name in ("step", "seconds")}
    )
    told = r"checkpoint\.npz: not a checkpoint of this network, or one of another version; delete it to redo the netw"
    with pytest.raises(InputError, match=told):
        carry(settings)
    path.write_bytes(kept)
    # A checkpoint knows the metrics that go with it.
    (folder / "logger").write_bytes(b"")
    # And once more between the last step and the end.
    monkeypatch.setattr(recipe, "save_model", _dies)
    with pytest.raises(Killed):
        carry(settings, Dies())
    monkeypatch.undo()
    assert carry(settings) == ["l1_norm v4_50"]
    assert (folder / "logger").read_text() == (whole / "logger").read_text()
    assert not (folder / "checkpoint.npz").exists()
    expected, came = weights_of(_model(whole)), weights_of(_model(folder))
    assert all(np.array_equal(expected[path], came[path]) for path in expected)


def _dies(*_):
    raise Killed


def _fails(*_):
    raise InputError("no room")


def test_batch_statistics_are_kept_or_restart(settings):
    model = NETWORKS["vgg16"].build((32, 32, 3), 10, 0, settings.width)
    for variable in model.variables:
        if variable.name in ("moving_mean", "moving_variance"):
            variable.assign(np.random.default_rng(0).uniform(1, 2, variable.shape))
    kept = weights_of(prune_version(model, settings, "l1_norm", (0.5,) * 13))
    restarted = weights_of(prune_version(model, replace(settings, pruned_batchnorm="restart"), "l1_norm", (0.5,) * 13))
    assert all(path in kept and kept[path].shape == restarted[path].shape for path in restarted)
    differing = {path for path in kept if not np.array_equal(kept[path], restarted[path])}
    statistics = {f"conv{number}_norm/moving_{name}" for number in range(1, 14) for name in ("mean", "variance")}
    assert differing == statistics
    assert all((restarted[path] == float(path.endswith("variance"))).all() for path in statistics)
    assert set(kept["conv3_norm/moving_mean"]) <= set(weights_of(model)["conv3_norm/moving_mean"])


def test_published_loss_and_dropout_in_tests(settings):
    from tfprune.data.prepared import load_prepared
    from tfprune.experiments.filters.training import FilterTrainer

    images = load_prepared("digits", side=32, channels=3)
    model = NETWORKS["vgg16"].build((32, 32, 3), 10, 0, 1 / 8)
    measured = {}
    for name, changed in {
        "standard": {},
        "softmax twice": {"loss": "published"},
        "dropout": {"test_dropout": "on"},
    }.items():
        evaluator = FilterTrainer(images, replace(settings, **changed)).evaluator(model)
        measured[name] = evaluator.accuracy_and_loss()
        # Dropout's generators are as they were: the same again.
        assert evaluator.accuracy_and_loss() == measured[name]
    assert measured["softmax twice"][0] == measured["standard"][0]
    # Probabilities as logits: between log(e + 9) - 1 and log(e^0 * 9 + e).
    assert 1.4 < measured["softmax twice"][1] < 2.5
    assert measured["dropout"] != measured["standard"]


def test_a_version_that_would_empty_a_layer_is_refused_before_training(settings):
    with pytest.raises(InputError, match=r"layer 'conv1': fraction 0.9 leaves none of its 4 filters; at most 0.75"):
        carry(replace(settings, version=None, p=(0.9,) * 13), watch := Silent())
    assert not watch.started and not settings.unpruned_folder.exists()


def test_a_damaged_network_is_named(done):
    path = done.unpruned_folder / "model.keras"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError) as error:
        carry(replace(done, version=("v0",)))
    assert str(path) in str(error.value) and "\n" not in str(error.value)
