"""Filter pruning on small images: what is kept, what is made anew, and what the published faults change."""

import json
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfprune.errors import InputError
from tfprune.experiments.filters import recipe
from tfprune.experiments.filters.networks import NETWORKS
from tfprune.experiments.filters.recipe import prune_version, run_filters
from tfprune.experiments.filters.results import read_curves, read_results
from tfprune.experiments.filters.settings import FilterSpec
from tfprune.layers.weights import weights_of
from tfprune.records.metric_log import MetricLog
from tfprune.records.network_folder import is_finished


class Silent:
    def __init__(self):
        self.started = []

    def start(self, what, model):
        self.started.append(what)

    def progress(self, progress):
        pass


class Killed(Exception):
    pass


SPEC = FilterSpec(
    data="digits",
    width=1 / 16,
    epochs=1,
    finetune_epochs=2,
    learning_rate=0.05,
    scoring=("l1_norm",),
    version=("v4_50",),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a finished run of SPEC, not to be changed; and what was trained."""
    folder, report = tmp_path_factory.mktemp("finished"), Silent()
    run_filters(replace(SPEC, out_path=str(folder)), report)
    return folder, report.started


@pytest.fixture
def spec(tmp_path):
    return replace(SPEC, out_path=str(tmp_path))


@pytest.fixture
def run_spec(finished, tmp_path):
    """SPEC with a copy of the finished run."""
    shutil.copytree(finished[0], tmp_path / "run")
    return replace(SPEC, out_path=str(tmp_path / "run"))


def _model(folder):
    return keras.saving.load_model(folder / "model.keras", compile=False)


def test_a_run(finished, run_spec):
    assert finished[1] == ["unpruned network", "l1_norm v4_50"]
    spec = run_spec
    unpruned, folder = _model(spec.unpruned_folder), spec.version_folder("l1_norm", "v4_50")
    metrics, pruned = json.loads((folder / "metrics.json").read_text()), _model(folder)
    widths = [round(filters / 16) for filters in (64, 64, 128, 128)] + [8] * 3 + [16] * 6
    assert metrics["kept_filters"] == [pruned.get_layer(name).filters for name in NETWORKS["vgg16"].layers] == widths
    assert metrics["parameters"] == sum(int(np.prod(variable.shape)) for variable in pruned.trainable_variables)
    assert metrics["parameters"] < sum(int(np.prod(variable.shape)) for variable in unpruned.trainable_variables)
    log = MetricLog.read(folder / "logger")
    assert [epoch for epoch, _ in log.get("test_loss")] == [0, 1, 2]
    assert [epoch for epoch, _ in log.get("train_loss")] == [1, 2]
    assert metrics["test_accuracy"] == log.last("test_accuracy")
    assert metrics["pruned_test_accuracy"] == dict(log.get("test_accuracy"))[0]
    # What TensorBoard is shown is what is in the log.
    shown = {}
    for path in (folder / "tensorboard").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                shown[value.tag, event.step] = tf.make_ndarray(value.tensor).item()
    for name in log.names:
        for epoch, value in log.get(name):
            assert shown[name.replace("_", "/"), epoch] == pytest.approx(value, rel=1e-6)
    # A second start has nothing to do, another version needs no new unpruned network.
    run_filters(spec, again := Silent())
    assert again.started == []
    run_filters(replace(spec, version=("v0",)), again)
    assert again.started == ["l1_norm v0"]
    table = read_results(spec.results_folder)
    assert list(table["version"]) == ["unpruned", "v0", "v4_50"]
    assert table["parameters"][0] == table["parameters"][1] > table["parameters"][2]
    assert table["flops"][0] > table["flops"][2] and table["bytes"][0] > table["bytes"][2]
    assert set(read_curves(spec.results_folder)["epoch"]) == {0, 1, 2}
    run_filters(spec, again := Silent(), overwrite=True)
    assert again.started == ["l1_norm v4_50"]
    assert json.loads((folder / "metrics.json").read_text())["test_loss"] == metrics["test_loss"]


def test_killed_and_resumed(finished, spec, monkeypatch):
    whole = replace(SPEC, out_path=str(finished[0])).version_folder("l1_norm", "v4_50")
    folder = spec.version_folder("l1_norm", "v4_50")

    class Dies(Silent):
        """Dies in the second epoch of the unpruned or the pruned network, each once."""

        def progress(self, progress):
            if progress.step > progress.steps / 2 and self.started[-1] not in died:
                died.append(self.started[-1])
                raise Killed

    died = []
    for _ in range(2):
        with pytest.raises(Killed):
            run_filters(spec, Dies())
    assert died == ["unpruned network", "l1_norm v4_50"] and not is_finished(folder)
    # A checkpoint without the metrics that go with it is no place to go on from.
    kept = (folder / "logger").read_bytes()
    (folder / "logger").write_bytes(b"")
    with pytest.raises(InputError, match=r"logger: lacks metrics up to iteration [12], .* delete checkpoint\.npz"):
        run_filters(spec, Silent())
    (folder / "logger").write_bytes(kept)
    # And once more between the last step and the end.
    monkeypatch.setattr(recipe, "_save", _dies)
    with pytest.raises(Killed):
        run_filters(spec, Dies())
    monkeypatch.undo()
    run_filters(spec, Silent())
    assert (folder / "logger").read_text() == (whole / "logger").read_text()
    expected, came = weights_of(_model(whole)), weights_of(_model(folder))
    assert all(np.array_equal(expected[path], came[path]) for path in expected)


def _dies(*_):
    raise Killed


def test_batch_statistics_are_kept_or_restart(spec):
    model = NETWORKS["vgg16"].build((32, 32, 3), 10, 0, spec.width)
    for variable in model.variables:
        if variable.name in ("moving_mean", "moving_variance"):
            variable.assign(np.random.default_rng(0).uniform(1, 2, variable.shape))
    kept = weights_of(prune_version(model, spec, "l1_norm", (0.5,) * 13))
    restarted = weights_of(prune_version(model, replace(spec, pruned_batchnorm="restart"), "l1_norm", (0.5,) * 13))
    assert all(path in kept and kept[path].shape == restarted[path].shape for path in restarted)
    differing = {path for path in kept if not np.array_equal(kept[path], restarted[path])}
    statistics = {f"conv{number}_norm/moving_{name}" for number in range(1, 14) for name in ("mean", "variance")}
    assert differing == statistics
    assert all((restarted[path] == float(path.endswith("variance"))).all() for path in statistics)
    assert set(kept["conv3_norm/moving_mean"]) <= set(weights_of(model)["conv3_norm/moving_mean"])


def test_published_loss_and_dropout_in_tests(spec):
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
        evaluator = FilterTrainer(images, replace(spec, **changed)).evaluator(model)
        measured[name] = evaluator.accuracy_and_loss()
        # Dropout's generators are as they were: the same again.
        assert evaluator.accuracy_and_loss() == measured[name]
    assert measured["softmax twice"][0] == measured["standard"][0]
    # Probabilities as logits: between log(e + 9) - 1 and log(e^0 * 9 + e).
    assert 1.4 < measured["softmax twice"][1] < 2.5
    assert measured["dropout"] != measured["standard"]


def test_a_version_that_would_empty_a_layer_is_refused_before_training(spec):
    with pytest.raises(InputError, match=r"layer 'conv1': fraction 0.9 leaves none of its 4 filters; at most 0.75"):
        run_filters(replace(spec, p=(0.9,) * 13), report := Silent())
    assert not report.started and not spec.unpruned_folder.exists()


def test_a_damaged_network_is_named(run_spec):
    path = run_spec.unpruned_folder / "model.keras"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError) as error:
        run_filters(replace(run_spec, version=("v0",)), Silent())
    assert str(path) in str(error.value) and "\n" not in str(error.value)
