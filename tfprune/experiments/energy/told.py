"""What energy-based pruning tells of its networks beside their results, also of the original code's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfprune.experiments.energy.files import LOG, LOSSES, MASKS, MODEL
from tfprune.experiments.energy.originals import read_losses
from tfprune.experiments.told import Curves, Facts, Layers, Told, log_curves, masked_layers, text
from tfprune.records.mask_file import read_masks

if TYPE_CHECKING:
    import keras


class _Energy(Told):
    amounts = ("keep_rate",)

    def facts(self, settings: Mapping[str, Any]) -> Facts:
        return Facts(text(settings.get("nnmodel")), text(settings.get("dataset")))

    def layers(self, folder: Path, file: str) -> Layers | None:
        path = folder / MASKS
        return masked_layers(read_masks(path)) if not _original(file) and path.exists() else None

    def curves(self, folder: Path, file: str) -> Curves:
        """After each epoch, and costs of the search after each batch; of an original run after each epoch alone."""
        name = _original(file)
        if not name:
            return log_curves([folder / LOG])
        rows = read_losses(folder / f"loss_{name}.txt")
        columns = zip(LOSSES.values(), zip(*rows, strict=True), strict=True)
        return {
            metric: [(at, value) for at, value in enumerate(values, 1) if value == value] for metric, values in columns
        }

    def network(self, folder: Path, file: str, settings: Mapping[str, Any]) -> tuple[keras.Model, Any] | None:
        if _original(file) or not (folder / MODEL).exists():
            return None
        from tfprune.layers.convert import load_model
        from tfprune.layers.masks import load_masks

        return load_model(folder / MODEL), load_masks(folder / MASKS)

    def figures(self, folder: Path, file: str) -> dict[str, Path]:
        return {} if _original(file) else super().figures(folder, file)


def _original(file: str) -> str:
    """Name of a run of the original programs; empty for one of ours."""
    return file.removeprefix("args_").removesuffix(".json") if file.startswith("args_") else ""


TOLD = _Energy()
