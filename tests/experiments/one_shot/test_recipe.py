"""Small runs of one-shot pruning on digits, in this process."""

import json
import warnings

import numpy as np
import pytest

from tfprune.cli.progress import ProgressBar
from tfprune.connectivity.report import Counts, SparsityReport, sparsity
from tfprune.errors import InputError
from tfprune.experiments.one_shot.files import LAYOUT, read_array
from tfprune.experiments.one_shot.recipe import OneShot, SnipBatches, log_text, one_shot_of
from tfprune.experiments.one_shot.settings import (
    DENSE,
    GRADUAL,
    PRUNERS,
    PUBLISHED,
    OneShotSettings,
)
from tfprune.experiments.one_shot.study import OneShotStudy
from tfprune.layers.masks import Masks, load_masks
from tfprune.layers.prunable import prunable
from tfprune.models.registry import build
from tfprune.records.metric_log import MetricLog
from tfprune.records.run_folder import RunFolder


def test_files_of_a_run(run):
    spec, folder, found, trained = run(pruner="snip", iterations=300)
    assert folder.folder.parts[-3:] == ("lenet300100", "snip", "direct")
    counts = read_array(folder.path("counts.npy"))  # the dense folder's are those of MNIST
    assert not spec.dense.folder.exists()
    assert counts.tolist() == [64 * 300, 300 * 100, 100 * 10]
    direct = read_array(folder.path("sparsities_direct.npy"))
    assert counts @ (1 - direct) == pytest.approx(found.weights.kept) == pytest.approx(0.1 * counts.sum())
    effective = [read_array(folder.path(f"sparsities_effective_{name}.npy")) for name in ("synflow", "custom")]
    np.testing.assert_array_equal(*effective)
    assert (effective[0] >= direct).all() and counts @ (1 - effective[0]) == pytest.approx(found.weights.effective)
    accuracies = read_array(folder.path("accuracies.npy"))
    assert len(accuracies) == len(trained.log.values("test_loss")) == 2  # before the first step and after the last
    assert accuracies[0] < 0.3 and accuracies[1] > 0.9
    assert "[iteration: 300]" in folder.path("info.log").read_text()


@pytest.mark.slow_beyond(8)
@pytest.mark.parametrize(
    "pruner",
    [
        pytest.param(name, marks=pytest.mark.slow) if name == "snip/iterative" else name
        for name in PRUNERS
        if not name.endswith("uniform_plus") and name not in (DENSE, GRADUAL)
    ],
)
@pytest.mark.parametrize("pruning_type", ["direct", "effective"])
def test_every_pruner(run, digits, pruner, pruning_type, monkeypatch):
    if pruner == "snip/iterative":
        monkeypatch.setattr("tfprune.experiments.one_shot.recipe._SNIP_BATCHES", 1)
    if pruner == "lamp" or pruner.startswith("magnitude"):
        run(pruner="dense", iterations=5)
    _, folder, found, *_ = run(pruner=pruner, pruning_type=pruning_type, com_exp=1.5, iterations=5, train=False)
    size, needed = found.weights.dense, found.weights.dense / 10**1.5
    if pruning_type == "direct":
        assert abs(found.weights.kept - needed) <= 3
    else:
        # The sparsest masks that leave enough: one step less would leave fewer, and a step is a weight or a layer's.
        assert needed - 1e-6 <= found.weights.effective <= needed + 60
    assert load_masks(folder.path("masks.npz")).size == size


