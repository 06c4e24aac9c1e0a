"""What lottery tickets tell of their networks beside their results, also OpenLTH's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfprune.experiments.lottery.files import LOGGER, read_mask
from tfprune.experiments.told import Curves, Facts, Layers, Told, log_curves, masked_layers, text


class _Lottery(Told):
    repetitions = ("replicate",)

    def facts(self, settings: Mapping[str, Any]) -> Facts:
        groups = (settings.get(group) for group in ("model", "dataset"))
        model, dataset = (group if isinstance(group, Mapping) else {} for group in groups)
        return Facts(text(model.get("model_name")), text(dataset.get("dataset_name")))

    def layers(self, folder: Path, file: str) -> Layers | None:
        return masked_layers(read_mask(folder))

    def curves(self, folder: Path, file: str) -> Curves:
        return log_curves([folder / LOGGER])

    def figures(self, folder: Path, file: str) -> dict[str, Path]:
        """Those of all networks of the run's name, which lie above its replicates."""
        tops = (above.parent for above in folder.parents if above.name.startswith("replicate_"))
        top = next(tops, None)
        return {} if top is None else {path.stem: path for path in sorted(top.glob("*.png"))}


TOLD = _Lottery()
