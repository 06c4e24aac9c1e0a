"""Finished runs of one-shot pruning as values, from their files alone; also those of the published code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tfprune.errors import InputError
from tfprune.experiments.one_shot.files import (
    ACCURACIES,
    COUNTS,
    DIRECT,
    EFFECTIVE,
    LOSSES,
    MASKS,
    METHODS,
    read_array,
    recorded,
    run_prefix,
)
from tfprune.experiments.one_shot.names import NAME, variant_of
from tfprune.experiments.one_shot.settings import DENSE, OneShotSettings, changed_settings
from tfprune.records.atomic import atomic_write_text
from tfprune.records.mask_file import read_masks
from tfprune.records.reading import MissingInputError, one_line, read_json
from tfprune.records.result import result_path
from tfprune.records.run_folder import RECORD, RunFolder, file_of

_TRAINING = ("data", "iterations", "eval_batchnorm")  # what a dense run shares with those that are compared with it


@dataclass(frozen=True)
class RunName:
    """What the name and the record of a run say.

    Attributes:
        folder: where it lies.
        prefix: of its files.
        sample: seed code.
        target: the target compression.
        variant: of its settings; empty where they are the published ones.
        changed: setting -> value where it is not the default; None where the record that tells it is missing.
    """

    folder: Path
    prefix: str
    sample: str
    target: float
    variant: str
    changed: Mapping[str, object] | None

    def path(self, name: str) -> Path:
        """One of the run's files."""
        return file_of(self.folder, name, self.prefix)

    @property
    def training(self) -> dict | None:
        """Of `changed`, what a dense run can have too."""
        if self.changed is None:
            return None
        return {name: value for name, value in self.changed.items() if name in _TRAINING}


@dataclass(frozen=True)
class OneShotRun:
    """One run.

    Attributes:
        sample: seed code.
        target: the target compression.
        counts: float64 (layers,), number of weights.
        direct: float64 (layers,), direct sparsities.
        effective: float64 (layers,), effective sparsities.
        accuracies: float64, test accuracies during training; None without training.
    """

    sample: str
    target: float
    counts: np.ndarray
    direct: np.ndarray
    effective: np.ndarray
    accuracies: np.ndarray | None

    @property
    def direct_compression(self) -> float:
        """Number of weights over number kept."""
        return _compression(self.counts, self.direct)

    @property
    def effective_compression(self) -> float:
        """Number of weights over number of effective ones; infinite if there is none."""
        return _compression(self.counts, self.effective)


def run_of(settings: OneShotSettings) -> OneShotRun:
    """The run of these settings.

    Raises:
        InputError: a file is missing or damaged, or they do not fit together.
    """
    return read_run(name_of(settings.folder, run_prefix(settings)), settings.dense.folder)


def read_run(name: RunName, dense: str | Path, effective_type: str = METHODS[0]) -> OneShotRun:
    """Reads a run.

    Args:
        name: of `find_runs`.
        dense: folder of the dense runs, which holds `counts.npy`.
        effective_type: `synflow` or `custom`, how the published code found the effective sparsities.

    Raises:
        InputError: a file is missing or damaged, or they do not fit together.
    """

    own = name.path(COUNTS)
    counts = _read(own if own.exists() else Path(dense, COUNTS), 2.0**62)
    direct, effective = _read(name.path(DIRECT)), _read(name.path(EFFECTIVE.format(effective_type)))
    if not len(counts) == len(direct) == len(effective):
        raise InputError(
            f"{name.folder}: {name.prefix} has {len(direct)} and {len(effective)} layers, {COUNTS} has {len(counts)}"
        )
    accuracies = _accuracies(name.path(ACCURACIES)) if name.path(ACCURACIES).exists() else None
    return OneShotRun(name.sample, name.target, counts, direct, effective, accuracies)


def name_of(folder: str | Path, prefix: str) -> RunName | None:
    """What the name of a run and its record say, also of one by an earlier version or by the published code.

    Returns:
        None where no run has such a name.

    Raises:
        InputError: a damaged record.
    """
    match = NAME.fullmatch(prefix)
    if not match:
        return None
    record = recorded(folder, prefix)
    if record is None:
        target, variant, changed = float(match["compression"]), match["variant"] or "", None if match["variant"] else {}
    else:
        try:
            target, changed = float(record["input"]["compression"]), changed_settings(record["input"])
        except (InputError, LookupError, TypeError, ValueError) as error:
            path = file_of(folder, RECORD, prefix)
            raise InputError(f"{path}: not the record of such a run ({one_line(error)})") from None
        variant = variant_of(changed)
    return RunName(Path(folder), prefix, match["sample"], target, variant, changed)


