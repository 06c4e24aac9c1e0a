"""Small runs of the systems on digits, in this process: their results say what their other files say."""

import itertools
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from few_figures import few_figures

import tfprune
from tfprune.connectivity.measured import parameters_of
from tfprune.experiments.told import told_of
from tfprune.layers.masks import Masks
from tfprune.records.result import COUNTED, LAYER, has_result, is_result_name

INI = """
[IO]
save_dir = {}
[Data]
dataset = digits
[Network]
arch = f6:f5:x
steps = 20
batch_size = 50
val_size = 150
validate_step = 10
[IMP]
prune = T:T:F
prune_ratio = 0.7
weights_step = 10
max_iterations = 3
"""


def _imp(folder):
    folder.mkdir()
    (folder / "run.ini").write_text(INI.format(folder))
    with few_figures():
        return [tfprune.run("imp", str(folder / "run.ini"), quiet=True)]


def _filters(folder):
    sizes = {"width": 1 / 16, "epochs": 1, "finetune_epochs": 1, "learning_rate": 0.05}
    sizes["batch_size"] = 479  # of 1437 images without a rest: another size is another trace
    kinds = {"data": "digits", "scoring": ("l2",), "version": ("v4_50",), "seed": 5}
    return [tfprune.run("filters", out_path=str(folder), quiet=True, **sizes, **kinds)]


def _lottery(folder):
    network = {"default_hparams": "mnist_lenet_20_12", "dataset_name": "digits", "training_steps": "2ep"}
    how = {**network, "root": str(folder), "quiet": True}
    rewound = {"rewinding_steps": "5it", **how}
    return [
        tfprune.run("lth", "lottery", levels=2, **rewound),
        tfprune.run("lth", "lottery_branch", "randomly_prune", levels="1", strategy="global", seed=7, **rewound),
        tfprune.run("lth", "train", replicate=2, **how),
        tfprune.run("lth", "branch", "train", "oneshot", replicate=2, strategy="snip10", prune_fraction=0.75, **how),
    ]


def _one_shot(folder):
    how = {"data": "digits", "iterations": 40, "sample": "a", "out_path": str(folder), "quiet": True}
    return [
        tfprune.run("main", pruner="snip", target_sparsity=0.98, pruning_type="effective", **how),
        tfprune.run("main", pruner="dense", **how),
    ]


