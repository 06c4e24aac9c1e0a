"""The procedure of iterative magnitude pruning, on small runs."""

import pickle

import numpy as np
import pandas as pd
import pytest

from tfprune.errors import InputError
from tfprune.experiments.imp.analysis import Reevaluation
from tfprune.experiments.imp.files.iterations import read_findata
from tfprune.experiments.imp.files.out_text import out_text
from tfprune.experiments.imp.masks import prune_layerwise, unpruned_fraction
from tfprune.experiments.imp.training import network_of
from tfprune.layers.masks import Masks


def test_a_run_follows_the_procedure(default_run):
    run, watcher, _, _ = default_run
    assert run.iterations == [0, 1, 2]
    first = run.iteration(0)
    assert first.recorded_steps == [10, 80]
    assert first.validation_steps == [0, 20, 40, 60, 80]
    assert (len(first.steps), len(first.train_errors)) == (81, 81)
    assert first.masks.density == 1
    assert min(first.validation_errors) < 0.3
    rewinding, before = first.weights[0], first
    for k in (1, 2):
        record = run.iteration(k)
        assert record.recorded_steps == [80]
        np.testing.assert_allclose(record.ratios, 1 - 0.5**k)
        expected = prune_layerwise(record.layers, before.weights[-1], before.masks, record.ratios)
        assert record.masks == expected
        assert record.masks & before.masks == record.masks  # nothing comes back
        for index in range(3):
            # Pruned weights keep the value they were rewound to; the others have been trained from there.
            path = f"layer_{index}/kernel"
            mask, now, then = record.masks[path], record.weights[-1][path], rewinding[path]
            assert (~mask).any() == (index < 2)
            np.testing.assert_array_equal(now[~mask], then[~mask])
            assert (now[mask] != then[mask]).any()
        before = record
    final = read_findata(run.folder / "IMP_findata.pkl")
    assert list(final.best_validation_errors) == [min(run.iteration(k).validation_errors) for k in run.iterations]
    assert (run.folder / "IMP_out.dat").read_bytes().decode() == out_text(map(run.iteration, run.iterations))
    assert watcher.started == [f"IMP iteration {k} of 3" for k in range(3)]
    assert watcher.steps[-1] == (81, 81)
    assert watcher.details[0] == "unpruned 100.000%, connected units 24/16/10"
    best = min(run.iteration(2).validation_errors)
    assert watcher.ended[2] == f"best validation error {best:.4f}"
    assert not list(run.folder.glob("*checkpoint*"))


def test_summary_table(default_run):
    run, _, _, _ = default_run
    table = pd.read_csv(run.folder / "IMP_summary.csv")
    assert table["iteration"].tolist() == [0, 1, 2]
    for k in run.iterations:
        record = run.iteration(k)
        row = table.iloc[k]
        assert row["unpruned_fraction"] == unpruned_fraction(record.layers, record.masks)
        assert row["best_validation_error"] == min(record.validation_errors)
        for index in range(3):
            kernel, bias = (record.masks[f"layer_{index}/{name}"] for name in ("kernel", "bias"))
            assert row[f"live_units_{index}"] == np.count_nonzero(kernel.sum(axis=0))
            assert row[f"live_inputs_{index}"] == np.count_nonzero(kernel.sum(axis=1))
            kept = (kernel.sum() + bias.sum()) / (kernel.size + bias.size)
            assert row[f"density_{index}"] == pytest.approx(kept, abs=1e-15)
        assert row["ms_per_step"] > 0


def test_masks_come_from_prune_step(imp):
    run, _, _, _ = imp(IMP_prune_step=40, IMP_max_iterations=2)
    first, second = run.iteration(0), run.iteration(1)
    assert (first.recorded_steps, second.recorded_steps) == ([10, 40, 80], [40, 80])
    expected = prune_layerwise(first.layers, first.weights[1], first.masks, second.ratios)
    assert second.masks == expected
    other = prune_layerwise(first.layers, first.weights[2], first.masks, second.ratios)
    assert (expected["layer_0/kernel"] != other["layer_0/kernel"]).any()


def test_prune_step_before_weights_step_still_rewinds_to_weights_step(imp):
    run, _, _, _ = imp(IMP_prune_step=5, IMP_weights_step=40, IMP_max_iterations=2)
    first, second = run.iteration(0), run.iteration(1)
    assert first.recorded_steps == [5, 40, 80]
    path = "layer_0/kernel"
    pruned = ~second.masks[path]
    np.testing.assert_array_equal(second.weights[-1][path][pruned], first.weights[1][path][pruned])


