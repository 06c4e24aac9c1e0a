"""Tables that lie beside the files of a run, in the form in which the figures take them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from tfprune.errors import InputError
from tfprune.experiments.imp.files.tables import read_table

if TYPE_CHECKING:
    from tfprune.experiments.imp.files.iterations import ImpRun

Curve = tuple[np.ndarray, np.ndarray]


class RunTables(NamedTuple):
    """Measurements that need a model or further training, so that files of masks and weights don't hold them.

    Attributes:
        reevaluation: columns `iteration`, `top1`, `top5`; None if not there.
        silencing: columns `order`, `units`, `accuracy`, `std`; None if not there.
        baselines: label -> accuracy, or (unpruned fraction, accuracy); see `accuracy_figure`.
        validation_images: how many images the accuracies are on; None if no record of the run says so.
    """

    reevaluation: pd.DataFrame | None
    silencing: pd.DataFrame | None
    baselines: dict[str, float | Curve]
    validation_images: int | None


def read_tables(run: ImpRun) -> RunTables:
    """Read `<prefix>_reevaluation.csv`, `_silencing.csv`, `_random_baseline.csv`, `_run.json`; the original had none.

    The dense network's accuracy is taken from the first iteration where nothing is pruned in it.

    Raises:
        InputError: a table cannot be read, or lacks a column.
    """
    tables = {}
    for name in ("reevaluation", "silencing", "random_baseline"):
        path = run.folder / f"{run.prefix}_{name}.csv"
        tables[name] = read_table(path) if path.exists() else None
    baselines: dict[str, float | Curve] = {}
    first = run.iteration(run.iterations[0])
    if len(first.validation_errors) and first.masks.kept == first.masks.size:
        baselines["dense network"] = 1.0 - float(np.min(first.validation_errors))
    random = tables["random_baseline"]
    if random is not None and len(random):
        try:
            accuracy = 1.0 - random["best_validation_error"].to_numpy()
            baselines["random masks, same layer densities"] = (random["unpruned_fraction"].to_numpy(), accuracy)
        except KeyError as missing:
            raise InputError(f"{run.folder}/{run.prefix}_random_baseline.csv: no column {missing}") from None
    return RunTables(tables["reevaluation"], tables["silencing"], baselines, _validation_images(run))


def _validation_images(run: ImpRun) -> int | None:
    try:
        text = (run.folder / f"{run.prefix}_run.json").read_text(encoding="utf-8")
        return int(json.loads(text)["input"]["val_size"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None  # the figures do without
