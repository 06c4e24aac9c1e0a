"""What filter pruning tells of its networks beside their results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfprune.experiments.filters.results import LOGGER, UNPRUNED
from tfprune.experiments.told import Curves, Facts, Told, log_curves, text


class _Filters(Told):
    amounts = ("version", "p")

    def facts(self, settings: Mapping[str, Any]) -> Facts:
        whole = settings.get(UNPRUNED)
        whole = whole if isinstance(whole, Mapping) else settings
        return Facts(text(whole.get("model")), text(whole.get("data")))

    def curves(self, folder: Path, file: str) -> Curves:
        """After each epoch."""
        return log_curves([folder / LOGGER])

    def figures(self, folder: Path, file: str) -> dict[str, Path]:
        """Those of the study, `<study>/<scoring>/<version>` being the network's folder."""
        return {path.stem: path for path in sorted(folder.parent.parent.glob("*.png"))}


TOLD = _Filters()
