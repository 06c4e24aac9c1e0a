"""What one-shot pruning tells of its networks beside their results, also of the published code's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfprune.data.facts import prepared_facts
from tfprune.experiments.one_shot.files import ACCURACIES, LOSSES, MASKS, evaluation_steps, read_array, recorded
from tfprune.experiments.one_shot.names import NAME
from tfprune.experiments.one_shot.originals import layer_arrays
from tfprune.experiments.one_shot.settings import DENSE, PUBLISHED
from tfprune.experiments.told import Curves, Facts, Layers, Told, text
from tfprune.records.mask_file import read_masks
from tfprune.records.reading import MissingInputError
from tfprune.records.result import LAYER

if TYPE_CHECKING:
    import keras


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

    def layers(self, folder: Path, file: str) -> Layers | None:
        """Named by numbers where the run has no masks, as the published code's have none."""
        prefix = _prefix(file)
        counts, *sparsities = layer_arrays(folder, prefix)
        if counts is None:
            return None
        masks = folder / f"{prefix}_{MASKS}"
        names = list(read_masks(masks)) if masks.exists() else [f"layer_{number}" for number in range(len(counts))]
        left = [[None] * len(counts) if part is None else _left(counts, part) for part in sparsities]
        layers = zip(counts.astype(int).tolist(), *left, strict=True)
        return {name: dict(zip(LAYER, each, strict=True)) for name, each in zip(names, layers, strict=True)}

    def curves(self, folder: Path, file: str) -> Curves:
        """Test accuracy and objective (loss with weight decay) at the steps at which they were measured."""
        prefix = _prefix(file)
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

    def network(self, folder: Path, file: str, settings: Mapping[str, Any]) -> tuple[keras.Model, Any] | None:
        """With initial weights: those of pruned networks are not kept, and how long a call takes is up to the masks."""
        masks, facts = folder / f"{_prefix(file)}_{MASKS}", self.facts(settings)
        published = PUBLISHED.get(facts.network)
        if not masks.exists() or published is None or facts.data is None:
            return None
        from tfprune.layers.masks import load_masks
        from tfprune.models.registry import build

        images = prepared_facts(facts.data)
        channels, height, width = images.image_shape
        factor = -(-published.least_side // min(height, width))  # small images are enlarged
        shape = height * factor, width * factor, channels
        return build(facts.network, input_shape=shape, classes=images.classes, seed=0), load_masks(masks)


def _prefix(file: str) -> str:
    """Of a run's files, by the name of one of them."""
    match = NAME.match(file)
    return match[0] if match else ""


def _left(counts: np.ndarray, sparsities: np.ndarray) -> list[int]:
    return np.round(counts * (1 - sparsities)).astype(int).tolist()


TOLD = _OneShot()
