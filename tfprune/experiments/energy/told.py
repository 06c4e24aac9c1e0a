"""What energy-based pruning tells of its networks beside their results, also of the original code's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfprune.experiments.energy.files import LOG
from tfprune.experiments.told import Curves, Facts, Told, log_curves, text


class _Energy(Told):
    amounts = ("keep_rate",)

    def facts(self, settings: Mapping[str, Any]) -> Facts:
        return Facts(text(settings.get("nnmodel")), text(settings.get("dataset")))

    def curves(self, folder: Path, file: str) -> Curves:
        return log_curves([folder / LOG])


TOLD = _Energy()