def test_trained_weights_are_scored_and_the_initial_ones_trained(run, digits, monkeypatch):
    _, dense, *_ = run(pruner="dense", iterations=50)
    with np.load(dense.path("inits.npz")) as inits, np.load(dense.path("final_weights.npz")) as final:
        inits, final = dict(inits), dict(final)
    model = build("lenet300100", input_shape=(8, 8, 1), classes=10, seed=0)
    for path, kernel in prunable(model).items():
        np.testing.assert_array_equal(inits[path], kernel.numpy())
        assert (inits[path] != final[path]).mean() > 0.9
    started = []
    trainer = next(iter(digits._trainers.values()))
    train = type(trainer).train
    monkeypatch.setattr(
        type(trainer), "train", lambda self, kernels, *rest: started.append(kernels) or train(self, kernels, *rest)
    )
    _, folder, *_ = run(pruner="magnitude/global", iterations=50)
    magnitudes = np.concatenate([np.abs(final[path]).ravel() for path in inits])
    kept = np.concatenate([mask.ravel() for mask in load_masks(folder.path("masks.npz")).values()])
    assert magnitudes[kept].min() >= magnitudes[~kept].max()
    assert all((started[0][path] == inits[path]).all() for path in inits)


def test_dense_weights_of_the_published_code(run, tmp_path):
    dense = OneShotSettings(data="digits", iterations=60, out_path=str(tmp_path / "out")).dense
    dense.folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    shapes = [(64, 300), (300, 100), (100, 10)]
    for name in ("inits", "final_weights"):
        arrays = np.empty(3, object)
        arrays[:] = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
        np.save(dense.folder / f"{dense.prefix}_{name}.npy", arrays)
    _, _, found, *_ = run(pruner="lamp", train=False)
    assert found.weights.kept == 5020
    arrays[0] = arrays[0][:5]
    np.save(dense.folder / f"{dense.prefix}_final_weights.npy", arrays)
    with pytest.raises(InputError, match=r"0_1_[0-9a-f]{8}_final_weights\.npy: kernels of shapes \[\(5, 300\)"):
        run(pruner="lamp", train=False, com_exp=2.0)


def test_missing_dense_weights_name_the_command(run):
    with pytest.raises(InputError, match=r"make it with: python -m tfprune\.main --pruner=dense --data=digits"):
        run(pruner="magnitude/erk")


def test_pruned_weights_stay_out_and_decay_pulls(run, digits):
    run(pruner="random/igq", iterations=40)
    trainer = digits._trainers[40, "moving", 1000, "auto"]
    assert 0 < trainer._decay.value() < 1
    kernels = np.concatenate([array.ravel() for array in trainer.kernels.values()])
    assert abs((kernels != 0).sum() - 5020) <= 3


@pytest.mark.filterwarnings("ignore:layer collapse")
def test_a_disconnected_network_gives_every_image_one_class(run, digits):
    _, folder, found, *_ = run(pruner="random/uniform", com_exp=4.5, iterations=20)
    assert found.weights.effective == 0
    shares = np.bincount(digits.images.validation.labels) / digits.images.validation.size
    assert min(abs(shares - read_array(folder.path("accuracies.npy"))[-1])) < 1e-9


@pytest.mark.slow
def test_same_seed_same_bytes_other_sample_other_weights(run):
    names = ("accuracies.npy", "losses.npy", "masks.npz")
    first = run("one", iterations=90)[1]
    again = run("two", iterations=90)[1]
    other = run("three", iterations=90, sample="1")[1]
    assert all(first.path(name).read_bytes() == again.path(name).read_bytes() for name in names)
    assert all(first.path(name).read_bytes() != other.path(name).read_bytes() for name in names)


def test_batch_statistics_at_test_time(run):
    moving = run("moving", iterations=20)[3].log
    batch = run("batch", iterations=20, eval_batchnorm="batch")[3].log
    # Twenty steps leave the moving averages far behind; the training is the same.
    assert batch.last("test_accuracy") > moving.last("test_accuracy") + 0.1


def test_published_snip_loss_keeps_other_weights(run):
    one = load_masks(run("one", train=False)[1].path("masks.npz"))
    other = load_masks(run("two", train=False, snip_loss="published")[1].path("masks.npz"))
    assert one.kept == other.kept and one != other


