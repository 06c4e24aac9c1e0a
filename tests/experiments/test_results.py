"""One table of any mix of runs: the expected rows, with the numbers of the runs' own files."""

import csv
import json
import pickle
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tfprune
from tfprune.connectivity.measured import measured
from tfprune.errors import InputError
from tfprune.experiments.imp.arch import LayerSpec
from tfprune.experiments.imp.files.iterations import read_iteration
from tfprune.experiments.imp.files.records import IterationRecord
from tfprune.experiments.imp.network import ImpNetwork
from tfprune.experiments.imp.originals import counted
from tfprune.experiments.results import COLUMNS, read_results
from tfprune.layers.masks import Masks
from tfprune.records.result import COUNTED, Result, result_path, write_result

LENET = 784 * 300 + 300 * 100 + 100 * 10
_TESTS = ("test_loss", "test_accuracy")
LEVEL = "lottery_0123abcd/replicate_3/level_{}/{}"
HPARAMS = """Dataset Hyperparameters
    * dataset_name => mnist
    * batch_size => 128
Model Hyperparameters
    * model_name => mnist_lenet_300_100
Training Hyperparameters
    * lr => 0.1
    * training_steps => 40ep
Hyperparameters for Sparse Global Pruning
    * pruning_strategy => sparse_global
Pretraining Training Hyperparameters
    * training_steps => 100it"""


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """Runs of all systems on digits, made before networks left results: their small files, not to be changed."""
    folder = tmp_path_factory.mktemp("old")
    with zipfile.ZipFile(Path(__file__).with_name("old_runs.zip")) as archive:
        archive.extractall(folder)
    return folder


def _row(table, **wanted):
    """The one row with these values, as a dict without missing values."""
    for name, value in wanted.items():
        table = table[table[name] == value]
    (row,) = table.to_dict("records")
    return {name: value for name, value in row.items() if not pd.api.types.is_scalar(value) or not pd.isna(value)}


def test_columns_and_kinds(old):
    table = read_results(old)
    assert tuple(table.columns) == COLUMNS and len(table) == 14
    assert set(table["source"]) == {"tfprune"}
    assert table["family"].value_counts().to_dict() == {"lottery": 6, "imp": 3, "one_shot": 3, "filters": 2}
    assert all(table[name].dtype == "Int64" for name in (*COUNTED, "level", "steps"))
    assert all(table[name].dtype == "float64" for name in ("accuracy", "loss", "seconds", "density"))
    assert not table[["parameters_compacted", "flops_compacted"]].notna().any(axis=None)  # nothing tells them


def test_old_runs_of_iterative_pruning(old):
    table, imp = read_results(old / "imp"), old / "imp"
    with open(imp / "IMP_summary.csv") as file:
        summary = list(csv.DictReader(file))
    assert table["label"].tolist() == ["level 0", "level 1", "level 2"] and table["level"].tolist() == [0, 1, 2]
    for k, line in enumerate(summary):
        content = pickle.loads((imp / f"IMP_itdata_{k}.pkl").read_bytes())
        row, masks = _row(table, level=k), content[9]
        assert row["kept"] == sum(int(kernel.sum()) for kernel, _ in masks)
        assert (row["weights"], row["parameters"]) == (64 * 6 + 6 * 5 + 5 * 10, 464 + 6 + 5 + 10 + 2 * (64 + 6 + 5))
        pruned = (64 * 6 + 6 + 6 * 5 + 5) * (1 - float(line["unpruned_fraction"]))
        assert row["parameters_masked"] == row["parameters"] - round(pruned)
        assert row["accuracy"] == 1 - float(content[6][-1]) and row["steps"] == 40
        assert (row["flops"], row["flops_masked"]) == (2 * 464, 2 * row["kept"])
        assert row["method"] == "magnitude" and row["more"]["best_accuracy"] == 1 - float(min(content[6]))
        assert row["seed"] == 3 and row["settings"]["arch"] == "f6:f5:x"
        assert "loss" not in row and "seconds" not in row
    assert table["effective"].tolist() == [464, 178, 66]  # unit 5 of layer 1 has lost its inputs by then
    assert table["digest"].nunique() == 1


