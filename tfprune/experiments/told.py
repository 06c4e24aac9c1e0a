"""What else is known of a network beside its `Result`: asked of its system, which alone knows its settings and files.

A system's room may hold `told.py` with a `Told` of its own as `TOLD`; what has none, systems outside of this package
among them, is told of as the base class does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from glob import escape
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from tfprune.experiments.family import FAMILIES
from tfprune.records.metric_log import MetricLog
from tfprune.records.result import LAYER

if TYPE_CHECKING:
    import keras

Curves = dict[str, list[tuple[float, float]]]
Layers = dict[str, dict[str, int | None]]
_LOGS = ("log", "logger")


class Facts(NamedTuple):
    """What settings say in each system's own words.

    Attributes:
        network: name of the architecture.
        data: name of the images.
        target_compression: number of weights over the number that was to be left; None where nothing like it was asked.
        target: what that was asked for, `direct` or `effective`.
    """

    network: str | None = None
    data: str | None = None
    target_compression: float | None = None
    target: str | None = None


class Told:
    """How a system's networks are told of; each system overrides what it knows better.

    Attributes:
        repetitions: names of settings that tell repetitions of a network apart.
        amounts: names of settings that say how much is pruned.
    """

    repetitions: ClassVar[tuple[str, ...]] = ("seed",)
    amounts: ClassVar[tuple[str, ...]] = ()

    def facts(self, settings: Mapping[str, Any]) -> Facts:
        """What the settings of a network say; what they do not is None."""
        return Facts(text(settings.get("network")), text(settings.get("data")))

    def layers(self, folder: Path, file: str) -> Layers | None:
        """What `Result.layers` holds, of a network whose result lacks it; None where no file tells it.

        Args:
            folder: of the network.
            file: name of the file there that its row was read from.

        Raises:
            InputError: a damaged file.
        """
        return None

    def curves(self, folder: Path, file: str) -> Curves:
        """Name -> (step, value), what was logged in training, as far as files tell it; as `layers` else."""
        return log_curves(folder / f"{start_of(file)}{name}" for name in _LOGS)

    def network(self, folder: Path, file: str, settings: Mapping[str, Any]) -> tuple[keras.Model, Any] | None:
        """The trained network, or one of its structure, to be timed; loads TensorFlow.

        Args:
            folder: of the network.
            file: name of the file there that its row was read from.
            settings: of the network.

        Returns:
            Model, plain or masked, and its masks, None for the model's own. None where its files do not give it.

        Raises:
            InputError: a file is damaged, or the images, whose size the network's follows from, are not there.
        """
        return None

    def figures(self, folder: Path, file: str) -> dict[str, Path]:
        """Name -> PNG file of the figures that are there."""
        start = start_of(file)
        return {path.stem.removeprefix(start): path for path in sorted(folder.glob(f"{escape(start)}*.png"))}


@cache
def told_of(family: str) -> Told:
    """Of the networks of this family."""
    module = f"tfprune.experiments.{family}.told"
    known = any(family == each.name for each in FAMILIES.values())
    return import_module(module).TOLD if known and find_spec(module) else Told()


def start_of(file: str) -> str:
    """What the names of a network's files begin with, by that of its result file: `a_50_`, or nothing."""
    return file.rpartition("result")[0]


def log_curves(paths: Iterable[Path]) -> Curves:
    """The curves of metric logs; none of those that are missing."""
    logs = (MetricLog.read(path) for path in paths)
    return {name: log.get(name) for log in logs for name in log.names}


def masked_layers(masks: Mapping[str, np.ndarray] | None) -> Layers | None:
    """What masks of kernels tell; which weights are effective they do not."""
    if masks is None:
        return None
    counts = {path: (mask.size, int(np.count_nonzero(mask)), None) for path, mask in masks.items()}
    return {path: dict(zip(LAYER, each, strict=True)) for path, each in counts.items()}


def text(value: object) -> str | None:
    """A setting that should be text; None where it is not."""
    return encodable(value) if isinstance(value, str) and value else None


def encodable(value: str) -> str:
    """A text without halves of characters, which JSON can hold and no table can."""
    return value.encode("utf-8", "replace").decode()
