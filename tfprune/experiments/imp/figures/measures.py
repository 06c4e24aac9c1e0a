"""Numbers of an iterative-magnitude-pruning run that its figures show, taken from its files one iteration at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from tfprune.experiments.imp.arch import weight_path
from tfprune.experiments.imp.figures.autocorrelation import expected_local_fraction_random, locality_maps
from tfprune.experiments.imp.masks import live_inputs, live_units, unpruned_fraction

if TYPE_CHECKING:
    from tfprune.experiments.imp.arch import LayerSpec
    from tfprune.experiments.imp.files.iterations import ImpRun
    from tfprune.experiments.imp.files.records import IterationRecord


class RunSummary(NamedTuple):
    """What the curves over iterations need, small enough to keep.

    Attributes:
        iterations: one row per iteration: `iteration`, `unpruned_fraction`, `best_accuracy` (largest validation
            accuracy, in [0, 1]), `best_step`, `local_fraction`, `local_fraction_random` (both NaN where the input is no
            image).
        layers: one row per iteration and layer with weights: `iteration`, `layer` (position in the architecture, from
            1), `kind`, `prunable`, `units`, `live_units`, `inputs`, `live_inputs`, `weights`, `kept` (kernel weights).
    """

    iterations: pd.DataFrame
    layers: pd.DataFrame

    @property
    def best_iteration(self) -> int | None:
        """Iteration of the largest validation accuracy (the first of equals); None if there is none."""
        accuracy = self.iterations["best_accuracy"]
        return None if accuracy.isna().all() else int(self.iterations["iteration"][accuracy.idxmax()])


def summarise(run: ImpRun, distance: float = 3.0, progress: Callable[[str], None] | None = None) -> RunSummary:
    """Measure every iteration of a run; one record is in memory at a time.

    Args:
        run: the run.
        distance: pixels; pairs of inputs in one channel up to this distance count as local.
        progress: called with a line of text for each iteration.
    """
    iterations, layers = [], []
    image = run.image_shape
    expected = float("nan") if image is None else expected_local_fraction_random(image, distance)
    for k in run.iterations:
        if progress:
            progress(f"measuring iteration {k}")
        record = run.iteration(k)
        accuracy, step = best_validation(record)
        local = float("nan")
        if image is not None:
            local = locality_maps(record.masks[weight_path(0)], image).local_fraction(distance)
        iterations.append((k, unpruned_fraction(record.layers, record.masks), accuracy, step, local, expected))
        layers += [(k, *row) for row in _layer_rows(record)]
    iteration_columns = "iteration unpruned_fraction best_accuracy best_step local_fraction local_fraction_random"
    layer_columns = "iteration layer kind prunable units live_units inputs live_inputs weights kept"
    return RunSummary(
        pd.DataFrame(iterations, columns=iteration_columns.split()),
        pd.DataFrame(layers, columns=layer_columns.split()),
    )


def best_validation(record: IterationRecord) -> tuple[float, int]:
    """The largest validation accuracy, in [0, 1], and the first step that reached it; (NaN, -1) without validation."""
    errors = np.asarray(record.validation_errors, dtype=np.float64)
    if not np.isfinite(errors).any():
        return float("nan"), -1
    best = int(np.nanargmin(errors))
    return 1.0 - float(errors[best]), int(record.validation_steps[best])


def layer_name(position: int, layer: LayerSpec | str) -> str:
    """Name of a layer in titles and legends, e.g. `layer 2 (dense)`; positions count from 1."""
    kind = layer if isinstance(layer, str) else layer.kind
    words = {"f": "dense", "x": "output", "c": "convolution", "p": "pooling"}
    return f"layer {position} ({words.get(kind, kind)})"


def effective_connectivity(record: IterationRecord, layer: int) -> np.ndarray:
    """Number of paths of kept weights from each input to each unit of a layer, each unit scaled to a maximum of 1.

    The product M_0 · M_1 · … · M_layer of the kernel masks of dense layers; biases open no path.

    Args:
        record: an iteration of a network whose layers up to `layer` are dense.
        layer: position of the layer, from 0.

    Returns:
        float64, (inputs, units of the layer), in [0, 1]; a column is all zero if no path leads to its unit.

    Raises:
        ValueError: a layer on the way isn't dense.
    """
    kinds = [each.kind for each in record.layers[: layer + 1]]
    if any(kind not in ("f", "x") for kind in kinds):
        raise ValueError(f"products of masks need dense layers up to layer {layer}. Received: kinds {kinds}")
    paths = record.masks[weight_path(0)].astype(np.float64)
    for index in range(1, layer + 1):
        paths = paths @ record.masks[weight_path(index)].astype(np.float64)
        paths /= max(1.0, paths.max(initial=0.0))  # counts grow like width^depth; only their ratios are shown
    largest = paths.max(axis=0, initial=0.0)
    return paths / np.where(largest > 0, largest, 1.0)


def _layer_rows(record: IterationRecord) -> list[tuple]:
    rows = []
    for index, layer in enumerate(record.layers):
        if layer.masked:
            mask = record.masks[weight_path(index)]
            inputs, units = mask.shape[-2:]
            live = (units, live_units(mask), inputs, live_inputs(mask))
            rows.append((index + 1, layer.kind, layer.prunable, *live, mask.size, int(np.count_nonzero(mask))))
    return rows
