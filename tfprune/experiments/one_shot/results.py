"""Finished runs of one-shot pruning as values, from their files alone; also those of the published code."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfprune.errors import InputError
from tfprune.experiments.one_shot.folder import read_array

_RUN = re.compile(r"(?P<sample>[^_]+)_(?P<compression>[0-9]+)_sparsities_direct\.npy")


@dataclass(frozen=True)
class OneShotRun:
    """One run.

    Attributes:
        sample: seed code.
        target: the target compression, rounded, as the file names give it.
        counts: float64 (layers,), number of weights.
        direct: float64 (layers,), direct sparsities.
        effective: float64 (layers,), effective sparsities.
        accuracies: float64, test accuracies during training; None without training.
    """

    sample: str
    target: int
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


def read_run(folder: str | Path, prefix: str, dense: str | Path, effective_type: str = "synflow") -> OneShotRun:
    """Reads a run.

    Args:
        folder: of the runs of a pruner.
        prefix: `<sample>_<compression>`.
        dense: folder of the dense runs, which holds `counts.npy`.
        effective_type: `synflow` or `custom`, how the published code found the effective sparsities.

    Raises:
        InputError: a file is missing or damaged, or they do not fit together.
    """
    counts = _read(Path(dense, "counts.npy"), 2.0**62)
    direct = _read(Path(folder, f"{prefix}_sparsities_direct.npy"))
    effective = _read(Path(folder, f"{prefix}_sparsities_effective_{effective_type}.npy"))
    if not len(counts) == len(direct) == len(effective):
        raise InputError(
            f"{folder}: {prefix} has {len(direct)} and {len(effective)} layers, counts.npy has {len(counts)}"
        )
    path = Path(folder, f"{prefix}_accuracies.npy")
    accuracies = _read(path) if path.exists() else None
    if accuracies is not None and not len(accuracies):
        raise InputError(f"{path}: holds no accuracy")
    sample, _, target = prefix.rpartition("_")
    return OneShotRun(sample, int(target), counts, direct, effective, accuracies)


def find_runs(root: str | Path) -> dict[tuple[str, str], list[tuple[int, str]]]:
    """Which pruned networks an architecture's folder holds; looks at names alone.

    Args:
        root: `<out_path>/<architecture>`.

    Returns:
        (pruner, pruning type) -> target compressions and samples, in order.
    """
    runs: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for path in sorted(Path(root).rglob("*_sparsities_direct.npy")):
        match, (*pruner, kind) = _RUN.fullmatch(path.name), path.parent.relative_to(root).parts or ("",)
        if match and pruner:
            runs.setdefault(("/".join(pruner), kind), []).append((int(match["compression"]), match["sample"]))
    return {key: sorted(found) for key, found in runs.items()}


def read_runs(
    root: str | Path, pruner: str, pruning_type: str, effective_type: str, keys: Iterable[tuple[int, str]]
) -> list[OneShotRun]:
    """Runs of a pruner.

    Args:
        root: `<out_path>/<architecture>`.
        pruner: whose.
        pruning_type: `direct` or `effective`.
        effective_type: see `read_run`.
        keys: target compressions and samples, as `find_runs` gives them.

    Raises:
        InputError: a file is missing or damaged.
    """
    folder = Path(root, pruner, pruning_type)
    return [read_run(folder, f"{sample}_{target}", Path(root, "dense"), effective_type) for target, sample in keys]


def read_dense_accuracies(out_path: str | Path, architecture: str, num_samples: int) -> np.ndarray:
    """Final accuracies of the dense runs that are there, float64; empty if there is none."""
    folder = Path(out_path, architecture, "dense")
    paths = [folder / f"{sample}_1_accuracies.npy" for sample in range(num_samples)]
    found = {path: _read(path) for path in paths if path.exists()}
    if empty := [path for path, accuracies in found.items() if not len(accuracies)]:
        raise InputError(f"{empty[0]}: holds no accuracy")
    return np.array([accuracies[-1] for accuracies in found.values()])


def _read(path: Path, most: float = 1.0) -> np.ndarray:
    values = read_array(path)
    wrong = values[~((values >= 0) & (values <= most))]
    if len(wrong):
        raise InputError(f"{path}: numbers in [0, {most:g}] are needed. Received: {wrong[0]:g}")
    return values


def _compression(counts: np.ndarray, sparsities: np.ndarray) -> float:
    kept = float(np.round(counts * (1 - sparsities)).sum())
    return counts.sum() / kept if kept else np.inf
