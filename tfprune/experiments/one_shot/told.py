"""What one-shot pruning tells of its networks beside their results, also of the published code's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfprune.experiments.one_shot.files import ACCURACIES, LOSSES, evaluation_steps, read_array, recorded
from tfprune.experiments.one_shot.names import NAME
from tfprune.experiments.one_shot.settings import DENSE, PUBLISHED
from tfprune.experiments.told import Curves, Facts, Told, text
from tfprune.records.reading import MissingInputError


class _OneShot(Told):
    repetitions = ("sample",)
    amounts = ("compression",)

    def facts(self, settings: Mapping[str, Any]) -> Facts:
        network, asked = text(settings.get("architecture")), settings.get("compression")
        published = PUBLISHED.get(network)
        data = text(settings.get("data")) or (published and published.data)
        if settings.get("pruner") == DENSE or type(asked) not in (int, float):
            return Facts(network, data)
        return Facts(network, data, float(asked), text(settings.get("pruning_type")))

    def curves(self, folder: Path, file: str) -> Curves:
        """Test accuracy and objective (loss with weight decay) at the steps at which they were measured."""
        match = NAME.match(file)
        prefix = match[0] if match else ""
        record = recorded(folder, prefix)
        steps = None if record is None else record["input"].get("iterations")
        found = {}
        for name, end in (("test_accuracy", ACCURACIES), ("test_objective", LOSSES)):
            try:
                values = read_array(folder / f"{prefix}_{end}").tolist()
            except MissingInputError:
                continue
            # The published code does not test at the end.
            at = evaluation_steps(len(values), steps if isinstance(steps, int) else 2**62)
            found[name] = list(zip(at, values, strict=True))
        return found


TOLD = _OneShot()
