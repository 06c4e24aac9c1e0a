"""Accuracy of lottery and one-shot runs, over the weights that are left and over training."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from tfprune.plots.style import COLORS, label, message, new_figure, sequence_colors

_MARKERS = "osD^vP"


def draw_accuracy(summary: pd.DataFrame, title: str = "") -> Figure:
    """Test accuracy against density, one line for each branch: mean over replicates, band of one standard deviation.

    Density falls from left to right on a logarithmic axis. Networks without any weight left, and runs whose density is
    not known, are left out.

    Args:
        summary: from `records.lottery_results.summary`.
        title: of the figure.
    """
    figure = new_figure(8, 4.8)
    axes = figure.subplots()
    shown = summary[summary["density"] > 0]
    for index, (branch, rows) in enumerate(shown.groupby("branch", sort=False)):
        rows = rows.sort_values("density", ascending=False)
        color = COLORS[index % len(COLORS)]
        # Beyond the six colours lines are dashed, so that no two branches look alike.
        line = ("-", "--", ":")[index // len(COLORS) % 3]
        _band(axes, rows["density"], rows["test_accuracy_mean"], rows["test_accuracy_std"], color)
        axes.plot(
            rows["density"],
            rows["test_accuracy_mean"],
            line,
            color=color,
            marker=_MARKERS[index % len(_MARKERS)],
            markersize=5,
            label=branch,
        )
    label(axes, title, "weights remaining (density)", "test accuracy")
    if shown.empty:
        message(axes, "no finished run")
    else:
        axes.set_xscale("log")
        _density_ticks(axes, shown["density"])
        axes.invert_xaxis()
    if shown["branch"].nunique() > 1:
        figure.legend(fontsize=10, frameon=False, loc="outside lower center", ncols=2)
    return figure


def draw_training(curves: pd.DataFrame, title: str = "") -> Figure:
    """Test accuracy over training, one line for each level: mean over replicates, band of one standard deviation.

    Args:
        curves: rows of one branch from `records.lottery_results.read_curves`.
        title: of the figure.
    """
    figure = new_figure(8, 4.8)
    axes = figure.subplots()
    levels = sorted(curves["level"].unique())
    for level, color in zip(levels, sequence_colors(len(levels)), strict=True):
        at = curves[curves["level"] == level].groupby("iteration")["test_accuracy"].agg(["mean", "std"])
        _band(axes, at.index, at["mean"], at["std"], color)
        marker = "o" if len(at) == 1 else None
        axes.plot(at.index, at["mean"], color=color, marker=marker, linewidth=1.6, label=f"level {level}")
    label(axes, title, "training iteration", "test accuracy")
    if not levels:
        message(axes, "no finished run")
    elif len(levels) > 1:
        figure.legend(fontsize=10, frameon=False, loc="outside right upper")
    return figure


def _band(axes: Axes, x, mean, deviation, color) -> None:
    # One replicate has no deviation: no band.
    spread = np.nan_to_num(np.asarray(deviation, float))
    if spread.any():
        axes.fill_between(x, mean - spread, mean + spread, color=color, alpha=0.2, linewidth=0)


def _density_ticks(axes: Axes, densities: pd.Series) -> None:
    """Ticks at densities that occur, thinned so that their texts have room."""
    found = np.unique(densities.to_numpy())[::-1]
    logs = np.log10(found)
    room = max((logs.max() - logs.min()) / 9, 0.02)
    ticks = [found[0]]
    for density, at in zip(found[1:], logs[1:], strict=True):
        if np.log10(ticks[-1]) - at >= room:
            ticks.append(density)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda density, _: f"{density:.3g}"))
    axes.xaxis.set_minor_locator(NullLocator())
