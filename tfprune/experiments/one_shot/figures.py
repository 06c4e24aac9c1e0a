"""Figures of a run of one-shot pruning: how it trained, and what each layer kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tfprune.plots.style import BASELINE_COLOR, COLORS, PLAIN, accuracy_axis, label, legend, new_figure


def draw_training(accuracies: Sequence[float], losses: Sequence[float], steps: int, every: int = 1000) -> Figure:
    """Test accuracy and test loss against the training step.

    Args:
        accuracies: before steps 0, `every`, 2·`every`, ..., and after the last one.
        losses: at the same steps.
        steps: number of training steps.
        every: steps between two evaluations.
    """
    at = np.minimum(every * np.arange(len(accuracies)), steps)
    marker = "o" if len(at) < 30 else None
    figure = new_figure(9, 3.6)
    left, right = figure.subplots(1, 2)
    left.plot(at, accuracies, color=COLORS[0], marker=marker, markersize=4)
    right.plot(at, losses, color=COLORS[1], marker=marker, markersize=4)
    label(left, f"Test accuracy, {accuracies[-1]:.4f} at the end", "step", "accuracy")
    label(right, "Test loss", "step", "loss (nats)")
    accuracy_axis(left)
    right.set_ylim(bottom=0)
    return figure


def draw_densities(table: pd.DataFrame) -> Figure:
    """Direct and effective density of every kernel, side by side, on a log axis.

    Args:
        table: `layer`, `weights`, `direct sparsity` and `effective sparsity`; its last row is the total.
    """
    layers, total = table.iloc[:-1], table.iloc[-1]
    figure = new_figure(min(16, 3.5 + 0.5 * len(layers)), 4)
    axes = figure.subplots()
    at = np.arange(len(layers))
    least = 1 / float(layers["weights"].sum())
    zeros = []
    for shift, kind, color, hatch in ((-0.2, "direct", COLORS[5], ""), (0.2, "effective", COLORS[1], "///")):
        density = 1 - layers[f"{kind} sparsity"].to_numpy(float)
        axes.bar(
            at + shift, np.maximum(density, least), 0.4, color=color, hatch=hatch, ec="white", label=kind, bottom=0
        )
        zeros += [(x, color) for x, value in zip(at + shift, density, strict=True) if value == 0]
        axes.axhline(max(1 - float(total[f"{kind} sparsity"]), least), color=color, linestyle="--", linewidth=1)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(PLAIN)
    kept = 1 - layers[["direct sparsity", "effective sparsity"]].to_numpy(float)
    smallest = kept[kept > 0].min() if (kept > 0).any() else least
    axes.set_ylim(smallest / 3, 1.3)
    for x, color in zeros:
        axes.text(x, smallest / 2.8, "0", ha="center", va="bottom", fontsize=11, color=color)
    axes.set_xticks(at, [name.removesuffix("/kernel") for name in layers["layer"]], rotation=30, ha="right")
    axes.axhline(1, color=BASELINE_COLOR, linewidth=0.8)
    label(axes, "Weights kept in each layer (dashed: in all)", "", "density")
    legend(axes, loc="best")
    return figure
