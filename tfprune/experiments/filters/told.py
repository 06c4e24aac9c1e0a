"""What filter pruning tells of its networks beside their results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfprune.experiments.filters.results import LOGGER, METRICS, MODEL, UNPRUNED
from tfprune.experiments.told import Curves, Facts, Told, log_curves, text
from tfprune.records.result import is_result_name

if TYPE_CHECKING:
    import keras


class _Filters(Told):
    amounts = ("version", "p")

    def facts(self, settings: Mapping[str, Any]) -> Facts:
        whole = settings.get(UNPRUNED)
        whole = whole if isinstance(whole, Mapping) else settings
        return Facts(text(whole.get("model")), text(whole.get("data")))

    def curves(self, folder: Path, file: str) -> Curves:
        """After each epoch; the original scripts leave none."""
        return log_curves([folder / LOGGER]) if _is_ours(file) else {}

    def network(self, folder: Path, file: str, settings: Mapping[str, Any]) -> tuple[keras.Model, Any] | None:
        if not _is_ours(file) or not (folder / MODEL).exists():
            return None
        from tfprune.layers.convert import load_model

        return load_model(folder / MODEL), None

    def figures(self, folder: Path, file: str) -> dict[str, Path]:
        """Those of the study, `<study>/<scoring>/<version>` being the network's folder."""
        found = sorted(folder.parent.parent.glob("*.png")) if _is_ours(file) and folder.name != UNPRUNED else ()
        return {path.stem: path for path in found}


def _is_ours(file: str) -> bool:
    return file == METRICS or is_result_name(file)


TOLD = _Filters()
