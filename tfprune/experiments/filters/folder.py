"""The folder in which a network of a filter-pruning run is trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfprune.records.atomic import atomic_write_text
from tfprune.records.network_folder import CHECKPOINT, LOGGER, NetworkFolder

UNPRUNED = "unpruned"
METRICS, MODEL, CURVES = "metrics.json", "model.keras", "tensorboard"


class FilterFolder(NetworkFolder):
    """Opens the folder of one network, alone; see `NetworkFolder`.

    Args:
        folder: made if missing.

    Raises:
        InputError: the folder cannot be made or locked, or another process trains there.
    """

    elsewhere = "another --out_path"
    unit = "network"

    def __init__(self, folder: str | Path):
        super().__init__(folder, "--out_path")

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """Writes `metrics.json`, marks the network finished and removes its checkpoint."""
        atomic_write_text(self.path(METRICS), json.dumps(dict(metrics), indent=1) + "\n")
        self.mark_finished()
        self.drop_checkpoint(CHECKPOINT)

    def drop_curves(self) -> None:
        """Removes TensorBoard's files."""
        for path in self.path(CURVES).glob("events.out.tfevents.*"):
            path.unlink()

    def _found(self) -> list[str]:
        names = (LOGGER, METRICS, MODEL, f"{CHECKPOINT}.npz")
        return [name for name in names if self.path(name).exists()]

    def _clear(self) -> None:
        super()._clear()
        self.drop_curves()
