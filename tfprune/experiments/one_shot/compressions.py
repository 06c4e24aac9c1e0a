"""Accuracy and effective compression of pruners against compression, with bands over samples."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tfprune.plots.style import BASELINE_COLOR, COLORS, accuracy_axis, label, log_axis, message, new_figure

NAMES = {
    "random/uniform": "Uniform (random)",
    "random/uniform_plus": "Uniform+ (random)",
    "random/erk": "ERK (random)",
    "random/igq": "IGQ (random)",
    "random/snip": "SNIP (random)",
    "random/synflow": "SynFlow (random)",
    "magnitude/global": "Global (magnitude)",
    "magnitude/uniform": "Uniform (magnitude)",
    "magnitude/uniform_plus": "Uniform+ (magnitude)",
    "magnitude/erk": "ERK (magnitude)",
    "magnitude/igq": "IGQ (magnitude)",
    "lamp": "LAMP",
    "snip": "SNIP",
    "snip/iterative": "SNIP, iterative",
    "synflow": "SynFlow",
    "tfmot/polynomial": "Gradual (tfmot)",
}
# More than the house's six, since a figure may show fifteen pruners; these four are from Paul Tol's muted scheme.
_COLORS = (*COLORS, "#882255", "#117733", "#999933", "#332288")
_MARKERS = "osD^vPX*<>d"


def draw_accuracies(runs: Mapping[str, pd.DataFrame], dense: np.ndarray, title: str = "") -> Figure:
    """Test accuracy against effective (solid) and direct (dashed) compression: mean over samples, band min to max.

    Args:
        runs: pruner -> columns `direct`, `effective` (compressions), `accuracy`, and `target`,
            whose equal values are the samples of one target. Runs with infinite compression are left out.
        dense: accuracies of dense networks, one for each sample; may be empty.
        title: of the figure.
    """
    figure = new_figure(8.6, 4.8)
    axes = figure.subplots()
    handles, shown = [], []
    for index, (pruner, table) in enumerate(runs.items()):
        look = _look(index)
        for kind, line in (("direct", "--"), ("effective", "-")):
            finite = table[np.isfinite(table[kind])]
            if len(finite):
                _band(axes, finite, kind, "accuracy", line, look, marked=kind == "effective")
                shown.append(finite[kind])
        handles.append(Line2D([], [], **look, markersize=5, label=NAMES.get(pruner, pruner)))
    if len(dense):
        axes.axhspan(dense.min(), dense.max(), color=BASELINE_COLOR, alpha=0.25, linewidth=0)
        axes.axhline(dense.mean(), color=BASELINE_COLOR)
        handles.append(Line2D([], [], color=BASELINE_COLOR, label="dense"))
    handles += _kinds("against effective compression", "against direct compression")
    label(axes, title, "compression (all weights / remaining ones)", "test accuracy")
    if shown:
        log_axis(axes.xaxis, np.concatenate(shown))
        accuracy_axis(axes)
    else:
        message(axes, "no network with remaining weights")
    _legend(figure, axes, handles)
    return figure


def draw_compressions(runs: Mapping[str, pd.DataFrame], title: str = "", pruning_type: str = "direct") -> Figure:
    """Effective compression against the target: mean over samples, band min to max, log-log.

    Args:
        runs: pruner -> columns `target` and `effective`; runs without any effective weight are left out.
        title: of the figure.
        pruning_type: what the target is for.
    """
    figure = new_figure(8.6, 4.8)
    axes = figure.subplots()
    handles, targets, shown = [], [], []
    for index, (pruner, table) in enumerate(runs.items()):
        finite = table[np.isfinite(table["effective"])]
        if len(finite):
            _band(axes, finite, "target", "effective", "-", _look(index), marked=True)
            targets += finite["target"].tolist()
            shown += finite["effective"].tolist()
        handles.append(Line2D([], [], **_look(index), markersize=5, label=NAMES.get(pruner, pruner)))
    _gap_axes(axes, targets, shown, handles)
    label(axes, title, f"target compression ({pruning_type} pruning)", "effective compression")
    _legend(figure, axes, handles)
    return figure


def draw_gap(tables: Mapping[str, pd.DataFrame], title: str = "") -> Figure:
    """Effective compression against the one that was asked for, one line for each way of pruning, log-log.

    Args:
        tables: name -> columns `target` and `effective` (compressions); networks without any effective weight are left
            out.
        title: of the figure.
    """
    figure = new_figure(7, 4.8)
    axes = figure.subplots()
    handles, targets, shown = [], [], []
    for index, (name, table) in enumerate(tables.items()):
        finite = table[np.isfinite(table["effective"])]
        axes.plot(finite["target"], finite["effective"], markersize=5, **_look(index))
        targets += finite["target"].tolist()
        shown += finite["effective"].tolist()
        handles.append(Line2D([], [], **_look(index), markersize=5, label=name))
    _gap_axes(axes, targets, shown, handles)
    label(axes, title, "compression asked for", "effective compression")
    axes.legend(handles=handles, fontsize=10, frameon=False, loc="upper left")
    return figure


def _look(index: int) -> dict:
    return {"color": _COLORS[index % len(_COLORS)], "marker": _MARKERS[index % len(_MARKERS)]}


def _band(axes: Axes, table: pd.DataFrame, x: str, y: str, line: str, look: dict, marked: bool) -> None:
    groups = table.groupby("target")
    at, values = groups[x].mean(), groups[y]
    color, marker, inside = look["color"], look["marker"], look["color"] if marked else "white"
    size = 6 if marked else 4
    axes.plot(at, values.mean(), line, color=color, marker=marker, markersize=size, mfc=inside, linewidth=1.6)
    axes.fill_between(at, values.min(), values.max(), color=color, alpha=0.2 if marked else 0.1, linewidth=0)


def _gap_axes(axes: Axes, targets: list[float], shown: list[float], handles: list[Line2D]) -> None:
    """Two logarithmic axes and the line on which nothing is lost."""
    if not targets:
        message(axes, "no network with effective weights")
        return
    ends = [min(targets), max(targets)]
    axes.plot(ends, ends, color=BASELINE_COLOR, linewidth=1, linestyle=":")
    log_axis(axes.xaxis, targets)
    log_axis(axes.yaxis, [*targets, *shown])
    handles.append(Line2D([], [], color=BASELINE_COLOR, linewidth=1, linestyle=":", label="no gap"))


def _kinds(solid: str, dashed: str) -> list[Line2D]:
    return [Line2D([], [], color="black", label=solid), Line2D([], [], color="black", linestyle="--", label=dashed)]


def _legend(figure: Figure, axes: Axes, handles: list[Line2D]) -> None:
    figure.legend(handles=handles, fontsize=9, frameon=False, loc="outside right upper")
