"""Accuracy of networks with fewer filters, over their size and over fine-tuning."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from tfprune.plots.style import BASELINE_COLOR, COLORS, label, message, new_figure
from tfprune.records.filter_folder import UNPRUNED

_MARKERS = "osD^vP"
_UNITS = ((1e6, "M"), (1e3, "k"))


def draw_accuracy(table: pd.DataFrame, title: str = "", size: str = "parameters") -> Figure:
    """Test accuracy against the number of parameters: a colour for each scoring, a marker for each set of layers.

    Networks of one scoring that were pruned in the same layers, to different fractions, are joined by a line. The
    number of parameters falls from left to right on a logarithmic axis.

    Args:
        table: from `records.filter_results`.
        title: of the figure.
        size: the column of the horizontal axis, `parameters` or `flops`.
    """
    figure = new_figure(8, 4.8)
    axes = figure.subplots()
    label(axes, title, {"parameters": "parameters", "flops": "floating-point operations per image"}[size])
    axes.set_ylabel("test accuracy", fontsize=11)
    pruned = table[table["scoring"] != UNPRUNED]
    whole = table[table["scoring"] == UNPRUNED]
    for _, row in whole.iterrows():
        axes.axhline(row["test_accuracy"], color=BASELINE_COLOR, linewidth=1, linestyle=":")
        axes.plot(row[size], row["test_accuracy"], "*", color=BASELINE_COLOR, markersize=11, label="unpruned")
    families = pruned["version"].str.split("_").str[0]
    marker_of = {name: _MARKERS[index % len(_MARKERS)] for index, name in enumerate(sorted(families.unique()))}
    for index, (scoring, rows) in enumerate(pruned.groupby("scoring", sort=False)):
        color = COLORS[index % len(COLORS)]
        for family, part in rows.groupby(families):
            part = part.sort_values(size, ascending=False)
            axes.plot(
                part[size],
                part["test_accuracy"],
                "-",
                color=color,
                marker=marker_of[family],
                markersize=5,
                linewidth=1.4,
                label=f"{scoring}, {family}",
            )
    if table.empty:
        message(axes, "no finished network")
        return figure
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(_short))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.invert_xaxis()
    figure.legend(fontsize=10, frameon=False, loc="outside lower center", ncols=3)
    return figure


def draw_training(curves: pd.DataFrame, title: str = "") -> Figure:
    """Test accuracy over the epochs of fine-tuning, epoch 0 being just after pruning; one line for each network.

    Args:
        curves: from `records.filter_results.read_curves`.
        title: of the figure.
    """
    figure = new_figure(8, 4.8)
    axes = figure.subplots()
    label(axes, title, "epochs of fine-tuning", "test accuracy")
    pruned = curves[curves["scoring"] != UNPRUNED] if len(curves) else curves
    if not len(pruned):
        message(axes, "no finished network")
        return figure
    for _, row in curves[curves["scoring"] == UNPRUNED].groupby("scoring").tail(1).iterrows():
        axes.axhline(row["test_accuracy"], color=BASELINE_COLOR, linewidth=1, linestyle=":", label="unpruned")
    versions = list(dict.fromkeys(pruned["version"]))
    for index, (scoring, rows) in enumerate(pruned.groupby("scoring", sort=False)):
        for version, part in rows.groupby("version", sort=False):
            axes.plot(
                part["epoch"],
                part["test_accuracy"],
                color=COLORS[index % len(COLORS)],
                marker=_MARKERS[versions.index(version) % len(_MARKERS)],
                markersize=4,
                linewidth=1.2,
                label=f"{scoring}, {version}",
            )
    axes.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(fontsize=9, frameon=False, loc="outside lower center", ncols=4)
    return figure


def _short(value: float, _) -> str:
    unit, letter = next((pair for pair in _UNITS if value >= pair[0]), (1, ""))
    return f"{value / unit:g}{letter}"
