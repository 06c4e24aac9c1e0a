"""What iterative magnitude pruning tells of its networks beside their results, also of the original code's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfprune.experiments.imp.files.iterations import iteration_path, read_iteration
from tfprune.experiments.imp.files.records import IterationRecord
from tfprune.experiments.imp.originals import counted
from tfprune.experiments.told import Curves, Facts, Layers, Told, text
from tfprune.records.reading import MissingInputError

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

    def figures(self, folder: Path, file: str) -> dict[str, Path]:
        match = _FILE.fullmatch(file)
        found = sorted(folder.glob(f"{match['prefix']}_figures/*.png")) if match else ()
        return {path.stem: path for path in found}


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
