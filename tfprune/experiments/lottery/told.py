"""What lottery tickets tell of their networks beside their results, also OpenLTH's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfprune.data.facts import prepared_facts
from tfprune.experiments.lottery.files import LOGGER, read_mask, read_weights, saved_steps
from tfprune.experiments.told import Curves, Facts, Layers, Told, log_curves, masked_layers, text

if TYPE_CHECKING:
    import keras


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

    def network(self, folder: Path, file: str, settings: Mapping[str, Any]) -> tuple[keras.Model, Any] | None:
        saved, facts = saved_steps(folder), self.facts(settings)
        if not saved or facts.network is None or facts.data is None:
            return None
        from tfprune.layers.masks import Masks
        from tfprune.layers.weights import set_weights
        from tfprune.models.named import build_named

        images, mask = prepared_facts(facts.data), read_mask(folder)
        channels, height, width = images.image_shape
        model = build_named(facts.network, (height, width, channels), images.classes, seed=0)
        set_weights(model, read_weights(folder, saved[-1]))
        return model, Masks.dense(model) if mask is None else Masks(mask)

    def figures(self, folder: Path, file: str) -> dict[str, Path]:
        """Those of all networks of the run's name, which lie above its replicates."""
        tops = (above.parent for above in folder.parents if above.name.startswith("replicate_"))
        top = next(tops, None)
        return {} if top is None else {path.stem: path for path in sorted(top.glob("*.png"))}


TOLD = _Lottery()