@pytest.mark.parametrize("k", range(3))
def test_what_files_of_iterative_pruning_count_is_what_the_network_counts(old, k):
    record = read_iteration(old / f"imp/IMP_itdata_{k}.pkl")
    network = ImpNetwork("f6:f5:x", "T:T:F", (1, 8, 8), 10)
    network.masks = record.masks
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nothing in plain Keras computes the same, so it is not compacted
        found = measured(network.model)
    known = {name: value for name, value in found.items() if value is not None}
    assert len(known) == 8 and counted(record) == known


def test_of_convolutions_files_of_iterative_pruning_tell_less():
    layers = (LayerSpec("c", (3, 3, 1, 2, 1), True), LayerSpec("p", (2, 2), True), LayerSpec("x", (8, 3), True))
    weights = {f"layer_{i}/{name}": np.ones(shape) for i in (0, 2) for name, shape in layers[i].shapes.items()}
    masks = {path: array != 0 for path, array in weights.items() if path.endswith(("kernel", "bias"))}
    masks |= {"layer_2/kernel": np.arange(24).reshape(8, 3) % 2 == 0, "layer_2/bias": np.array([True, True, False])}
    record = IterationRecord(
        layers, np.zeros(2), [1], [0, 1], [0, 1], *[np.zeros(2)] * 2, [weights], [{}], Masks(masks)
    )
    assert counted(record) == {
        "weights": 42,
        "kept": 18 + 12,
        "effective": None,
        "parameters": 42 + 3 + 16,
        "parameters_masked": 42 + 3 + 16 - 12 - 1,
        "flops": None,
        "flops_masked": None,
        "layers": {
            "layer_0/kernel": {"weights": 18, "kept": 18, "effective": None},
            "layer_2/kernel": {"weights": 24, "kept": 12, "effective": None},
        },
    }


def test_old_one_shot_runs(old):
    table = read_results(old / "one_shot")
    for place, prefix, label in (
        ("snip/effective", "a_50", "snip, effective compression 50"),
        ("random/igq/direct", "1_100", "random/igq, direct compression 100"),
        ("dense", "a_1", "dense"),
    ):
        folder = old / "one_shot/lenet300100" / place
        told, row = json.loads((folder / f"{prefix}_result.json").read_text()), _row(table, label=label)
        assert [row[name] for name in COUNTED[:3]] == [told[name] for name in COUNTED[:3]]
        assert row["density"] == pytest.approx(1 - told["direct_sparsity"], abs=1e-12)
        assert row["effective_density"] == pytest.approx(1 - told["effective_sparsity"], abs=1e-12)
        assert row["method"] == row["settings"]["pruner"] == label.partition(",")[0]
        assert str(row["seed"]) == prefix[0] and Path(row["folder"]) == folder
        assert "loss" not in row  # theirs holds the weight decay
        if (folder / f"{prefix}_accuracies.npy").exists():
            assert row["accuracy"] == np.load(folder / f"{prefix}_accuracies.npy")[-1] and row["steps"] == 40
        else:  # pruned alone
            assert "accuracy" not in row and "steps" not in row
    assert table["accuracy"].isna().sum() == 1


def test_a_one_shot_run_with_weights_of_its_own_and_a_long_name(old, tmp_path):
    folder = tmp_path / "lenet300100/snip/effective"
    folder.mkdir(parents=True)
    for name in ("sparsities_direct.npy", "sparsities_effective_synflow.npy", "accuracies.npy", "run.json"):
        data = (old / f"one_shot/lenet300100/snip/effective/a_50_{name}").read_bytes()
        (folder / f"a_31.6228_0123abcd_{name}").write_bytes(data)
    np.save(folder / "a_31.6228_0123abcd_counts.npy", np.array([64 * 300, 300 * 100, 1000]))
    (row,) = read_results(tmp_path).to_dict("records")
    assert (row["weights"], row["kept"], row["effective"], row["steps"]) == (50200, 1568, 1004, 40)


