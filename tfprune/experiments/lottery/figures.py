"""Accuracy of lottery, one-shot and gradual runs, over the weights that are left and over training."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from tfprune.plots.style import (
    BASELINE_COLOR,
    COLORS,
    MARKERS,
    PLAIN,
    accuracy_axis,
    label,
    message,
    new_figure,
    sequence_colors,
)

_NAMES = {
    "main": "winning ticket",
    "randomly_prune": "random mask, the ticket's initial weights",
    "randomly_reinitialize": "the ticket's mask, new weights",
    "retrain": "the ticket, trained otherwise",
    "oneshot": "one-shot",
}


def branch_name(branch: str, levels: pd.Series | None = None) -> str:
    """What a branch is, for legends: the field's words, then its settings as they are.

    Args:
        branch: as `tfprune.experiments.lottery.results` calls it, e.g. `main` or `randomly_prune seed=0`.
        levels: the levels of its runs; where level 0 is all there is, `main` is no ticket but the dense network.
    """
    kind, _, settings = branch.partition(" ")
    if kind == "main" and levels is not None and not (levels > 0).any():
        return "dense network"
    return f"{_NAMES.get(kind, kind)} ({settings})" if settings else _NAMES.get(kind, kind)


def draw_accuracy(summary: pd.DataFrame, title: str = "") -> Figure:
    """Test accuracy against density, one line for each branch: mean over replicates, band of one standard deviation.

    Density falls from left to right on a logarithmic axis. Networks without any weight left, and runs whose density is
    not known, are left out.

    Args:
        summary: from `tfprune.experiments.lottery.results.summary`.
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
            marker=MARKERS[index % len(MARKERS)],
            markersize=6,
            label=branch_name(branch, rows.get("level")),
        )
    label(axes, title, "weights remaining (density)", "test accuracy")
    if shown.empty:
        message(axes, "no finished run")
    else:
        axes.set_xscale("log")
        _density_ticks(axes, shown["density"])
        axes.invert_xaxis()
        accuracy_axis(axes)
    if shown["branch"].nunique() > 1:
        figure.legend(fontsize=10, frameon=False, loc="outside lower center", ncols=2)
    return figure


def draw_training(curves: pd.DataFrame, title: str = "") -> Figure:
    """Test accuracy over training, one line for each level: mean over replicates, band of one standard deviation.

    Args:
        curves: rows of one branch from `tfprune.experiments.lottery.results.read_curves`.
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
    else:
        accuracy_axis(axes)
    if len(levels) > 1:
        figure.legend(fontsize=10, frameon=False, loc="outside right upper")
    return figure


def draw_shuffled(results: pd.DataFrame, dense: float | None = None, title: str = "") -> Figure:
    """Test error against density, one panel for each score: masks as scored, and shuffled within each layer.

    Errors are 1 − accuracy on a logarithmic axis, on which a collapse does not hide what lies below it.

    Args:
        results: one row for each run: `score`, `shuffled` (bool), `density`, `test_accuracy`.
        dense: accuracy of the network that is not pruned, drawn as a line.
        title: of the figure.
    """
    scores = list(dict.fromkeys(results["score"]))
    figure = new_figure(2.6 * max(1, len(scores)), 3.6)
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    panels = figure.subplots(1, max(1, len(scores)), sharey=True, squeeze=False)[0]
    for axes, score in zip(panels, scores, strict=False):
        label(axes, score, "weights remaining", "test error" if axes is panels[0] else "")
        for shuffled, color, words in ((False, COLORS[0], "as scored"), (True, COLORS[1], "shuffled in each layer")):
            rows = results[(results["score"] == score) & (results["shuffled"] == shuffled)]
            errors = (1 - rows["test_accuracy"]).groupby(rows["density"]).agg(["mean", "std"]).sort_index()
            _band(axes, errors.index, errors["mean"], errors["std"], color)
            line = "s--" if shuffled else "o-"
            axes.plot(errors.index, errors["mean"], line, color=color, markersize=5, label=words)
        if dense is not None:
            axes.axhline(1 - dense, color=BASELINE_COLOR, linewidth=1, linestyle=":", label="dense")
        axes.set_xscale("log")
        _error_axis(axes)
        _density_ticks(axes, results["density"])
        axes.invert_xaxis()
    if scores:
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, fontsize=10, frameon=False, loc="outside lower center", ncols=3)
    else:
        message(panels[0], "no finished run")
    return figure


def draw_equal_training(table: pd.DataFrame, title: str = "") -> Figure:
    """Test error against density, one line for each pruner, one panel for each way to call trainings equal.

    Lines are means over samples, bands go from the least to the most. Errors are 1 − accuracy on a logarithmic axis.

    Args:
        table: columns `pruner`, `reading` (`last`: equally long last trainings, `total`: equally many steps in all),
            `density`, `accuracy`; the pruner `dense` is drawn as a line across both panels.
        title: of the figure.
    """
    figure = new_figure(9.5, 4.6)
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    panels = figure.subplots(1, 2, sharey=True)
    dense, pruned = table[table["pruner"] == "dense"], table[table["pruner"] != "dense"]
    names = list(dict.fromkeys(pruned["pruner"]))
    readings = {"last": "equally long last training", "total": "equally many steps in all trainings together"}
    for axes, (reading, words) in zip(panels, readings.items(), strict=True):
        label(axes, words, "weights remaining (density)", "test error" if axes is panels[0] else "")
        for index, name in enumerate(names):
            rows = pruned[(pruned["pruner"] == name) & (pruned["reading"] == reading)]
            errors = (1 - rows["accuracy"]).groupby(rows["density"].round(4)).agg(["mean", "min", "max"])
            color, marker = COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]
            axes.fill_between(errors.index, errors["min"], errors["max"], color=color, alpha=0.15, linewidth=0)
            axes.plot(errors.index, errors["mean"], color=color, marker=marker, markersize=6, label=name)
        if len(dense):
            axes.axhline(1 - dense["accuracy"].mean(), color=BASELINE_COLOR, linewidth=1, linestyle=":", label="dense")
        axes.set_xscale("log")
        _error_axis(axes)
        _density_ticks(axes, pruned["density"].round(4))
        axes.invert_xaxis()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=10, frameon=False, loc="outside lower center", ncols=4)
    return figure


def _error_axis(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(PLAIN)
    axes.yaxis.set_minor_locator(NullLocator())


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
