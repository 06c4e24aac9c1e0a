"""The pages of the systems: their numbers are those of the committed tables, their flags those of the commands."""

import itertools
import re
from pathlib import Path

import pandas as pd
import pytest
from shown import blocks, commands, shown_help, table

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "notebooks" / "results"
PAGES = {path.stem: path.read_text() for path in sorted((ROOT / "docs" / "systems").glob("*.md"))}
OTHERS = {
    "flagfile",
    "logdir",
    "level",
    "rewind",
    "num_workers",
    "platform",
    "apex_fp16",
}  # of TensorBoard and of OpenLTH
ENTRIES = {"imp": "imp", "one_shot": "main", "lottery": "lth", "filters": "filters", "energy": "energy"}


def _numbers(cell):
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", cell)]


def _is_shown(cell, values):
    """Whether a cell shows these numbers, each to as many places as it has there."""
    shown = re.findall(r"\d+(?:\.\d+)?", cell)
    assert len(shown) == len(values), (cell, values)
    for text, value in zip(shown, values, strict=True):
        places = len(text.partition(".")[2])
        assert abs(float(text) - value) <= 0.501 * 10**-places, (cell, values)


def test_every_system_has_a_page():
    rooms = {path.parent.name for path in (ROOT / "tfprune" / "experiments").glob("*/study.py")}
    assert rooms == set(PAGES) == set(ENTRIES)


def test_imp():
    pruned = pd.read_csv(RESULTS / "cifar10_measures.csv").set_index("iteration")
    random = pd.read_csv(RESULTS / "cifar10_random_baseline.csv").set_index("iteration")
    left, magnitude, at_random, local = table(PAGES["imp"], "weights left")
    iterations = [
        (pruned["unpruned_fraction"] - value / 100).abs().idxmin() for cell in left for value in _numbers(cell)
    ]
    assert len(iterations) == 9
    for place, iteration in enumerate(iterations):
        row = pruned.loc[iteration]
        _is_shown(left[place], [100 * row["unpruned_fraction"]])
        _is_shown(magnitude[place], [100 * row["best_accuracy"]])
        _is_shown(local[place], [row["local_fraction"] / row["local_fraction_random"]])
        if iteration:
            _is_shown(at_random[place], [100 * (1 - random.loc[iteration, "best_validation_error"])])
    assert (pruned["local_fraction"].diff().iloc[1:] > 0).all()
    assert f"{pruned['local_fraction'].iloc[-1]:.2%}".replace("%", " %") in PAGES["imp"]


def test_one_shot():
    runs = pd.read_csv(RESULTS / "mnist_compressions.csv")
    mean = runs.groupby(["pruner", "target effective compression"]).mean()
    rows = table(PAGES["one_shot"], "pruner", named=True)
    assert set(rows) == set(runs["pruner"]) - {"dense"}
    for pruner, cells in rows.items():
        for target, cell in zip((10, 100, 1000), cells, strict=True):
            _is_shown(cell, mean.loc[(pruner, target), ["accuracy", "direct compression"]])


def test_gradual():
    runs = pd.read_csv(RESULTS / "tfmot_comparison.csv")
    mean = runs.groupby(["reading", "pruner", "density"])["accuracy"].mean()
    rows = table(PAGES["one_shot"], "weights left", named=True)
    assert len(rows) == 6
    for name, cells in rows.items():
        reading = "last" if "every level" in name else "total"
        pruner = name.split(",")[0].replace("IMP", "IMP (global)")
        for density, cell in zip((0.1, 0.05, 0.02, 0.01), cells, strict=True):
            _is_shown(cell, [mean[reading, pruner, density]])