def test_old_lottery_runs(old):
    table = read_results(old / "lottery")
    labels = ["training", "level 0", "level 1", "level 2", "oneshot strategy=snip10"]
    branch = "randomly_prune seed=7 strategy=global, level 1"
    assert sorted(table["label"]) == sorted([*labels, branch])
    for row in table.to_dict("records"):
        folder, tests = Path(row["folder"]), {}
        for line in (folder / "logger").read_text().splitlines():
            name, iteration, value = line.split(",")
            tests.setdefault(name, []).append((int(iteration), float(value)))
        report = json.loads((folder / "sparsity_report.json").read_text())
        assert (row["weights"], row["kept"]) == (report["total"], report["unpruned"])
        assert (row["accuracy"], row["loss"]) == (tests["test_accuracy"][-1][1], tests["test_loss"][-1][1])
        rewound = "level_" in str(folder)  # to step 5 of 24
        assert row["steps"] == (19 if rewound else 24) and row["seed"] == (1 if rewound else 2)
        assert str(folder).split("/replicate_")[0].endswith(f"_{row['digest']}")
        groups = {"model", "dataset", "training"}
        assert set(row["settings"]) >= groups and row["settings"]["model"]["batchnorm_frozen"] is False
    assert _row(table, label="level 1")["settings"]["pretrain_training"]["training_steps"] == "5it"
    assert _row(table, label=branch)["method"] == branch.partition(",")[0] and _row(table, label=branch)["level"] == 1
    assert _row(table, label="training")["level"] == 0 and "level" not in _row(table, label=labels[-1])
    assert set(table["method"]) == {"main", branch.partition(",")[0], "oneshot strategy=snip10"}


def test_old_filter_runs(old):
    table = read_results(old / "filters")
    (top,) = (old / "filters").iterdir()
    whole = json.loads((top / "unpruned/metrics.json").read_text())
    (path,) = top.glob("finetuned_*/l2/v4_50/metrics.json")
    for metrics, label in ((whole, "unpruned"), (json.loads(path.read_text()), "l2 v4_50")):
        row = _row(table, label=label)
        assert (row["parameters"], row["parameters_masked"]) == (whole["parameters"], metrics["parameters"])
        assert (row["flops"], row["flops_masked"]) == (whole["flops"], metrics["flops"])
        assert (row["accuracy"], row["loss"]) == (metrics["test_accuracy"], metrics["test_loss"])
        assert row["seconds"] == metrics["finetuning_seconds"] and row["seed"] == 5
        assert not {"weights", "kept", "density"} & set(row)
    assert _row(table, label="l2 v4_50")["version"] == "v4_50" and _row(table, label="l2 v4_50")["method"] == "l2"
    assert _row(table, label="unpruned")["digest"] == top.name.rpartition("_")[2]


def test_losses_of_probabilities_are_no_cross_entropy(old, tmp_path):
    folder = tmp_path / "vgg16_digits/unpruned"
    folder.mkdir(parents=True)
    (source,) = (old / "filters").glob("*/unpruned")
    for name in ("metrics.json", "run.json"):
        text = (source / name).read_text()
        (folder / name).write_text(text.replace('"loss": "standard"', '"loss": "published"'))
    (row,) = read_results(tmp_path).to_dict("records")
    assert row["accuracy"] > 0 and np.isnan(row["loss"])


def test_unfinished_runs_have_no_row(old, tmp_path):
    for path in old.rglob("*"):
        if path.is_file():
            target = tmp_path / path.relative_to(old)
            target.parent.mkdir(parents=True, exist_ok=True)
            data = path.read_bytes()
            if path.name.endswith("run.json"):
                data = data.replace(b'"finished": true', b'"finished": false').replace(b'"masks"', b"false")
            target.write_bytes(data)
    # An iteration of iterative pruning is there as a whole or not at all.
    assert read_results(tmp_path)["family"].tolist() == ["imp"] * 3


def _openlth(folder, tests, unpruned=None):
    folder.mkdir(parents=True)
    lines = [f"{name},{at},{value}" for at, *both in tests for name, value in zip(_TESTS, both, strict=True)]
    (folder / "logger").write_text("\n".join(lines))
    if unpruned is not None:
        report = {"total": float(LENET), "unpruned": float(unpruned)}
        (folder / "sparsity_report.json").write_text(json.dumps(report, indent=4))


