"""Files of lottery and one-shot runs: their names, how they are read and written.

Reading needs no lock: every file is whole at any moment. A step is given as its text, `ep2_it3`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfprune.errors import InputError
from tfprune.records.arrays import read_npz, write_npz
from tfprune.records.atomic import atomic_write_text
from tfprune.records.mask_file import read_masks, write_masks
from tfprune.records.metric_log import MetricLog
from tfprune.records.reading import MissingInputError, read_json
from tfprune.records.run_folder import RECORD, Layout, is_finished

TRAINED = "trained"
LOGGER, HPARAMS, MASK, REPORT = "logger", "hparams.log", "mask.npz", "sparsity_report.json"
_MODEL = re.compile(r"model_(?P<step>ep(?P<ep>[0-9]+)_it(?P<it>[0-9]+))\.npz")
_LEVEL = re.compile(r"level_(?P<level>[0-9]{1,9}|pretrain)")

LAYOUT = Layout(
    results=("model_*.npz", LOGGER, MASK, REPORT, "result.json"),
    extras=(HPARAMS,),
    named="--root",
    elsewhere="another --root",
    stages=(TRAINED,),
    version=1,
    ignored=("label",),  # names the run in tables
    mine=lambda name: not name.startswith("model_") or bool(_MODEL.fullmatch(name)),
)
"""Of the folder of one network, a level or a branch. It is finished when the tables and figures of its run are."""


@dataclass(frozen=True)
class SparsityReport:
    """Numbers of prunable weights: all, and those left."""

    total: int
    unpruned: int

    @property
    def density(self) -> float:
        """Share of the weights that is left."""
        return self.unpruned / self.total


@dataclass(frozen=True)
class Location:
    """A folder in which a network was trained.

    Attributes:
        folder: the folder.
        level: of a lottery run; None for its pretraining; 0 for a training run and its branches.
        branch: name of the folder: `main` or the branch's.
    """

    folder: Path
    level: int | None
    branch: str


def locations(replicate: str | Path) -> Iterator[Location]:
    """The folders of a replicate that hold the record of a run, finished or not: by level, `main` before branches."""
    replicate = Path(replicate)
    found = [Location(path.parent, 0, path.parent.name) for path in replicate.glob(f"*/{RECORD}")]
    for path in replicate.glob(f"level_*/*/{RECORD}"):
        if match := _LEVEL.fullmatch(path.parts[-3]):
            level = None if match["level"] == "pretrain" else int(match["level"])
            found.append(Location(path.parent, level, path.parent.name))
    yield from sorted(found, key=lambda at: (-1 if at.level is None else at.level, at.branch != "main", at.branch))


def weights_name(step: object) -> str:
    """File name of the weights at a step: its text, or a value with that text."""
    name = f"model_{step}.npz"
    if not _MODEL.fullmatch(name):
        raise ValueError(f"a step of a file name is written ep2_it3. Received: {step}")
    return name


def saved_steps(folder: str | Path) -> list[str]:
    """Texts of the steps whose weights are there, by time."""
    found = [match for path in Path(folder).glob("model_*.npz") if (match := _MODEL.fullmatch(path.name))]
    return [match["step"] for match in sorted(found, key=lambda match: (int(match["ep"]), int(match["it"])))]


def read_weights(folder: str | Path, step: object) -> dict[str, np.ndarray]:
    """Path -> float32 array of all weights at a step, in the order of the network.

    Raises:
        InputError: these weights were not kept (lists those that were), or the file is damaged or foreign.
    """
    path = Path(folder, weights_name(step))
    if not path.exists():
        steps = ", ".join(saved_steps(folder)) or "none"
        raise InputError(f"{folder} holds no weights of step {step}; kept steps: {steps} (see --weight_save_steps)")
    weights = read_npz(path, what="a file of weights")
    wrong = [name for name, array in weights.items() if array.dtype != np.float32]
    if wrong or not weights:
        raise InputError(f"cannot read {path}: weights must be float32. Received: {', '.join(wrong) or 'no array'}")
    return weights


def read_mask(folder: str | Path) -> dict[str, np.ndarray] | None:
    """Path -> bool array, None where nothing was pruned.

    Raises:
        InputError: a damaged or foreign file.
    """
    path = Path(folder, MASK)
    return read_masks(path) if path.exists() else None


def read_report(folder: str | Path) -> SparsityReport | None:
    """How many weights are left, None where the file is absent.

    Raises:
        InputError: a damaged or foreign file.
    """
    path = Path(folder, REPORT)
    try:
        content = read_json(path, "a sparsity report")
    except MissingInputError:
        return None
    total, unpruned = (content.get(name) for name in ("total", "unpruned"))
    # OpenLTH writes whole numbers as decimals.
    whole = all(type(value) is int or (type(value) is float and value.is_integer()) for value in (total, unpruned))
    if not whole or not 0 <= unpruned <= total < 2**63 or not total:
        raise InputError(f"cannot read {path}: not a sparsity report (total and unpruned must be numbers of weights)")
    return SparsityReport(int(total), int(unpruned))


def read_log(folder: str | Path) -> MetricLog:
    """Metrics of a run, empty where there are none yet.

    Raises:
        InputError: a damaged or foreign file.
    """
    return MetricLog.read(Path(folder, LOGGER))


def is_trained(folder: str | Path) -> bool:
    """Whether a network was trained there to the end; branches and tables ask for no more.

    Raises:
        InputError: a damaged or foreign record, or one of another version of this package.
    """
    return is_finished(folder, LAYOUT, stage=TRAINED)


def write_hparams(folder: Path, groups: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes `hparams.log`, settings by group for people to read."""
    blocks = [
        "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in settings.items())])
        for group, settings in groups.items()
    ]
    atomic_write_text(folder / HPARAMS, "\n\n".join(blocks) + "\n")


def write_weights(folder: Path, step: object, weights: Mapping[str, np.ndarray]) -> None:
    """Writes `model_<step>.npz`: path -> float32 array, in the order of the network."""
    wrong = [name for name, array in weights.items() if array.dtype != np.float32]
    if wrong:
        raise ValueError(f"weights must be float32. Received: {', '.join(wrong)}")
    write_npz(folder / weights_name(step), weights)


def write_mask(folder: Path, masks: Mapping[str, np.ndarray]) -> None:
    """Writes `mask.npz` and, counted from it, `sparsity_report.json`."""
    total, unpruned = (sum(int(count(mask)) for mask in masks.values()) for count in (np.size, np.count_nonzero))
    write_masks(folder / MASK, masks)
    atomic_write_text(folder / REPORT, json.dumps({"total": total, "unpruned": unpruned}) + "\n")
