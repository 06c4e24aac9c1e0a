"""Finished runs of one-shot pruning as values, from their files alone; also those of the published code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfprune.errors import InputError
from tfprune.experiments.one_shot.folder import COUNTS, read_array, recorded, run_prefix
from tfprune.experiments.one_shot.names import NAME, variant_of
from tfprune.experiments.one_shot.settings import OneShotSpec, changed_settings
from tfprune.records.reading import one_line

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


def run_of(spec: OneShotSpec) -> OneShotRun:
    """The run of a spec.

    Raises:
        InputError: a file is missing or damaged, or they do not fit together.
    """
    return read_run(name_of(spec.folder, run_prefix(spec)), spec.dense_folder)


def read_run(name: RunName, dense: str | Path, effective_type: str = "synflow") -> OneShotRun:
    """Reads a run.

    Args:
        name: of `find_runs`.
        dense: folder of the dense runs, which holds `counts.npy`.
        effective_type: `synflow` or `custom`, how the published code found the effective sparsities.

    Raises:
        InputError: a file is missing or damaged, or they do not fit together.
    """

    def path(end: str) -> Path:
        return name.folder / f"{name.prefix}_{end}"

    own = path(COUNTS)
    counts = _read(own if own.exists() else Path(dense, COUNTS), 2.0**62)
    direct = _read(path("sparsities_direct.npy"))
    effective = _read(path(f"sparsities_effective_{effective_type}.npy"))
    if not len(counts) == len(direct) == len(effective):
        raise InputError(
            f"{name.folder}: {name.prefix} has {len(direct)} and {len(effective)} layers, {COUNTS} has {len(counts)}"
        )
    accuracies = _accuracies(path("accuracies.npy")) if path("accuracies.npy").exists() else None
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
            path = Path(folder, f"{prefix}_run.json")
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
    for path in sorted(Path(root).rglob("*_sparsities_direct.npy")):
        *pruner, kind = path.parent.relative_to(root).parts or ("",)
        name = name_of(path.parent, path.name.removesuffix("_sparsities_direct.npy")) if pruner else None
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
    ends = "_accuracies.npy"
    names = [name_of(folder, path.name.removesuffix(ends)) for path in sorted(Path(folder).glob(f"*{ends}"))]
    chosen = {name.sample: name for name in names if name and name.changed == training}
    paths = [chosen[sample].folder / f"{chosen[sample].prefix}{ends}" for sample in samples if sample in chosen]
    return np.array([_accuracies(path)[-1] for path in paths])


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
