"""The files of filter pruning: a network's folder, and tables of the trained networks, from their files alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from tfprune.errors import InputError
from tfprune.records.atomic import atomic_write_text
from tfprune.records.metric_log import MetricLog
from tfprune.records.reading import read_json
from tfprune.records.run_folder import Layout, is_finished

UNPRUNED, TRAINED = "unpruned", "trained"
LOGGER, METRICS, MODEL, CURVES = "logger", "metrics.json", "model.keras", "tensorboard"
LAYOUT = Layout(
    results=(LOGGER, METRICS, MODEL),
    extras=("result.json", f"{CURVES}/events.out.tfevents.*"),
    unit="network",
    stages=(TRAINED,),
)
"""Of a network's folder: `TRAINED` once its files are there, finished once the study's tables and figures are."""
RESULTS, TABLE = "results.json", "results.csv"
COLUMNS = (
    *("scoring", "version", "parameters", "flops", "bytes", "test_accuracy", "test_loss", "train_accuracy"),
    *("train_loss", "pruned_test_accuracy", "epochs", "finetuning_seconds"),
)
_NAMES = COLUMNS[:2]


def read_metrics(folder: str | Path) -> dict[str, Any]:
    """`metrics.json` of a trained network.

    Raises:
        InputError: it is missing or damaged.
    """
    path = Path(folder, METRICS)
    metrics = read_json(path, "the metrics of a network")
    for name in COLUMNS:
        value = metrics.get(name)
        good = isinstance(value, str) if name in _NAMES else value is None or type(value) in (int, float)
        if not good or (isinstance(value, int) and abs(value) >= 2**63):
            kind = "text" if name in _NAMES else "a number"
            raise InputError(f"cannot read {path}: {name} must be {kind}. Received: {json.dumps(value)[:40]}")
    return metrics


def read_results(folder: str | Path) -> pd.DataFrame:
    """One row for each trained network, the unpruned one first, then by scoring and version.

    Args:
        folder: holds the pruned networks, `<scoring>/<version>`; the unpruned one lies beside it.

    Returns:
        The columns `COLUMNS`: `scoring` (`unpruned` for that network) and `version`; numbers of trainable parameters
        (as published: running averages of batch normalisation, which the saved model also holds, are not among them)
        and of floating-point operations for one image; bytes of the saved model; accuracies as fractions and losses in
        nats, those on training images being means over the last epoch while it went on; `pruned_test_accuracy`, right
        after pruning; epochs and seconds of training.
    """
    return _table(_trained(folder))


def write_results(folder: str | Path) -> pd.DataFrame:
    """Writes `results.json`, scoring -> version -> metrics, and `results.csv`, and returns the table."""
    trained = _trained(folder)
    nested: dict[str, dict] = {}
    for metrics in trained:
        nested.setdefault(metrics["scoring"], {})[metrics["version"]] = metrics
    table = _table(trained)
    atomic_write_text(Path(folder, RESULTS), json.dumps(nested, indent=1) + "\n")
    atomic_write_text(Path(folder, TABLE), table.to_csv(index=False))
    return table


def read_curves(folder: str | Path) -> pd.DataFrame:
    """Metrics after each epoch of each trained network; columns `scoring`, `version`, `epoch` and the metrics."""
    rows = []
    for path in _folders(folder):
        metrics, log = read_metrics(path), MetricLog.read(path / LOGGER)
        epochs: dict[int, dict] = {}
        for name in log.names:
            for epoch, value in log.get(name):
                epochs.setdefault(epoch, {})[name] = value
        head = {"scoring": metrics["scoring"], "version": metrics["version"]}
        rows += [head | {"epoch": epoch} | epochs[epoch] for epoch in sorted(epochs)]
    return pd.DataFrame(rows)


def results_text(table: pd.DataFrame) -> str:
    """The networks as they are printed; parameters are trainable ones, without running averages of normalisation.

    Args:
        table: from `read_results`, the unpruned network first.
    """
    whole = table.iloc[0]
    shown = pd.DataFrame(
        {
            "scoring": table["scoring"],
            "version": table["version"],
            "trainable parameters": table["parameters"].map("{:,}".format),
            "of all": (table["parameters"] / whole["parameters"]).map("{:.1%}".format),
            "FLOPs of all": (table["flops"] / whole["flops"]).map("{:.1%}".format),
            "just pruned": table["pruned_test_accuracy"].map(lambda value: "" if pd.isna(value) else f"{value:.4f}"),
            "test accuracy": table["test_accuracy"].map("{:.4f}".format),
        }
    )
    return shown.to_string(index=False)


def _folders(folder: str | Path) -> list[Path]:
    folder = Path(folder)
    places = (folder.parent / UNPRUNED, *sorted(folder.glob("*/*")))
    return [path for path in places if is_finished(path, LAYOUT, stage=TRAINED)]


def _trained(folder: str | Path) -> list[dict[str, Any]]:
    return [read_metrics(path) for path in _folders(folder)]


def _table(trained: list[dict[str, Any]]) -> pd.DataFrame:
    rows = [[metrics.get(column) for column in COLUMNS] for metrics in trained]
    return pd.DataFrame(rows, columns=list(COLUMNS))