def find_runs(root: str | Path) -> dict[tuple[str, str], list[RunName]]:
    """Which pruned networks an architecture's folder holds; looks at names and records alone.

    Args:
        root: `<out_path>/<architecture>`.

    Returns:
        (pruner, pruning type) -> runs, by target and sample.

    Raises:
        InputError: a damaged record.
    """
    runs: dict[tuple[str, str], list[RunName]] = {}
    for path in sorted(Path(root).rglob(f"*_{DIRECT}")):
        *pruner, kind = path.parent.relative_to(root).parts or ("",)
        name = name_of(path.parent, path.name.removesuffix(f"_{DIRECT}")) if pruner else None
        if name:
            runs.setdefault(("/".join(pruner), kind), []).append(name)
    return {key: sorted(found, key=lambda name: (name.target, name.sample)) for key, found in runs.items()}


def read_dense_accuracies(folder: str | Path, samples: Iterable[str], training: Mapping[str, object]) -> np.ndarray:
    """Final accuracies of the dense runs that are there, float64; empty if there is none.

    Args:
        folder: of the dense runs.
        samples: which.
        training: the settings of `RunName.training` that they must have.

    Raises:
        InputError: a damaged file.
    """
    paths = sorted(Path(folder).glob(f"*_{ACCURACIES}"))
    names = [name_of(folder, path.name.removesuffix(f"_{ACCURACIES}")) for path in paths]
    chosen = {name.sample: name.path(ACCURACIES) for name in names if name and name.changed == training}
    return np.array([_accuracies(chosen[sample])[-1] for sample in samples if sample in chosen])


def read_losses(folder: RunFolder) -> np.ndarray:
    """Test losses of a run of ours at the steps of its accuracies, float64, the weight decay's term included."""
    return read_array(folder.path(LOSSES))


def layer_table(folder: RunFolder, run: OneShotRun) -> pd.DataFrame:
    """Sparsities and compressions, one row for each kernel and one for the total.

    Args:
        folder: of a run of ours.
        run: the same one.
    """
    dense = run.counts.astype(np.int64)
    kept, effective = (np.round(dense * (1 - part)).astype(np.int64) for part in (run.direct, run.effective))
    dense, kept, effective = (np.append(part, part.sum()) for part in (dense, kept, effective))
    with np.errstate(divide="ignore"):
        return pd.DataFrame(
            {
                "layer": [*read_masks(folder.path(MASKS)), "total"],
                "weights": dense,
                "direct sparsity": 1 - kept / dense,
                "effective sparsity": 1 - effective / dense,
                "direct compression": dense / kept,
                "effective compression": dense / effective,
            }
        )


def layer_text(table: pd.DataFrame) -> str:
    """The table printed at the end of a run."""
    formats = dict.fromkeys(("direct sparsity", "effective sparsity"), "{:.6f}".format)
    formats |= dict.fromkeys(("direct compression", "effective compression"), "{:.5g}".format)
    return table.to_string(index=False, formatters={**formats, "weights": "{:,}".format})


def write_missed(folder: RunFolder, text: str | None) -> None:
    """Notes, where the result will be, that a target was missed, or that it was not."""
    path = result_path(folder.folder, folder.prefix)
    atomic_write_text(path, json.dumps({"missed": text}, indent=1, ensure_ascii=False) + "\n")


def read_missed(folder: str | Path, prefix: str) -> str | None:
    """How a target was missed; None if it was not, or nobody knows.

    Raises:
        InputError: the file is damaged.
    """
    try:
        return read_json(result_path(folder, prefix), "the result of a run").get("missed")
    except MissingInputError:
        return None


def reached(settings: OneShotSettings, folder: RunFolder, run: OneShotRun) -> dict:
    """Fields of a run's `Result` that its files tell: what was asked for, and what was reached."""
    weights = run.counts.sum()
    kept, effective = (float(np.round(run.counts * (1 - part)).sum()) for part in (run.direct, run.effective))
    asked = "" if settings.pruner == DENSE else f", {settings.pruning_type} compression {run.target:.6g}"
    return {
        "label": f"{settings.pruner}{asked}",
        "seed": settings.repetition,
        "method": settings.pruner,
        "weights": int(weights),
        "kept": int(kept),
        "effective": int(effective),
        "accuracy": None if run.accuracies is None else run.accuracies[-1],
        "steps": None if run.accuracies is None else settings.steps,
        "more": {
            "pruning_type": settings.pruning_type,
            "min_weights": settings.min_weights,
            "target_sparsity": settings.sparsity,
            "direct_sparsity": 1 - kept / weights,
            "effective_sparsity": 1 - effective / weights,
            "missed": read_missed(folder.folder, folder.prefix),
        },
    }


def _accuracies(path: Path) -> np.ndarray:
    accuracies = _read(path)
    if not len(accuracies):
        raise InputError(f"{path}: holds no accuracy")
    return accuracies


def _read(path: Path, most: float = 1.0) -> np.ndarray:
    values = read_array(path)
    wrong = values[~((values >= 0) & (values <= most))]
    if len(wrong):
        raise InputError(f"{path}: numbers in [0, {most:g}] are needed. Received: {wrong[0]:g}")
    return values


def _compression(counts: np.ndarray, sparsities: np.ndarray) -> float:
    kept = float(np.round(counts * (1 - sparsities)).sum())
    return counts.sum() / kept if kept else np.inf
