"""A metric against the sparsity of one layer at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from tfprune.plots import style

MOST_LINES = 12


def sensitivity_figure(
    metric: str,
    baseline: float,
    sparsities: Sequence[float],
    values: Mapping[str, Sequence[float]],
    reached: Mapping[str, Sequence[float]],
) -> Figure:
    """A curve for each layer, from dark at the input to light at the output; a picture where there are many layers.

    Args:
        metric: its name.
        baseline: of the whole model.
        sparsities: those asked for, columns of a picture.
        values: layer -> the metric at each.
        reached: layer -> what sparsity each really is, along the axis of curves.
    """
    if len(values) > MOST_LINES:
        return _picture(metric, baseline, sparsities, values)
    figure = style.new_figure(7.5, 4.5)
    axes = style.label(figure.subplots(), "One layer pruned at a time", "sparsity of the layer", metric)
    axes.axhline(baseline, color=style.BASELINE_COLOR, linewidth=1.2, linestyle="--", label="nothing pruned")
    for number, (layer, color) in enumerate(zip(values, style.sequence_colors(len(values)), strict=True)):
        x, y = [0.0, *reached[layer]], [baseline, *values[layer]]
        order = np.argsort(x, kind="stable")
        marker = style.MARKERS[number % len(style.MARKERS)]
        axes.plot(np.take(x, order), np.take(y, order), color=color, marker=marker, markersize=5, label=layer)
    axes.set_xlim(0, 1)
    if metric == "accuracy":
        style.accuracy_axis(axes)
    style.legend(axes, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _picture(metric: str, baseline: float, sparsities: Sequence[float], values: Mapping) -> Figure:
    figure = style.new_figure(2.5 + 0.6 * len(sparsities) + 3, 1.4 + 0.24 * len(values))
    axes = figure.subplots()
    shown = style.picture(axes, np.array(list(values.values())), "One layer pruned at a time", aspect="auto")
    shown.set_cmap(style.SEQUENTIAL)
    axes.set_xticks(range(len(sparsities)), [f"{sparsity:g}" for sparsity in sparsities], fontsize=10)
    axes.set_yticks(range(len(values)), list(values), fontsize=9)
    axes.set_xlabel("sparsity of the layer", fontsize=11)
    figure.colorbar(shown, ax=axes, label=f"{metric} ({baseline:.4g} with nothing pruned)")
    return figure