RUNS = {"imp": _imp, "filters": _filters, "lottery": _lottery, "one_shot": _one_shot}
LEVELS = ["level 0", "level 1", "level 2"]
ABLATION = "randomly_prune seed=7 strategy=global, level 1"
NETWORKS = {
    "imp": [LEVELS],
    "filters": [["l2 v4_50", "unpruned"]],
    "lottery": [LEVELS, [ABLATION], ["training"], ["oneshot strategy=snip10"]],
    "one_shot": [["snip, effective compression 50"], ["dense"]],
}
"""System -> labels of the networks of each of its runs."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Folder with a finished run of every system, in folders of their names."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def runs(root):
    return {name: run(root / name) for name, run in RUNS.items()}


@pytest.fixture(scope="module")
def table(runs, root):
    return tfprune.read_results(root)


def _rows(table, family):
    return {row["label"]: row for row in table[table["family"] == family].to_dict("records")}


def test_every_network_has_a_row_with_all_its_counts(table):
    labels = {family: sorted(_rows(table, family)) for family in set(table["family"])}
    assert labels == {family: sorted(itertools.chain(*networks)) for family, networks in NETWORKS.items()}
    assert (table["source"] == "tfprune").all() and table["versions"].str.contains("tensorflow").all()
    assert table[[*COUNTED, "accuracy", "seconds"]].notna().all(axis=None)
    assert (table["kept"] >= table["effective"]).all() and (table["weights"] >= table["kept"]).all()
    for name in ("parameters", "flops"):
        assert (table[name] >= table[f"{name}_masked"]).all() and (table[name] >= table[f"{name}_compacted"]).all()


def test_a_study_finds_its_own_rows(runs):
    own = {name: [sorted(run.results["label"]) for run in found] for name, found in runs.items()}
    assert own == NETWORKS


def test_layers_of_every_network_add_up_to_it(table):
    for row in table.to_dict("records"):
        for name in LAYER:
            total = sum(layer[name] for layer in row["layers"].values())
            assert total == row[name], (row["family"], row["label"], name)
    assert {len(layers) for layers in table[table["family"] == "filters"]["layers"]} == {15}
    assert list(_rows(table, "one_shot")["dense"]["layers"]) == ["dense1/kernel", "dense2/kernel", "dense3/kernel"]


def test_files_of_a_network_tell_its_curves_and_its_structure(table):
    for row in table.to_dict("records"):
        told, place = told_of(row["family"]), (Path(row["folder"]), row["file"])
        step, accuracy = told.curves(*place)["test_accuracy"][-1]
        assert accuracy == pytest.approx(row["accuracy"], abs=1e-12)
        # Filter pruning counts epochs; lottery tickets the steps before the rewinding point, too.
        rewound = 5 if row["family"] == "lottery" and "level" in row["label"] else 0
        assert step == (1 if row["family"] == "filters" else row["steps"] + rewound)
        small = tfprune.compact(*told.network(*place, row["settings"]), verify=False)
        assert parameters_of(small) == row["parameters_compacted"]
        # Where a result of before has no layers, other files have them.
        layers = told.layers(*place)
        assert (layers is None) == (row["family"] == "filters")
        for path, layer in (layers or {}).items():
            assert all(layer[name] == row["layers"][path][name] for name in ("weights", "kept"))


def test_iterative_pruning(root, table):
    for k in range(3):
        row = _rows(table, "imp")[f"level {k}"]
        content = pickle.loads((root / f"imp/IMP_itdata_{k}.pkl").read_bytes())
        assert row["kept"] == sum(int(kernel.sum()) for kernel, _ in content[9])
        assert row["accuracy"] == 1 - float(content[6][-1]) and row["steps"] == 20 and row["level"] == k
        alive = [64, *(int(kernel.any(axis=0).sum()) for kernel, _ in content[9][:-1])]
        assert row["parameters_compacted"] <= sum(
            inputs * (units + 2) + units for inputs, units in zip(alive, [*alive[1:], 10], strict=True)
        )


def test_one_shot_pruning(table):
    """LeNet-300-100 on images of 8×8: batch normalisation after every kernel, no biases but its shifts."""
    for label, row in _rows(table, "one_shot").items():
        folder = Path(row["folder"])
        (path,) = folder.glob("a_*_result.json")
        told, prefix = json.loads(path.read_text()), path.name.removesuffix("_result.json")
        assert told["missed"] is None and row["more"]["target_sparsity"] == (0.98 if "snip" in label else 0)
        counts = np.array([64 * 300, 300 * 100, 100 * 10])
        for name, kind in (("kept", "direct"), ("effective", "effective_synflow")):
            sparsities = np.load(folder / f"{prefix}_sparsities_{kind}.npy")
            assert row[name] == np.round(counts * (1 - sparsities)).sum()
        assert row["density"] == pytest.approx(1 - told["direct_sparsity"], abs=1e-12)
        assert row["accuracy"] == np.load(folder / f"{prefix}_accuracies.npy")[-1] and row["steps"] == 40
        assert row["loss"] < np.load(folder / f"{prefix}_losses.npy")[-1]  # which holds the weight decay
        norms = 2 * (300 + 100 + 10)
        assert (row["parameters"], row["parameters_masked"]) == (counts.sum() + norms, row["kept"] + norms)
        assert (row["weights"], row["flops"], row["flops_masked"]) == (counts.sum(), 2 * counts.sum(), 2 * row["kept"])


def test_lottery_tickets(table):
    rows = _rows(table, "lottery")
    for label, row in rows.items():
        folder = Path(row["folder"])
        report = json.loads((folder / "sparsity_report.json").read_text())
        assert (row["weights"], row["kept"]) == (report["total"], report["unpruned"])
        log = [line.split(",") for line in (folder / "logger").read_text().splitlines()]
        assert row["accuracy"] == float([value for name, _, value in log if name == "test_accuracy"][-1])
        assert row["loss"] == float([value for name, _, value in log if name == "test_loss"][-1])
        assert row["steps"] == (19 if "level" in label else 24)
        # A fully connected network: weights, of which some are pruned, and 20 + 12 + 10 biases.
        assert (row["parameters"], row["parameters_masked"]) == (row["weights"] + 42, row["kept"] + 42)
        assert (row["flops"], row["flops_masked"]) == (2 * row["weights"], 2 * row["kept"])
    assert rows["level 2"]["level"] == 2 and pd.isna(rows["oneshot strategy=snip10"]["level"])


def test_filter_pruning(root, table):
    for label, row in _rows(table, "filters").items():
        (path,) = (root / "filters").rglob(f"{label.split()[-1]}/metrics.json")
        metrics, model = json.loads(path.read_text()), tfprune.load_model(path.with_name("model.keras"))
        assert row["parameters_masked"] == metrics["parameters"] and row["flops_masked"] == metrics["flops"]
        assert (row["accuracy"], row["loss"]) == (metrics["test_accuracy"], metrics["test_loss"])
        assert row["kept"] == Masks.dense(model).size and row["seed"] == 5
        small = tfprune.compact(model, verify=False)
        assert row["parameters_compacted"] == sum(int(np.prod(one.shape)) for one in small.trainable_variables)
    assert table[table["family"] == "filters"]["weights"].nunique() == 1


def test_without_result_files_the_same_folders_tell_the_same(root, table, tmp_path):
    """As those of earlier versions do."""
    shutil.copytree(root, tmp_path / "bare")
    for path in (tmp_path / "bare").rglob("*.json"):
        if is_result_name(path.name) and has_result(path):
            path.unlink()
    bare = tfprune.read_results(tmp_path / "bare")
    assert len(bare) == len(table)
    for one, other in zip(table.to_dict("records"), bare.to_dict("records"), strict=True):
        for name in set(one) - {"folder", "file", "settings", "versions", "more"}:
            assert pd.isna(other[name]) or one[name] == other[name], (one["family"], one["label"], name)
