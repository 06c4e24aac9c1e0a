"""What is kept of an iterative-magnitude-pruning run, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tfprune.experiments.imp.arch import LayerSpec
from tfprune.layers.masks import Masks

Weights = Mapping[str, np.ndarray]  # path (see `weight_path`) -> float32 array


@dataclass(frozen=True)
class IterationRecord:
    """Everything kept of one iteration (the list of 10 in `<prefix>_itdata_<k>.pkl`), in file order.

    Attributes:
        layers: the architecture.
        ratios: float64, one sparsity per pruned layer.
        recorded_steps: steps at which weights were recorded.
        steps: all training steps, 0 .. steps.
        validation_steps: steps at which the validation error was taken.
        train_errors: float32, error of each step's batch, in [0, 1].
        validation_errors: float32, one per validation step, in [0, 1].
        weights: per recorded step, path -> float32: `kernel` (in, out) or (k, k, in, out), and of dense layers `bias`
            (out,), `gamma` (in,) and `beta` (in,).
        running_averages: per recorded step, path -> float32: `running_mean` and `running_variance` (in,) of the inputs
            of dense layers.
        masks: path -> bool, of every kernel and every bias.
    """

    layers: tuple[LayerSpec, ...]
    ratios: np.ndarray
    recorded_steps: list[int]
    steps: list[int]
    validation_steps: list[int]
    train_errors: np.ndarray
    validation_errors: np.ndarray
    weights: list[Weights]
    running_averages: list[Weights]
    masks: Masks


@dataclass(frozen=True)
class FinalRecord:
    """A finished run at a glance (the list of 3 in `<prefix>_findata.pkl`).

    Attributes:
        layers: the architecture.
        ratios: per iteration, float64, one sparsity per pruned layer.
        best_validation_errors: float32, the smallest validation error of each iteration.
    """

    layers: tuple[LayerSpec, ...]
    ratios: list[np.ndarray]
    best_validation_errors: np.ndarray