@pytest.fixture
def originals(tmp_path):
    """Files as the original codes write them."""
    top = tmp_path / "EffectiveSparsity/lenet300100"
    counts = np.array([784 * 300, 300 * 100, 100 * 10])
    for place, prefix, direct, effective, accuracies in (
        ("dense", "0_1", [0, 0, 0], [0, 0, 0], [0.1, 0.96, 0.975]),
        ("snip/direct", "0_10", [0.92, 0.8, 0.5], [0.925, 0.81, 0.5], [0.1, 0.9, 0.95]),
        ("random/erk/effective", "1_1000", [0.999, 0.999, 0.99], [1, 1, 1], [0.1]),
        ("synflow/direct", "0_10", [0.9, 0.9, 0.9], [0.9, 0.9, 0.9], None),
    ):
        folder = top / place
        folder.mkdir(parents=True)
        np.save(folder / f"{prefix}_sparsities_direct.npy", np.array(direct, float))
        np.save(folder / f"{prefix}_sparsities_effective_synflow.npy", np.array(effective, float))
        np.save(folder / f"{prefix}_sparsities_effective_custom.npy", np.array(effective, float))
        if accuracies:
            np.save(folder / f"{prefix}_accuracies.npy", np.array(accuracies))
            np.save(folder / f"{prefix}_losses.npy", np.array(accuracies) + 2)
    np.save(top / "dense/0_1_counts.npy", counts)
    lottery = tmp_path / "open_lth_data"
    _openlth(lottery / LEVEL.format(0, "main"), [(100, 2.3, 0.1), (18760, 0.06, 0.98)], LENET)
    _openlth(lottery / LEVEL.format(1, "main"), [(100, 2.3, 0.1), (18760, 0.07, 0.97)], 213159)
    _openlth(lottery / LEVEL.format(1, "lottery_branch_randomly_prune_00ff"), [(100, 2, 0.1), (18760, 1, 0.6)], 213159)
    _openlth(lottery / LEVEL.format("pretrain", "main"), [(0, 2.3, 0.1), (100, 1.1, 0.7)])
    _openlth(lottery / "train_4567/replicate_1/main", [(0, 2.3, 0.1), (469, 0.5, 0.9)])
    (lottery / LEVEL.format(0, "main") / "hparams.log").write_text(HPARAMS)
    (lottery / LEVEL.format(2, "main")).mkdir(parents=True)  # begun: masks, but no log
    (lottery / LEVEL.format(2, "main") / "sparsity_report.json").write_text('{"total": 3.0, "unpruned": 2.0}')
    filters = tmp_path / "filters"
    filters.mkdir()
    metrics = {"train_loss": 1.5, "train_acc": 99.1, "test_loss": 1.6, "test_acc": 90.25, "finetuning_runtime": 12.5}
    whole, part = {**metrics, "nb_params": 14991946}, {**metrics, "nb_params": 5000000, "test_acc": 88.0}
    (filters / "vgg_GM_norm_MNIST_metrics.json").write_text(json.dumps({"v0": whole, "v3_50": part}))
    (filters / "resnet_operator_norm_metrics.json").write_text(json.dumps({"v1_25": part}))
    return tmp_path


def test_originals_of_effective_sparsity(originals):
    table = read_results(originals / "EffectiveSparsity")
    assert set(table["source"]) == {"original"} and (table["weights"] == LENET).all() and len(table) == 4
    row = _row(table, label="snip, direct compression 10")
    assert row["kept"] == 18816 + 6000 + 500 and row["effective"] == 17640 + 5700 + 500
    assert row["accuracy"] == 0.95 and (row["seed"], row["method"]) == (0, "snip")
    assert row["settings"] == {
        "architecture": "lenet300100",
        "pruner": "snip",
        "pruning_type": "direct",
        "compression": 10,
    }
    assert not {"loss", "digest", "steps", "level", "parameters", "flops"} & set(row)
    assert _row(table, label="dense")["accuracy"] == 0.975 and _row(table, label="dense")["density"] == 1
    row = _row(table, label="random/erk, effective compression 1000")
    assert row["effective"] == 0 and row["kept"] == 235 + 30 + 10 and "accuracy" not in row  # guessing is not measured
    assert "accuracy" not in _row(table, label="synflow, direct compression 10")


def test_without_counts_there_are_no_densities(originals):
    (originals / "EffectiveSparsity/lenet300100/dense/0_1_counts.npy").unlink()
    table = read_results(originals / "EffectiveSparsity")
    assert len(table) == 4 and table[["weights", "kept", "effective", "density"]].isna().all(axis=None)
    assert _row(table, label="snip, direct compression 10")["accuracy"] == 0.95


