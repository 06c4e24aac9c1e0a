"""Accuracy of networks with fewer filters, over their size and over fine-tuning."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from tfprune.experiments.filters.results import UNPRUNED
from tfprune.plots.style import (
    BASELINE_COLOR,
    COLORS,
    LINES,
    MARKERS,
    accuracy_axis,
    iteration_ticks,
    label,
    log_axis,
    message,
    new_figure,
)

_UNITS = ((1e6, "M"), (1e3, "k"))
_SIZES = {"parameters": "parameters", "flops": "floating-point operations per image"}
_IN_ROW = 3


def draw_accuracy(
    table: pd.DataFrame, title: str = "", size: str = "parameters", size_label: str | None = None
) -> Figure:
    """Test accuracy against the size of the network, which falls from left to right on a logarithmic axis.

    Networks of one scoring that were pruned in the same layers, to different fractions, are joined by a line. A scoring
    has a colour and a line style, a set of layers a marker; where there is one scoring, sets of layers have all three.

    Args:
        table: from `results.read_results`.
        title: of the figure.
        size: the column of the horizontal axis: `parameters`, `flops`, or any other column of positive numbers.
        size_label: what that column is, with its unit; None for what is known of the first two, else its name.
    """
    figure = new_figure(8, 5)
    axes = figure.subplots()
    label(axes, title, size_label or _SIZES.get(size, size), "test accuracy")
    pruned = table[table["scoring"] != UNPRUNED]
    whole = table[table["scoring"] == UNPRUNED]
    for _, row in whole.iterrows():
        axes.axhline(row["test_accuracy"], color=BASELINE_COLOR, linewidth=1, linestyle=":")
        axes.plot(row[size], row["test_accuracy"], "*", color=BASELINE_COLOR, markersize=15, label="unpruned")
    families = pruned["version"].str.split("_").str[0]
    names, scorings = sorted(families.unique()), list(dict.fromkeys(pruned["scoring"]))
    for (scoring, family), part in pruned.groupby([pruned["scoring"], families], sort=False):
        part = part.sort_values(size, ascending=False)
        look = _look(scorings.index(scoring) if len(scorings) > 1 else names.index(family), names.index(family))
        axes.plot(part[size], part["test_accuracy"], **look, label=f"{scoring}, {family}")
    if table.empty:
        message(axes, "no finished network")
        return figure
    log_axis(axes.xaxis, table[size])
    if size in _SIZES:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(_short))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.invert_xaxis()
    accuracy_axis(axes)
    figure.legend(fontsize=10, frameon=False, loc="outside lower center", ncols=3, handlelength=3)
    return figure


def draw_training(curves: pd.DataFrame, title: str = "") -> Figure:
    """Test accuracy over the epochs of fine-tuning, epoch 0 being just after pruning; a panel for each scoring.

    A version has the same colour, marker and kind of line in every panel.

    Args:
        curves: from `results.read_curves`.
        title: of the figure.
    """
    pruned = curves[curves["scoring"] != UNPRUNED] if len(curves) else curves
    if not len(pruned):
        figure = new_figure(8, 4.8)
        message(label(figure.subplots(), title, "epochs of fine-tuning", "test accuracy"), "no finished network")
        return figure
    scorings, versions = (list(dict.fromkeys(pruned[column])) for column in ("scoring", "version"))
    columns = min(_IN_ROW, len(scorings))
    rows = -(-len(scorings) // columns)
    figure = new_figure(8 if columns == 1 else 4.2 * columns, 3.8 * rows + 0.25 * -(-len(versions) // 6) + 0.5)
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    unpruned = curves[curves["scoring"] == UNPRUNED].tail(1)["test_accuracy"]
    for index, (axes, scoring) in enumerate(zip(panels, scorings, strict=False)):
        below = index + columns >= len(scorings)
        label(axes, scoring, "epochs of fine-tuning" if below else "", "" if index % columns else "test accuracy")
        for value in unpruned:
            axes.axhline(value, color=BASELINE_COLOR, linewidth=1, linestyle=":", label="unpruned")
        for version, part in pruned[pruned["scoring"] == scoring].groupby("version", sort=False):
            at = versions.index(version)
            axes.plot(part["epoch"], part["test_accuracy"], **_look(at, at), label=version)
        iteration_ticks(axes)
    accuracy_axis(panels[0])
    for axes in panels[len(scorings) :]:
        axes.set_axis_off()
    shown = {text: line for axes in panels for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    in_row = -(-len(shown) // -(-len(shown) // 6))
    figure.legend(
        shown.values(), shown, fontsize=10, frameon=False, loc="outside lower center", ncols=in_row, handlelength=3
    )
    return figure


def _look(color: int, marker: int) -> dict:
    """How a line looks; beyond the number of colours the kind of line parts those of one colour."""
    return {
        "color": COLORS[color % len(COLORS)],
        "linestyle": LINES[(color + color // len(COLORS)) % len(LINES)],
        "marker": MARKERS[marker % len(MARKERS)],
        "markersize": 7,
        "markeredgecolor": "white",
        "markeredgewidth": 0.6,
        "linewidth": 1.6,
    }


def _short(value: float, _) -> str:
    unit, letter = next((pair for pair in _UNITS if value >= pair[0]), (1, ""))
    return f"{value / unit:g}{letter}"
