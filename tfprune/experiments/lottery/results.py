"""Lottery and one-shot runs as pandas tables, from their files alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from tfprune.errors import InputError
from tfprune.experiments.lottery import files
from tfprune.records.atomic import atomic_write_text
from tfprune.records.metric_log import MetricLog
from tfprune.records.run_folder import read_record

ACCURACY, LOSS = "test_accuracy", "test_loss"
RESULT_COLUMNS = (
    *("replicate", "level", "branch", "run", "density", "kept", "iteration"),
    *(ACCURACY, LOSS, f"best_{ACCURACY}"),
)
CURVE_COLUMNS = ("replicate", "level", "branch", "run", "iteration", ACCURACY)
_KEYS = ["branch", "run", "level"]
_REPLICATE = re.compile(r"replicate_([1-9][0-9]{0,9})")


def read_results(folder: str | Path) -> pd.DataFrame:
    """One row for each trained network that was tested, sorted by branch, level and replicate; `main` is first.

    Args:
        folder: `<root>/<name>`, which holds the replicates.

    Returns:
        Columns `replicate`, `level`, `branch` (`main`, or the branch in words), `run` (its folder's name), `density`
        and `kept` (weights, missing where there is no report), `iteration` (of the last test), `test_accuracy`,
        `test_loss` (missing where it was not measured), `best_test_accuracy`.

    Raises:
        InputError: there is no such folder, or a file is damaged or foreign.
    """
    rows = []
    for replicate, location, label, log in _finished(folder):
        tested = log.get(ACCURACY)
        if tested:
            report = files.read_report(location.folder)
            density, kept = (report.density, report.unpruned) if report else (None, None)
            best = max(value for _, value in tested)
            head = (replicate, location.level, label, location.branch, density, kept)
            rows.append((*head, *tested[-1], log.last(LOSS), best))
    table = pd.DataFrame(rows, columns=list(RESULT_COLUMNS))
    floats = ["density", ACCURACY, LOSS, f"best_{ACCURACY}"]
    table = table.astype(dict.fromkeys(floats, "float64") | {"kept": "Int64"})
    return _main_first(table, ["branch", "run", "level", "replicate"])


def read_curves(folder: str | Path) -> pd.DataFrame:
    """Test accuracy over training: one row for each test of each trained network.

    Args:
        folder: `<root>/<name>`.

    Returns:
        Columns `replicate`, `level`, `branch`, `run`, `iteration`, `test_accuracy`.

    Raises:
        InputError: as `read_results`.
    """
    rows = [
        (replicate, location.level, label, location.branch, iteration, value)
        for replicate, location, label, log in _finished(folder)
        for iteration, value in log.get(ACCURACY)
    ]
    table = pd.DataFrame(rows, columns=list(CURVE_COLUMNS))
    return _main_first(table, ["branch", "run", "level", "replicate", "iteration"])


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """Mean, standard deviation and number of replicates by branch and level.

    Args:
        results: from `read_results`.

    Returns:
        Columns `branch`, `run`, `level`, `density`, `kept` (means), `test_accuracy_mean`, `test_accuracy_std` (of a
        sample; missing for one replicate), `test_accuracy_count`, and the same of `test_loss`.
    """
    groups = results.groupby(_KEYS, sort=False)
    table = groups[["density", "kept"]].mean()
    for name in (ACCURACY, LOSS):
        table = table.join(groups[name].agg(["mean", "std", "count"]).add_prefix(f"{name}_"))
    return _main_first(table.reset_index(), _KEYS)


def write_summary(folder: str | Path) -> Path:
    """Writes `summary.csv` of all trained networks below a folder into it; gives its path.

    Raises:
        InputError: as `read_results`.
    """
    path = Path(folder, "summary.csv")
    atomic_write_text(path, summary(read_results(folder)).to_csv(index=False))
    return path


def summary_text(table: pd.DataFrame) -> str:
    """The summary as it is printed."""
    shown = pd.DataFrame(
        {
            "branch": table["branch"],
            "level": table["level"],
            "weights kept": table["density"].map("{:.2%}".format),
            "test accuracy": table["test_accuracy_mean"].map("{:.4f}".format),
            "± std": table["test_accuracy_std"].map(lambda value: "" if pd.isna(value) else f"{value:.4f}"),
            "test loss": table["test_loss_mean"].map("{:.4f}".format),
            "replicates": table["test_accuracy_count"],
        }
    )
    return shown.to_string(index=False)


def _finished(folder: str | Path) -> Iterator[tuple[int, files.Location, str, MetricLog]]:
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of runs")
    for path in folder.iterdir():
        match = _REPLICATE.fullmatch(path.name)
        for location in files.locations(path) if match else ():
            # Pretraining ends where level 0 begins and is no result of its own.
            if location.level is not None and files.is_trained(location.folder):
                record = read_record(location.folder, files.LAYOUT)["input"]
                label = str(record.get("label", location.branch))
                yield int(match[1]), location, label, files.read_log(location.folder)


def _main_first(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    order = table.assign(_other=table["branch"] != "main").sort_values(["_other", *keys], kind="stable")
    return order.drop(columns="_other").reset_index(drop=True)