def test_originals_of_lottery_tickets(originals):
    table = read_results(originals / "open_lth_data")
    assert table["label"].tolist() == ["level 0", "randomly_prune, level 1", "level 1", "training"]
    assert set(table["source"]) == {"original"}
    row = _row(table, label="level 1")
    assert (row["weights"], row["kept"], row["steps"], row["seed"]) == (LENET, 213159, 18660, 3)
    assert (row["accuracy"], row["loss"], row["digest"], row["method"]) == (0.97, 0.07, "0123abcd", "main")
    assert row["settings"] == {
        "dataset": {"dataset_name": "mnist", "batch_size": 128},
        "model": {"model_name": "mnist_lenet_300_100"},
        "training": {"lr": 0.1, "training_steps": "40ep"},
        "pruning": {"pruning_strategy": "sparse_global"},
        "pretrain_training": {"training_steps": "100it"},
    }
    row = _row(table, label="training")
    assert (row["level"], row["steps"], row["accuracy"], row["settings"]) == (0, 469, 0.9, {}) and "kept" not in row


def test_originals_of_filter_pruning(originals):
    table = read_results(originals / "filters")
    row = _row(table, label="gm_norm v3_50")
    assert (row["parameters"], row["parameters_masked"], row["accuracy"]) == (14991946, 5000000, 0.88)
    assert (row["method"], row["version"], row["seconds"], row["source"]) == ("gm_norm", "v3_50", 12.5, "original")
    assert row["settings"] == {"model": "vgg16", "data": "mnist"} and "loss" not in row
    row = _row(table, label="operator_norm v1_25")
    assert row["settings"] == {"model": "resnet50", "data": "cifar10"} and "parameters" not in row
    assert _row(table, label="gm_norm v0")["accuracy"] == 0.9025