def test_restart_from_own_files_gives_the_same_iterations(imp, tmp_path):
    whole, _, _, _ = imp("whole", Network_minimizer="Adam", Network_learning_rate=0.01)
    files = {
        "Network_rest_weights_file": whole.folder / "IMP_itdata_0.pkl",
        "Network_rest_mask_file": whole.folder / "IMP_itdata_1.pkl",
    }
    restarted, _, _, _ = imp(
        "again", Network_minimizer="Adam", Network_learning_rate=0.01, Network_restart="yes", Network_rest_it=2, **files
    )
    assert restarted.iterations == [2]
    for name in ("IMP_itdata_2.pkl",):
        assert (restarted.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_restart_refuses_another_network_and_a_missing_step(imp):
    whole, _, _, _ = imp("whole", IMP_max_iterations=1)
    files = {f"Network_rest_{name}_file": whole.folder / "IMP_itdata_0.pkl" for name in ("weights", "mask")}
    with pytest.raises(InputError, match=r"rest_weights_file = .*: its network is f\[64, 24\]T:f\[24, 16\]T:x"):
        imp("other", Network_restart="yes", Network_arch="f25:f16:x", **files)
    with pytest.raises(InputError, match=r"rest_file_step must be an index into the 2 recorded steps \[10, 80\]"):
        imp("step", Network_restart="yes", Network_rest_file_step=2, **files)


def test_stop_ratio(imp):
    run, _, _, _ = imp(IMP_prune_ratio=0.8, IMP_max_iterations=50, IMP_stop_ratio=0.9)
    last = run.iteration(run.iterations[-1])
    assert len(run.iterations) < 10
    kernels = ("layer_0/kernel", "layer_1/kernel")
    assert min(last.masks[path].any(axis=0).mean() for path in kernels) > 0.9
    ratios = last.ratios + 0.8 * (1 - last.ratios)
    then = prune_layerwise(last.layers, last.weights[-1], last.masks, ratios)
    assert min(then[path].any(axis=0).mean() for path in kernels) <= 0.9


def test_initial_sparsity_and_no_iteration_at_all(imp):
    run, _, _, _ = imp(Network_init_sparsity=0.6, IMP_max_iterations=2)
    kernel, bias = (run.iteration(0).masks[f"layer_0/{name}"] for name in ("kernel", "bias"))
    assert kernel.mean() == pytest.approx(0.4, abs=0.05)
    assert bias.all()
    assert run.iteration(0).ratios.tolist() == [0.6, 0.6]
    # 0.6 is more than the ratio the layer had; nothing comes back.
    assert not (run.iteration(1).masks["layer_0/kernel"] & ~kernel).any()
    with pytest.raises(InputError, match="no file"):
        imp("none", Network_init_sparsity=1.0)


def test_random_baseline_has_the_same_densities(imp, monkeypatch):
    trained = []
    from tfprune.experiments.imp.training import IterationTrainer

    original = IterationTrainer.train

    def spy(self, iteration, start, *rest, **keywords):
        trained.append((iteration, start.weights, start.masks))
        return original(self, iteration, start, *rest, **keywords)

    monkeypatch.setattr(IterationTrainer, "train", spy)
    run, watcher, _, _ = imp(Run_random_baseline="yes")
    assert watcher.started[1:] == [f"{what} iteration {k} of 3" for k in (1, 2) for what in ("IMP", "random mask")]
    for (k, weights, masks), (k_random, weights_random, random) in (trained[1:3], trained[3:5]):
        assert k == k_random
        assert weights is weights_random
        assert masks.counts == random.counts
        assert (masks["layer_0/kernel"] != random["layer_0/kernel"]).any()
    table = pd.read_csv(run.folder / "IMP_random_baseline.csv")
    assert table["iteration"].tolist() == [1, 2]


def test_convolutional_networks_train_validate_and_are_pruned(imp):
    run, _, settings, images = imp(Network_arch="c3,8:p2,2:c2,6:f16:x", IMP_prune="T:F:F:T:F", Network_steps=150)
    first, last = run.iteration(0), run.iteration(2)
    assert min(first.validation_errors) < 0.3
    assert [sum(f"layer_{i}/" in path for path in last.weights[-1]) for i in range(5)] == [1, 0, 1, 4, 4]
    kernel = last.masks["layer_0/kernel"]
    assert kernel.shape == (3, 3, 1, 8)
    assert kernel.mean() == pytest.approx(0.25, abs=0.02)
    assert last.masks["layer_2/kernel"].all()
    again = Reevaluation(settings, images)
    table = again.accuracies(run)
    assert table["top1"].tolist() == pytest.approx(
        [1 - run.iteration(k).validation_errors[-1] for k in (0, 1, 2)], abs=0.15
    )
    assert set(again.silencing(last)["order"]) == {"most", "least", "random"}


def test_reevaluation_reproduces_the_recorded_errors(default_run):
    """The last recorded step is a validation step here, so both saw the same weights and averages."""
    run, _, settings, images = default_run
    again = Reevaluation(settings, images)
    table = again.accuracies(run)
    for k in run.iterations:
        assert 1 - table["top1"][k] == pytest.approx(run.iteration(k).validation_errors[-1], abs=1e-6)
    assert (table["top5"] >= table["top1"]).all()
    silencing = again.silencing(run.iteration(0), points=4)
    assert sorted(set(silencing["units"])) == [0, 8, 16, 24]
    none, all_units = silencing[silencing["units"] == 0], silencing[silencing["units"] == 24]
    assert set(none["accuracy"]) == {table["top1"][0]}
    assert all_units["accuracy"].max() < 0.3  # nothing of the image is left


@pytest.mark.parametrize(
    "arch", ["f24:f16:x", *(pytest.param(arch, marks=pytest.mark.slow) for arch in ("c3,8:p2,2:f20:f8:x", "f12:x"))]
)
def test_silenced_units_are_those_whose_weights_and_bias_are_masked(imp, arch):
    """The whole network, masked and run by Keras."""
    prune = ":".join("F" if token == "x" else "T" for token in arch.split(":"))
    run, _, settings, images = imp(Network_arch=arch, IMP_prune=prune, IMP_prune_ratio=0.7)
    record = run.iteration(2)
    index = next(i for i, layer in enumerate(record.layers) if layer.kind == "f")
    kernel, bias = (f"layer_{index}/{name}" for name in ("kernel", "bias"))
    network = network_of(settings, images.image_shape, images.classes)
    network.weights, network.running_averages = record.weights[-1], record.running_averages[-1]
    pixels = np.concatenate([rows for rows, _ in images.validation.chunks()])

    def accuracy(units):
        live = ~np.isin(np.arange(record.masks[kernel].shape[1]), units)
        network.masks = Masks({**record.masks, kernel: record.masks[kernel] & live, bias: record.masks[bias] & live})
        logits = network.model.predict((pixels - images.mean) * np.float32(images.scale), verbose=0)
        return np.mean(logits.argmax(axis=1) == images.validation.labels)

    connections = record.masks[kernel].sum(axis=0)
    live = np.flatnonzero(connections)
    assert not record.masks[kernel].all()
    least = sorted(live, key=lambda unit: connections[unit])
    draw = np.random.default_rng([settings.seed, 3])
    draws = [draw.permutation(live) for _ in range(5)]
    table = Reevaluation(settings, images).silencing(record, points=6)
    assert table["units"].max() == len(live) and len(table) == 18
    for row in table.itertuples():
        n = row.units
        orders = {"most": [least[len(live) - n :]], "least": [least[:n]], "random": [units[:n] for units in draws]}
        expected = [accuracy(units) for units in orders[row.order]]
        assert (row.accuracy, row.std) == pytest.approx((np.mean(expected), np.std(expected)), abs=1e-12)


def test_divergence_is_told(imp):
    with pytest.raises(InputError, match=r"training diverged: the loss is not finite at iteration 0, step \d+; lower"):
        imp(Network_learning_rate=1e30)


def test_bfloat16_learns_and_differs(imp):
    run, _, _, _ = imp("half", Run_precision="bfloat16", IMP_max_iterations=1)
    whole, _, _, _ = imp("whole", IMP_max_iterations=1)
    half, whole = run.iteration(0), whole.iteration(0)
    assert min(half.validation_errors) == pytest.approx(min(whole.validation_errors), abs=0.1)
    difference = np.abs(half.weights[-1]["layer_0/kernel"] - whole.weights[-1]["layer_0/kernel"]).max()
    assert 1e-5 < difference < 0.5


@pytest.mark.slow
def test_the_seed_decides_everything(imp):
    runs = [imp(f"seed{k}", Run_seed=seed, IMP_max_iterations=2)[0] for k, seed in enumerate((7, 7, 8))]
    contents = [(run.folder / "IMP_itdata_1.pkl").read_bytes() for run in runs]
    assert contents[0] == contents[1] != contents[2]


@pytest.mark.slow
def test_imagenet_batches_in_memory_and_on_disk_train_alike(imp, tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (("train_data_batch_1", 300), ("train_data_batch_2", 100), ("val_data", 60)):
        rows = rng.integers(0, 256, (count, 3072), np.uint8)
        batch = {"data": rows, "labels": rng.integers(1, 1001, count).tolist(), "mean": rng.random(3072) * 255}
        (tmp_path / name).write_bytes(pickle.dumps(batch))
    # The published files hold 1,281,167 images; the ratio picks 350 of them, so that the second file is cut.
    keys = {"Data_dataset": "ImageNet32", "Data_dataloc": tmp_path, "Data_reclass": "m,7", "Data_data_ratio": 0.0002732}
    keys |= {"Network_val_size": 60, "Network_steps": 20, "IMP_max_iterations": 2}
    contents = []
    for preload in ("yes", "no"):
        run, _, _, images = imp(f"preload_{preload}", **keys, Data_preload=preload)
        assert images.train.size == 350
        assert images.train.resident == (preload == "yes")
        contents.append([(run.folder / f"IMP_itdata_{k}.pkl").read_bytes() for k in run.iterations])
    assert contents[0] == contents[1]
