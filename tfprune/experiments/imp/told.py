"""What iterative magnitude pruning tells of its networks beside their results, also of the original code's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfprune.data.facts import image_facts
from tfprune.experiments.imp.files.iterations import iteration_path, read_iteration
from tfprune.experiments.imp.files.records import IterationRecord
from tfprune.experiments.imp.originals import counted
from tfprune.experiments.told import Curves, Facts, Layers, Told, text
from tfprune.records.reading import MissingInputError

if TYPE_CHECKING:
    import keras

_FILE = re.compile(r"(?P<prefix>.+?)(?P<random>_random)?_(?:result|itdata)_(?P<k>[0-9]+)\.(?:json|pkl)")


class _Imp(Told):
    def facts(self, settings: Mapping[str, Any]) -> Facts:
        return Facts(text(settings.get("arch")), text(settings.get("dataset")))

    def layers(self, folder: Path, file: str) -> Layers | None:
        record = _record(folder, file)
        return None if record is None else counted(record)["layers"]

    def curves(self, folder: Path, file: str) -> Curves:
        """Error of each step's batch, and accuracy at each validation."""
        record = _record(folder, file)
        if record is None:
            return {}
        train = zip(record.steps, (float(error) for error in record.train_errors), strict=False)
        tested = zip(record.validation_steps, (1 - float(error) for error in record.validation_errors), strict=False)
        return {"train_error": list(train), "test_accuracy": list(tested)}

    def network(self, folder: Path, file: str, settings: Mapping[str, Any]) -> tuple[keras.Model, Any] | None:
        record = _record(folder, file)
        if record is None or not settings.get("arch"):
            return None
        from tfprune.experiments.imp.network import ImpNetwork

        layers, shape = record.layers, None
        if layers[0].kind in "fx":
            shape = 1, 1, layers[0].params[0]  # all that a dense layer knows of its images
        else:
            shape = image_facts(settings.get("dataset"), settings.get("dataloc"), search_folder=folder).image_shape
        network = ImpNetwork(settings["arch"], settings.get("prune", ""), shape, layers[-1].params[1])
        network.weights, network.masks = record.weights[-1], record.masks
        network.running_averages = record.running_averages[-1]
        return network.plain(), None

    def figures(self, folder: Path, file: str) -> dict[str, Path]:
        """Those of the whole run, and of those that each iteration has its own."""
        match = _FILE.fullmatch(file)
        if match is None:
            return {}
        found = {path.stem: path for path in sorted(folder.glob(f"{escape(match['prefix'])}_figures/*.png"))}
        numbers = {name: name.rpartition("_iter")[2] for name in found if "_iter" in name}
        return {name: path for name, path in found.items() if numbers.get(name, match["k"]) == match["k"]}


def _record(folder: Path, file: str) -> IterationRecord | None:
    """What is kept of an iteration; of a network with a random mask nothing is."""
    match = _FILE.fullmatch(file)
    if match is None or match["random"]:
        return None
    try:
        return read_iteration(iteration_path(folder, match["prefix"], int(match["k"])))
    except MissingInputError:
        return None


TOLD = _Imp()