@pytest.mark.slow_beyond(2)
@pytest.mark.parametrize("architecture", [name for name in PUBLISHED if name != "lenet300100"])
def test_every_architecture_takes_the_digits(architecture, tmp_path):
    flags = {"architecture": architecture, "data": "digits", "train": False, "pruner": "random/erk", "com_exp": 1.0}
    spec = OneShotSettings(**flags, out_path=str(tmp_path))
    one_shot = OneShot(spec)
    with RunFolder(spec.folder, LAYOUT, spec.prefix) as folder:
        folder.claim(spec.record())
        found, _ = one_shot.run(spec, folder, ProgressBar(quiet=True))
    assert one_shot.images.image_shape[1] == spec.published.least_side
    assert 9.9 < found.weights.direct_compression < 10.1


@pytest.mark.slow
def test_a_missed_target_is_told_and_recorded_and_min_weights_reaches_it(tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr("tfprune.experiments.one_shot.recipe._SNIP_BATCHES", 2)
    warnings.simplefilter("always")  # the same line twice
    flags = {"architecture": "lenet5", "data": "digits", "pruning_type": "effective", "com_exp": 3.3, "train": False}

    def result(**more):
        study = OneShotStudy(OneShotSettings(**flags, out_path=str(tmp_path), **more))
        with study.held(False) as folder:
            study.train(folder, ProgressBar(quiet=True))
        written = json.loads(folder.path("result.json").read_text())
        told = [str(warning.message) for warning in recwarn]
        recwarn.clear()
        assert written["target_sparsity"] == pytest.approx(1 - 10**-3.3)
        model = one_shot_of("lenet5", "digits", None).build(study.settings)
        found = sparsity(model, load_masks(folder.path("masks.npz")))
        assert written["effective_sparsity"] == found.effective and written["effective"] == found.weights.effective
        return written, told

    written, told = result()
    needed = written["weights"] * 10**-3.3
    assert written["effective"] > 2 * needed
    start = f"effective sparsity 0.999499 was asked for, {written['effective_sparsity']:.6g} is reached: with 1 weight"
    assert written["missed"].startswith(start) and "kernel 'dense" in written["missed"]
    assert written["missed"] in told
    assert result() == (written, [written["missed"]])  # the masks were there
    written, told = result(min_weights=1)
    assert written["missed"] is None and told == []
    assert needed <= written["effective"] <= 1.1 * needed + 5


def test_a_log_holds_the_missed_target():
    counts = Counts(100, 50, 40)
    found = SparsityReport(counts, {}, counts, {}, 100, [], Masks({}))
    log, settings = MetricLog(), OneShotSettings(iterations=1)
    log.add("test_accuracy", 0, 0.5)
    log.add("test_objective", 0, 1.0)
    lines = log_text(settings, found, log, "effective sparsity 0.9 was asked for").splitlines()
    assert lines[1] == "[target missed: effective sparsity 0.9 was asked for]"
    assert lines[2] == "[iteration: 0][val loss: 1.0000][val acc: 0.5000]"
    assert lines[0::2] == log_text(settings, found, log).splitlines()


def test_snip_sees_each_image_once_in_the_published_batches(digits):
    batches = list(SnipBatches(digits.images, 100, seed=3))
    assert [len(labels) for _, labels in batches] == [100] * 14 + [37]
    assert batches[0][0].shape == (100, 8, 8, 1)
    images = np.concatenate([images for images, _ in batches])
    assert abs(images.mean()) < 1e-3 and abs(images.std() - 1) < 1e-3
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) > 1400
    assert not np.array_equal(next(iter(SnipBatches(digits.images, 100, seed=4)))[1], batches[0][1])


def test_dense_spec_keeps_the_data(tmp_path):
    spec = OneShotSettings(pruner="lamp", data="digits", path_to_data="x", iterations=3, eval_batchnorm="batch")
    dense = spec.dense
    assert (dense.data, dense.path_to_data, dense.iterations, dense.eval_batchnorm) == ("digits", "x", 3, "batch")
