"""Find, measure and use sparse neural networks with TensorFlow and Keras 3.

The public names are loaded when they are first used: importing `tfprune` alone loads neither TensorFlow nor Keras.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = [
    "SET",
    "ConstantSchedule",
    "ExponentialSchedule",
    "ExportError",
    "InputError",
    "LatencyTable",
    "Masks",
    "NetworkSlimming",
    "OneCycleSchedule",
    "OwnSchedule",
    "PolynomialSchedule",
    "Prune",
    "Pruner",
    "Reachability",
    "Regrowth",
    "RigL",
    "Schedule",
    "SparseConv1D",
    "SparseConv1DTranspose",
    "SparseConv2D",
    "SparseConv2DTranspose",
    "SparseDense",
    "SparseDepthwiseConv1D",
    "SparseDepthwiseConv2D",
    "SparseEinsumDense",
    "SparsityLogger",
    "TrainingSchedule",
    "accelerate",
    "acceleration_report",
    "compact",
    "compaction_report",
    "export",
    "export_report",
    "filter_scores",
    "latency_table",
    "load_masks",
    "load_model",
    "masked",
    "masks_of",
    "overview_table",
    "pattern_report",
    "predictor",
    "prunable",
    "prune",
    "prune_channels",
    "prune_filters",
    "pruners",
    "quantization_aware",
    "quotas",
    "read_results",
    "recalibrate",
    "register_filter_score",
    "register_quota",
    "register_schedule",
    "register_score",
    "remove_channels",
    "report",
    "run",
    "run_sweep",
    "save_masks",
    "schedules",
    "scores",
    "search_filters",
    "sensitivity",
    "set_masks",
    "sparsegpt",
    "sparsity",
    "strip",
    "unsupported",
]

if TYPE_CHECKING:
    from tfprune.connectivity.compaction import compaction_report
    from tfprune.connectivity.reachability import Reachability
    from tfprune.connectivity.report import sparsity
    from tfprune.connectivity.whole_report import report
    from tfprune.errors import InputError
    from tfprune.experiments.results import read_results
    from tfprune.experiments.run import run
    from tfprune.layers.convert import load_model, masked, masks_of, set_masks, strip
    from tfprune.layers.kept_layers import (
        SparseConv1D,
        SparseConv1DTranspose,
        SparseConv2D,
        SparseConv2DTranspose,
        SparseDense,
        SparseDepthwiseConv1D,
        SparseDepthwiseConv2D,
        SparseEinsumDense,
    )
    from tfprune.layers.masks import Masks, load_masks, save_masks
    from tfprune.layers.prunable import prunable, unsupported
    from tfprune.overview.table import overview_table
    from tfprune.pruning.filter_scores import filter_scores, register_filter_score
    from tfprune.pruning.latency_table import LatencyTable, latency_table
    from tfprune.pruning.own_schedule import OwnSchedule
    from tfprune.pruning.pattern_report import pattern_report
    from tfprune.pruning.prune_channels import prune_channels
    from tfprune.pruning.prune_filters import prune_filters
    from tfprune.pruning.pruner import prune
    from tfprune.pruning.quotas import quotas, register_quota
    from tfprune.pruning.remove_channels import remove_channels
    from tfprune.pruning.schedules import Schedule
    from tfprune.pruning.scores import scores
    from tfprune.pruning.search_filters import search_filters
    from tfprune.pruning.sensitivity import sensitivity
    from tfprune.pruning.sparsegpt import sparsegpt
    from tfprune.pruning.specs import Pruner, pruners, register_score
    from tfprune.pruning.training_schedules import (
        ConstantSchedule,
        ExponentialSchedule,
        OneCycleSchedule,
        PolynomialSchedule,
        TrainingSchedule,
    )
    from tfprune.surgery.accelerate import accelerate
    from tfprune.surgery.acceleration_report import acceleration_report
    from tfprune.surgery.compact import compact
    from tfprune.surgery.export import ExportError, export
    from tfprune.surgery.export_report import export_report
    from tfprune.surgery.predictor import predictor
    from tfprune.surgery.quantization import quantization_aware
    from tfprune.sweeps.command import run_sweep
    from tfprune.training.network_slimming import NetworkSlimming
    from tfprune.training.prune_callback import Prune
    from tfprune.training.recalibrate import recalibrate
    from tfprune.training.regrowth import SET, Regrowth, RigL
    from tfprune.training.schedules import register_schedule, schedules
    from tfprune.training.sparsity_log import SparsityLogger

_HOMES = {
    "ConstantSchedule": "tfprune.pruning.training_schedules",
    "ExponentialSchedule": "tfprune.pruning.training_schedules",
    "ExportError": "tfprune.surgery.export",
    "InputError": "tfprune.errors",
    "LatencyTable": "tfprune.pruning.latency_table",
    "Masks": "tfprune.layers.masks",
    "NetworkSlimming": "tfprune.training.network_slimming",
    "OneCycleSchedule": "tfprune.pruning.training_schedules",
    "OwnSchedule": "tfprune.pruning.own_schedule",
    "PolynomialSchedule": "tfprune.pruning.training_schedules",
    "Prune": "tfprune.training.prune_callback",
    "Pruner": "tfprune.pruning.specs",
    "Reachability": "tfprune.connectivity.reachability",
    "Regrowth": "tfprune.training.regrowth",
    "RigL": "tfprune.training.regrowth",
    "SET": "tfprune.training.regrowth",
    "Schedule": "tfprune.pruning.schedules",
    "SparseConv1D": "tfprune.layers.kept_layers",
    "SparseConv1DTranspose": "tfprune.layers.kept_layers",
    "SparseConv2D": "tfprune.layers.kept_layers",
    "SparseConv2DTranspose": "tfprune.layers.kept_layers",
    "SparseDense": "tfprune.layers.kept_layers",
    "SparseDepthwiseConv1D": "tfprune.layers.kept_layers",
    "SparseDepthwiseConv2D": "tfprune.layers.kept_layers",
    "SparseEinsumDense": "tfprune.layers.kept_layers",
    "SparsityLogger": "tfprune.training.sparsity_log",
    "TrainingSchedule": "tfprune.pruning.training_schedules",
    "accelerate": "tfprune.surgery.accelerate",
    "acceleration_report": "tfprune.surgery.acceleration_report",
    "compact": "tfprune.surgery.compact",
    "compaction_report": "tfprune.connectivity.compaction",
    "export": "tfprune.surgery.export",
    "export_report": "tfprune.surgery.export_report",
    "filter_scores": "tfprune.pruning.filter_scores",
    "latency_table": "tfprune.pruning.latency_table",
    "load_masks": "tfprune.layers.masks",
    "load_model": "tfprune.layers.convert",
    "masked": "tfprune.layers.convert",
    "masks_of": "tfprune.layers.convert",
    "overview_table": "tfprune.overview.table",
    "pattern_report": "tfprune.pruning.pattern_report",
    "predictor": "tfprune.surgery.predictor",
    "prunable": "tfprune.layers.prunable",
    "prune": "tfprune.pruning.pruner",
    "prune_channels": "tfprune.pruning.prune_channels",
    "prune_filters": "tfprune.pruning.prune_filters",
    "pruners": "tfprune.pruning.specs",
    "quantization_aware": "tfprune.surgery.quantization",
    "quotas": "tfprune.pruning.quotas",
    "read_results": "tfprune.experiments.results",
    "recalibrate": "tfprune.training.recalibrate",
    "register_filter_score": "tfprune.pruning.filter_scores",
    "register_quota": "tfprune.pruning.quotas",
    "register_schedule": "tfprune.training.schedules",
    "register_score": "tfprune.pruning.specs",
    "remove_channels": "tfprune.pruning.remove_channels",
    "report": "tfprune.connectivity.whole_report",
    "run": "tfprune.experiments.run",
    "run_sweep": "tfprune.sweeps.command",
    "save_masks": "tfprune.layers.masks",
    "schedules": "tfprune.training.schedules",
    "scores": "tfprune.pruning.scores",
    "search_filters": "tfprune.pruning.search_filters",
    "sensitivity": "tfprune.pruning.sensitivity",
    "set_masks": "tfprune.layers.convert",
    "sparsegpt": "tfprune.pruning.sparsegpt",
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