def test_originals_of_energy_based_pruning(tmp_path):
    lines = [" ".join(map(str, [epoch, *range(2, 12)])) for epoch in (0.5, 0.25)]
    (tmp_path / "loss_a.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "args_a.json").write_text('{"model": "ising", "cost": "edropout", "seed": 3, "nnmodel": "resnet18"}')
    (tmp_path / "loss_alone.txt").write_text("1 2\n")  # somebody else's
    (row,) = read_results(tmp_path).to_dict("records")
    assert (row["family"], row["label"], row["source"]) == ("energy", "ising edropout", "original")
    assert (row["seed"], row["method"], row["settings"]["nnmodel"]) == (3, "ising", "resnet18")
    assert pd.isna(row["accuracy"]) and pd.isna(row["loss"]) and pd.isna(row["density"])  # none of test images is told
    assert row["more"]["epochs"] == 2 and list(row["more"]["last_epoch"].values()) == [0.25, *map(float, range(2, 12))]
    assert list(row["more"]["last_epoch"])[3:6] == ["valid_top1", "valid_top3", "valid_top5"]
    for name, content in (("b", "1 2 3\n"), ("c", "one two\n"), ("d", "")):
        (tmp_path / f"loss_{name}.txt").write_text(content)
        (tmp_path / f"args_{name}.json").write_text("{}")
    (tmp_path / "loss_e.txt").write_text("1\n")
    (tmp_path / "args_e.json").write_text("[")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(read_results(tmp_path)) == 1
    told = [str(one.message) for one in caught]
    assert [str(tmp_path / f"loss_{name}.txt") in line for name, line in zip("bcd", told, strict=False)] == [True] * 3
    assert len(told) == 4 and "_e." in told[3]
    # Ours has a record, and is no original even where its result is not written yet.
    (tmp_path / "run.json").write_text("{}")
    assert read_results(tmp_path).empty


def test_originals_of_iterative_pruning(golden):
    table = read_results(golden / "imp")
    assert table["source"].tolist() == ["original"] * 3 and table["seed"].isna().all() and table["digest"].isna().all()
    final = pickle.loads((golden / "imp/original_run/IMP_findata.pkl").read_bytes())
    for k in range(3):
        content = pickle.loads((golden / f"imp/original_run/IMP_itdata_{k}.pkl").read_bytes())
        row = _row(table, level=k)
        assert row["kept"] == sum(int((kernel != 0).sum()) for kernel, _ in content[9])
        assert row["weights"] == 3072 * 12 + 12 * 16 + 16 * 10 and row["steps"] == 60
        assert row["accuracy"] == 1 - float(content[6][-1]) <= 1 - float(final[2][k])


def test_a_mix(old, originals):
    (originals / "mine").mkdir()
    for level in (2, 10, 9):
        result = Result("mine", f"level {level}", level=level, weights=4, kept=3, accuracy=0.5, more={"note": "x"})
        write_result(result_path(originals / "mine", "run", level), result)
    write_result(originals / "mine/result.json", Result("mine", "dense", {"a": 1}, "d", 7))
    (originals / "mine/other_result.json").write_text('{"score": 3}')  # somebody else's
    table = read_results(old, str(originals), old / "imp")
    assert len(table) == 14 + 4 + 4 + 3 + 4
    assert table["family"].value_counts()["mine"] == 4
    mine = table[table["family"] == "mine"]
    assert mine["label"].tolist() == ["dense", "level 2", "level 9", "level 10"]
    row = _row(mine, label="level 9")
    assert (row["density"], row["more"], row["source"]) == (0.75, {"note": "x"}, "tfprune")
    assert row["folder"] == str(originals / "mine") and "tensorflow " in row["versions"]
    assert tfprune.read_results is read_results


def test_a_result_file_takes_the_place_of_published_files(old, tmp_path):
    with zipfile.ZipFile(Path(__file__).with_name("old_runs.zip")) as archive:
        archive.extractall(tmp_path)
    for folder, prefix, k in (
        ("imp", "IMP", 1),
        ("one_shot/lenet300100/snip/effective", "a_50", None),
        (next(tmp_path.glob("lottery/lottery_*/replicate_1/level_2/main")), "", None),
        (next(tmp_path.glob("filters/*/unpruned")), "", None),
    ):
        write_result(result_path(tmp_path / folder, prefix, k), Result("new", "new"))
    before, after = read_results(old), read_results(tmp_path)
    assert len(before) == len(after) and (after["family"] == "new").sum() == 4
    before, after = (set(zip(table["family"], table["label"], strict=True)) for table in (before, after))
    gone = {
        ("imp", "level 1"),
        ("one_shot", "snip, effective compression 50"),
        ("lottery", "level 2"),
        ("filters", "unpruned"),
    }
    assert before - after == gone and after - before == {("new", "new")}


def test_damaged_files_cost_a_line_each(originals, old):
    write_result(originals / "result.json", Result("mine", "dense"))
    damage = {
        "filters/vgg_GM_norm_MNIST_metrics.json": '{"v0": {"test_acc": "good"}}',
        "result_2.json": '{"tfprune_result": 1, "family": "mine", "label": "x", "accuracy": 97}',
        "result_3.json": "{",
        f"open_lth_data/{LEVEL.format(0, 'main')}/logger": "test_accuracy;1",
        f"open_lth_data/{LEVEL.format(1, 'main')}/sparsity_report.json": '{"total": 3.5, "unpruned": 1}',
        "EffectiveSparsity/lenet300100/snip/direct/0_10_accuracies.npy": "\x93NUMPY",
        "EffectiveSparsity/lenet300100/synflow/direct/0_10_sparsities_direct.npy": np.array([0.5, 2.0]),
        "IMP_itdata_4.pkl": "(",
        "p_run.json": "[]",
        "p_itdata_0.pkl": (old / "imp/IMP_itdata_0.pkl").read_bytes(),
    }
    whole = len(read_results(originals))
    for name, content in damage.items():
        if isinstance(content, np.ndarray):
            np.save(originals / name, content)
        else:
            (originals / name).write_bytes(content.encode("latin-1") if isinstance(content, str) else content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = read_results(originals)
    lines = [str(one.message) for one in caught]
    assert not [line for line in lines if "\n" in line]
    told = {name: [line for line in lines if str(originals / name) in line] for name in damage}
    told.pop("p_itdata_0.pkl")  # it is whole; its record is not
    assert all(len(found) == 1 for found in told.values()) and len(lines) == len(told)
    assert any("accuracy must be in [0, 1]. Received: '97'" in line for line in lines)
    assert len(table) == whole - 2 - 4


def test_no_such_folder(tmp_path):
    with pytest.raises(InputError, match=r"cannot read results in .*none: no such folder"):
        read_results(tmp_path / "none")
    empty = read_results(tmp_path)
    assert empty.empty and tuple(empty.columns) == COLUMNS


def test_reading_needs_no_tensorflow(old):
    code = f"import sys, tfprune; n = len(tfprune.read_results({str(old)!r})); print(n, 'keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["14", "False"], done.stderr[-2000:]


@pytest.mark.parametrize("root", [3, None, ["runs"]])
def test_what_is_no_folder_is_told(root):
    with pytest.raises(InputError, match=r"a folder of results must be text or a path\. Received: "):
        read_results(root)
