"""Everything that is known of one network of the overview: its layers, curves, settings and figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tfprune.experiments.told import told_of
from tfprune.records.result import tolerated


@dataclass(frozen=True)
class Layer:
    """A prunable kernel.

    Attributes:
        name: its path in the network.
        weights: number of its weights.
        kept: number of them that the mask keeps; None where it is not known.
        effective: number of them on a path from an input to an output; None where it is not known.
    """

    name: str
    weights: int
    kept: int | None = None
    effective: int | None = None

    @property
    def density(self) -> float | None:
        """Fraction that is kept, in [0, 1]."""
        return self.kept / self.weights if self.kept is not None and self.weights else None

    @property
    def effective_density(self) -> float | None:
        """Fraction that is kept and effective, in [0, 1]."""
        return self.effective / self.weights if self.effective is not None and self.weights else None


@dataclass(frozen=True)
class Details:
    """What is known of one network.

    Attributes:
        layers: its prunable kernels, in the order of the network; None where they are not known.
        curves: name, such as `test_accuracy`, `test_loss` or `train_error`, -> float64 (n, 2): step and value, by step.
        settings: all that define it, as JSON values.
        figures: name -> PNG file of the figures that its run has left.
    """

    layers: tuple[Layer, ...] | None = None
    curves: Mapping[str, np.ndarray] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Path] = field(default_factory=dict)


def details(row: Mapping[str, Any] | pd.Series) -> Details:
    """What the files of a network tell beside its row; reads them, and loads no TensorFlow.

    Args:
        row: of `overview_table` or `tfprune.read_results`.

    Returns:
        The details. A damaged file costs what it would have told, and a warning that names it.
    """
    told, folder, file = told_of(row["family"]), Path(row["folder"]).absolute(), row["file"]
    layers, curves = row["layers"], {}
    if not isinstance(layers, Mapping):
        layers = None
        with tolerated(folder / file):
            layers = told.layers(folder, file)
    with tolerated(folder / file):
        curves = {name: np.array(values, np.float64) for name, values in told.curves(folder, file).items() if values}
    return Details(
        layers=None if layers is None else tuple(Layer(name, **counts) for name, counts in layers.items()),
        curves=curves,
        settings=row["settings"],
        figures=told.figures(folder, file),
    )
