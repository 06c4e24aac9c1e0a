"""What is kept of an iterative-magnitude-pruning run, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class LayerSpec(NamedTuple):
    """One layer of an architecture string, as the files hold it.

    Attributes:
        kind: `f` dense + ReLU, `x` final dense, `c` convolution + ReLU, `p` max-pool.
        params: `f`, `x`: (inputs, units); `c`: (K, K, C_in, C_out, stride); `p`: (K, stride).
        prunable: whether the layer is pruned.
    """

    kind: str
    params: tuple[int, ...]
    prunable: bool


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
        weights: per recorded step, per layer, float32 arrays: dense [W (in, out), b (out,), gamma (in,), beta (in,)],
            convolution [K (k, k, in, out)], pool [].
        running_averages: per recorded step, per layer, float32 (2, in): mean and variance of the layer's input
            ((2, 0) for layers without normalisation).
        masks: per layer, bool arrays: dense [mW (in, out), mb (out,)], convolution [mK], pool [].
    """

    layers: tuple[LayerSpec, ...]
    ratios: np.ndarray
    recorded_steps: list[int]
    steps: list[int]
    validation_steps: list[int]
    train_errors: np.ndarray
    validation_errors: np.ndarray
    weights: list[list[list[np.ndarray]]]
    running_averages: list[list[np.ndarray]]
    masks: list[list[np.ndarray]]


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
