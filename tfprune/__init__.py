"""Find, measure and use sparse neural networks with TensorFlow and Keras 3.

The public names are loaded when they are first used: importing `tfprune` alone loads neither TensorFlow nor Keras.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = [
    "ExportError",
    "InputError",
    "Masks",
    "NetworkSlimming",
    "Reachability",
    "compact",
    "compaction_report",
    "export",
    "export_report",
    "load_masks",
    "load_model",
    "masked",
    "masks_of",
    "prunable",
    "prune",
    "prune_channels",
    "prune_filters",
    "read_results",
    "remove_channels",
    "run",
    "save_masks",
    "search_filters",
    "sensitivity",
    "set_masks",
    "sparsity",
    "strip",
    "unsupported",
]

if TYPE_CHECKING:
    from tfprune.connectivity.compaction import compaction_report
    from tfprune.connectivity.reachability import Reachability
    from tfprune.connectivity.report import sparsity
    from tfprune.errors import InputError
    from tfprune.experiments.results import read_results
    from tfprune.experiments.run import run
    from tfprune.layers.convert import load_model, masked, masks_of, set_masks, strip
    from tfprune.layers.masks import Masks, load_masks, save_masks
    from tfprune.layers.prunable import prunable, unsupported
    from tfprune.pruning.prune_channels import prune_channels
    from tfprune.pruning.prune_filters import prune_filters
    from tfprune.pruning.pruner import prune
    from tfprune.pruning.remove_channels import remove_channels
    from tfprune.pruning.search_filters import search_filters
    from tfprune.pruning.sensitivity import sensitivity
    from tfprune.surgery.compact import compact
    from tfprune.surgery.export import ExportError, export
    from tfprune.surgery.export_report import export_report
    from tfprune.training.network_slimming import NetworkSlimming

_HOMES = {
    "ExportError": "tfprune.surgery.export",
    "InputError": "tfprune.errors",
    "Masks": "tfprune.layers.masks",
    "NetworkSlimming": "tfprune.training.network_slimming",
    "Reachability": "tfprune.connectivity.reachability",
    "compact": "tfprune.surgery.compact",
    "compaction_report": "tfprune.connectivity.compaction",
    "export": "tfprune.surgery.export",
    "export_report": "tfprune.surgery.export_report",
    "load_masks": "tfprune.layers.masks",
    "load_model": "tfprune.layers.convert",
    "masked": "tfprune.layers.convert",
    "masks_of": "tfprune.layers.convert",
    "prunable": "tfprune.layers.prunable",
    "prune": "tfprune.pruning.pruner",
    "prune_channels": "tfprune.pruning.prune_channels",
    "prune_filters": "tfprune.pruning.prune_filters",
    "read_results": "tfprune.experiments.results",
    "remove_channels": "tfprune.pruning.remove_channels",
    "run": "tfprune.experiments.run",
    "save_masks": "tfprune.layers.masks",
    "search_filters": "tfprune.pruning.search_filters",
    "sensitivity": "tfprune.pruning.sensitivity",
    "set_masks": "tfprune.layers.convert",
    "sparsity": "tfprune.connectivity.report",
    "strip": "tfprune.layers.convert",
    "unsupported": "tfprune.layers.prunable",
}


if not TYPE_CHECKING:  # type checkers would take any name for one

    def __getattr__(name: str):
        if name not in _HOMES:
            raise AttributeError(f"module 'tfprune' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