def test_lottery():
    runs = pd.read_csv(RESULTS / "lottery_tickets.csv")
    mean = runs.groupby(["branch", "density"])["test_accuracy"].mean()
    left, ticket, drawn, random = table(PAGES["lottery"], "weights left")
    branches = {"main": ticket, "randomly_reinitialize": drawn, "randomly_prune seed=0": random}
    for place, cell in enumerate(left):
        density = min(mean["main"].index, key=lambda one: abs(one - _numbers(cell)[0] / 100))
        _is_shown(cell, [100 * density])
        for branch, cells in branches.items():
            if place or branch == "main":
                _is_shown(cells[place], [mean[branch, density]])


def test_filters():
    runs = pd.read_csv(RESULTS / "filter_pruning.csv")
    whole, rows = runs[runs["version"] == "unpruned"].iloc[0], table(PAGES["filters"], "version", named=True)
    assert {name.split()[0] for name in rows} == set(runs["version"]) - {"unpruned"}
    for name, cells in rows.items():
        one = runs[runs["version"] == name.split()[0]].set_index("scoring")
        for scoring, cell in zip(("operator_norm", "l1_norm", "gm_norm"), cells, strict=False):
            _is_shown(cell, [one.loc[scoring, "test_accuracy"]])
        mean = one.mean(numeric_only=True)
        shares = [100 * mean[key] / whole[key] for key in ("parameters", "flops")]
        files = [mean[key] / 1e6 for key in ("bytes", "litert_int8_bytes")]
        for cell, value in zip(cells[3:7], shares + files, strict=True):
            _is_shown(cell.replace("int8", ""), [value])
        _is_shown(cells[7], [mean[f"litert_float32_ms_batch_{batch}"] for batch in (1, 32)])


_MODES = {
    "no pruning (`simple`)": "simple",
    "search (`ising`)": "ising",
    "search, states scored on 32 of 128 images": "ising, 32 images",
    "search, `--rescore=best`": "ising, renewed",
    "search, starting from the trained network": "ising, of trained weights",
    "what the search found, trained alone": "found, trained alone",
    "random states (`random`)": "random",
}


def test_energy():
    groups = pd.read_csv(RESULTS / "energy_pruning.csv").groupby(["dataset", "network", "mode"])
    accuracy, kept = groups["accuracy"].agg(["mean", "min", "max"]), groups["kept"].mean()
    rows = table(PAGES["energy"], "trained how", named=True)
    assert set(rows) == set(_MODES)
    for name, cells in rows.items():
        for place, cell in zip((("mnist", "lenet"), ("cifar10", "lenet"), ("cifar10", "resnet18")), cells, strict=True):
            key = (*place, _MODES[name])
            assert bool(cell) == (key in kept.index)
            if cell:
                _is_shown(cell, [*accuracy.loc[key], kept[key]])


def test_the_input_file_of_the_page(tmp_path):
    from tfprune.experiments.imp.settings import read_settings

    (example,) = blocks(PAGES["imp"], "ini")
    (tmp_path / "mine.ini").write_text(example)
    settings = read_settings(tmp_path / "mine.ini")
    assert (settings.dataset, settings.warnings) == ("digits", ())


@pytest.mark.parametrize("page", PAGES)
def test_flags_that_the_text_names_are_those_of_the_commands_of_the_page(page):
    starts = {tuple(itertools.takewhile(str.isidentifier, words)) for words, _ in commands(PAGES[page])}
    assert any(start[0] == ENTRIES[page] for start in starts)
    shown = "".join(shown_help(*start) for start in sorted(starts))
    for flag in set(re.findall(r"`--(\w+)", PAGES[page])) - OTHERS:
        assert re.search(rf"--(\[no\])?{flag}\b", shown), flag


def test_keys_that_the_imp_page_names_exist():
    from tfprune.experiments.imp.settings import ImpSettings

    differences = PAGES["imp"].split("## What is done differently")[1].split("## Results")[0]
    keys = set(re.findall(r"`(\w+)(?: = \w+)?`", differences)) - {"arch", "prune"}
    assert {"regrow", "batch_norm_epsilon", "preload", "seed"} <= keys <= set(ImpSettings.__dataclass_fields__)
