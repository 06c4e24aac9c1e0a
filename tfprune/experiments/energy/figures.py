"""What became of states and network over a run, and of several runs beside each other. Loads no TensorFlow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tfprune.experiments.energy import files
from tfprune.plots.style import (
    BASELINE_COLOR,
    COLORS,
    LINES,
    MARKERS,
    accuracy_axis,
    amounts,
    iteration_ticks,
    label,
    legend,
    message,
    new_figure,
)
from tfprune.records.metric_log import MetricLog
from tfprune.records.result import read_result, result_path

_ACCURACIES = {
    "train_accuracy": "training",
    "valid_accuracy": "validation, top 1",
    "valid_top3": "validation, top 3",
    "valid_top5": "validation, top 5",
}
_COSTS = {"edropout": "cost (−10 × margin of logits)", "ipruning": "cost (Ising energy)"}
_SIZES = {"kept": "fraction of the weights kept", "ms": "latency of a batch, compacted (ms)"}
_MODES = ("ising", "simple", "random")
_MOST_DROPS, _MOST_BLOCKS, _FEW_LAYERS, _IN_ROW = 12, 1000, 12, 3
_NAME_ROOM = 0.14  # inches that a name which stands upright takes


def draw_all(folder: Path, name: str) -> dict[str, Figure]:
    """The figures of a run, from its files.

    Args:
        folder: of the run.
        name: of the run.

    Returns:
        `costs` (where states were searched), `training`, `states` and `kept_filters`.

    Raises:
        InputError: a missing or damaged file.
    """
    log, result = MetricLog.read(folder / files.LOG), read_result(result_path(folder))
    settings = result.settings
    states, stretches = files.read_states(folder / f"states_{name}.npz")
    title = f"{settings['nnmodel']} on {Path(settings['dataset']).name or settings['dataset']}, {result.label}"
    searched = "best_cost" in log.names
    drawn = {"costs": draw_costs(log, title, _COSTS[settings["cost"]])} if searched else {}
    drawn |= {"training": draw_training(log, title), "states": draw_states(states, stretches, title)}
    # Of this layout, nothing reads the bits of the first layer and those of the classes.
    unread = {stretches[0][0], stretches[-1][0]} if settings["states"] == "current" else set()
    return drawn | {"kept_filters": draw_kept_filters(states[-1], stretches, title, unread)}


def draw_costs(log: MetricLog, title: str = "", cost: str = "cost") -> Figure:
    """Mean and least cost of the population after each batch, and below, its diversity, the mean of each epoch.

    Args:
        log: of a run that searched states.
        title: of the figure.
        cost: what the costs are, for their axis.
    """
    epoch = _steps_per_epoch(log)
    figure = new_figure(8, 6)
    upper, lower = figure.subplots(2, sharex=True, height_ratios=(2, 1))
    label(upper, title, y=cost)
    label(lower, x="epochs", y="diversity\n(fraction of bits)")
    for metric, what, color, width in (
        ("average_cost", "mean of the population", COLORS[5], 1.0),
        ("best_cost", "best state", COLORS[0], 1.8),
    ):
        steps, values = _series(log, metric)
        upper.plot((steps + 1) / epoch, values, color=color, linewidth=width, label=what)
    steps, values = _series(log, "diversity")
    lower.plot(steps / epoch, values, color=COLORS[2], **_marked(steps))
    lower.set_ylim(0, 1.1 * max(values.max(), 0.01))
    for axes in (upper, lower):
        _mark_frozen(axes, log)
    legend(upper)
    _epochs_axis(lower, steps[-1] / epoch)
    return figure


def draw_training(log: MetricLog, title: str = "") -> Figure:
    """Accuracy, and below, the fraction of the weights that the best state keeps, at the end of each epoch.

    Args:
        log: of a run.
        title: of the figure.
    """
    epoch = _steps_per_epoch(log)
    figure = new_figure(8, 6)
    upper, lower = figure.subplots(2, sharex=True, height_ratios=(2, 1))
    label(upper, title, y="accuracy")
    label(lower, x="epochs", y="weights kept")
    for index, (metric, what) in enumerate(_ACCURACIES.items()):
        steps, values = _series(log, metric)
        look = {"color": COLORS[min(index, 1)], "linestyle": LINES[max(0, index - 1)]}
        upper.plot(steps / epoch, values, **look, **_marked(steps), label=what)
    steps, values = _series(log, "best_kept")
    lower.plot(steps / epoch, values, color=COLORS[0], **_marked(steps))
    lower.set_ylim(0, 1.05)
    lower.yaxis.set_major_formatter(PercentFormatter(1, 0, " %"))
    accuracy_axis(upper)
    steps, rates = _series(log, "lr")
    drops = [before / epoch for before, drop in zip(steps, ~np.isclose(rates[1:], rates[:-1]), strict=False) if drop]
    for axes in (upper, lower):
        # A rate that falls all the time would cover the panel.
        for drop in drops if len(drops) <= _MOST_DROPS else ():
            axes.axvline(drop, color=BASELINE_COLOR, linewidth=0.8, linestyle=":", label="learning rate falls")
        _mark_frozen(axes, log)
    shown = dict(zip(*reversed(upper.get_legend_handles_labels()), strict=True))
    figure.legend(shown.values(), shown, fontsize=10, frameon=False, loc="outside lower center", ncols=3)
    _epochs_axis(lower, log.end / epoch)
    return figure


def draw_states(states: np.ndarray, stretches: list[tuple[str, int]], title: str = "") -> Figure:
    """The best state after each epoch: epochs down, bits along, dark where a bit is on.

    More epochs or bits than there are pixels are drawn in blocks, as the fraction of each that is on.

    Args:
        states: bool (epochs, D).
        stretches: name and number of bits of each layer.
        title: of the figure.
    """
    epochs, bits = states.shape
    figure = new_figure(10, 5.5)
    axes = label(figure.subplots(), title, f"bits ({bits:,})", "epoch", grid=False)
    image = _blocks(_blocks(states.astype(np.float32), 0, _MOST_BLOCKS // 2), 1, _MOST_BLOCKS)
    whole = image.shape == states.shape
    how = {"cmap": amounts(1 if whole else None), "vmin": 0, "vmax": 1, "aspect": "auto", "interpolation": "nearest"}
    shown = axes.imshow(image, **how, extent=(0, bits, epochs + 0.5, 0.5))
    axes.yaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.spines[["top", "right"]].set_visible(True)
    bar = figure.colorbar(shown, fraction=0.03, pad=0.01)
    if whole:
        bar.set_ticks([0.25, 0.75], labels=["off", "on"])
    else:
        bar.set_label("fraction of bits on", fontsize=11)
    ends = np.cumsum([size for _, size in stretches])
    for end in ends[:-1] if len(ends) <= _FEW_LAYERS else ():  # more lines would cover the bits
        axes.axvline(end, color=COLORS[1], linewidth=1)
    centres = ends - np.array([size for _, size in stretches]) / 2
    named = _with_room(centres, [size for _, size in stretches], bits * _NAME_ROOM / 8.8)
    names = axes.secondary_xaxis("top")
    names.set_xticks(centres[named], [stretches[index][0] for index in named], rotation=90, fontsize=8)
    names.set_xticks(ends[:-1], minor=True)
    names.tick_params(length=2)
    names.tick_params(which="minor", length=5, color=COLORS[1])
    return figure


def draw_kept_filters(
    state: np.ndarray,
    stretches: list[tuple[str, int]],
    title: str = "",
    unread: frozenset[str] | set[str] = frozenset(),
) -> Figure:
    """How many filters of each layer a state keeps, of dense layers: how many inputs; bars are fractions.

    Args:
        state: bool (D,).
        stretches: name and number of bits of each layer.
        title: of the figure.
        unread: layers whose bits change nothing, and are left out.
    """
    starts = np.cumsum([0, *(size for _, size in stretches)])
    rows = [
        (name, int(state[start : start + size].sum()), size)
        for start, (name, size) in zip(starts, stretches, strict=False)
        if name not in unread
    ]
    names, kept, sizes = zip(*rows, strict=True)
    few = len(rows) <= _FEW_LAYERS
    figure = new_figure(max(8.0, 0.17 * len(rows) + 1.5), 5)
    axes = label(figure.subplots(), title, y="fraction of filters kept\n(dense layers: of inputs)")
    places = np.arange(len(rows))
    axes.bar(places, np.ones(len(rows)), 0.8, color="#E3E3E3", label="all")
    axes.bar(places, np.divide(kept, sizes), 0.8, color=COLORS[0], label="kept")
    for place, one, size in zip(places, kept, sizes, strict=True):
        text = f"{one} / {size}" if few else f"{one}/{size}"
        how = {"fontsize": 10} if few else {"fontsize": 7.5, "rotation": 90}
        # A layer of which nothing is left cuts the network.
        axes.text(place, 1.01, text, ha="center", va="bottom", color="black" if one else COLORS[1], **how)
    axes.set_xticks(places, names, **({} if few else {"rotation": 90, "fontsize": 8}))
    axes.set_xlim(-0.7, len(rows) - 0.3)
    axes.set_ylim(0, 1.08 if few else 1.27)
    axes.set_yticks(np.linspace(0, 1, 5))
    axes.grid(False, axis="x")
    return figure


def draw_comparison(table: pd.DataFrame, size: str = "kept") -> Figure:
    """Test accuracy of several runs against what is left of the network; a panel for each network and data set.

    A small marker is a run, a large hollow one the mean of those of its mode.

    Args:
        table: columns `dataset`, `network`, `mode` (`ising`, `simple` or `random`), `seed`, `accuracy` and that of
            `size`.
        size: the column of the horizontal axis: `kept`, fraction of the weights, or `ms`, latency.
    """
    groups = list(table.groupby(["dataset", "network"], sort=False)) if len(table) else []
    columns = max(1, min(_IN_ROW, len(groups)))
    rows = max(1, -(-len(groups) // columns))
    figure = new_figure(6.5 if columns == 1 else 4.4 * columns, 4 * rows + 0.4)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    if not groups:
        message(label(panels[0], "", _SIZES.get(size, size), "test accuracy"), "no finished run")
    for index, (axes, ((dataset, network), part)) in enumerate(zip(panels, groups, strict=False)):
        label(axes, f"{network} on {dataset}", _SIZES.get(size, size), "" if index % columns else "test accuracy")
        for mode, runs in part.groupby("mode", sort=False):
            at = _MODES.index(mode)
            look = {"color": COLORS[at], "marker": MARKERS[at], "linestyle": ""}
            axes.plot(runs[size], runs["accuracy"], **look, markersize=5, markeredgecolor="white")
            mean = {"markersize": 15, "markerfacecolor": "none", "markeredgewidth": 1.8}
            axes.plot(runs[size].mean(), runs["accuracy"].mean(), **look, **mean, label=f"{mode} (mean)")
        axes.margins(0.12)
        accuracy_axis(axes)
    for axes in panels[len(groups) :] if groups else ():
        axes.set_axis_off()
    shown = {text: line for axes in panels for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    if shown:
        how = {"fontsize": 10, "frameon": False, "loc": "outside lower center", "ncols": 3}
        figure.legend(shown.values(), shown, **how)
    return figure


def _steps_per_epoch(log: MetricLog) -> int:
    return log.get("train_loss")[0][0]


def _series(log: MetricLog, metric: str) -> tuple[np.ndarray, np.ndarray]:
    steps, values = zip(*log.get(metric), strict=True)
    return np.array(steps), np.array(values)


def _marked(points) -> dict:
    """A line, with markers where they do not run into each other."""
    return {"linewidth": 1.8, "marker": "o" if len(points) <= 25 else None, "markersize": 5}


def _epochs_axis(axes: Axes, end: float) -> None:
    axes.set_xlim(0, 1.02 * end)
    iteration_ticks(axes)


def _mark_frozen(axes: Axes, log: MetricLog) -> None:
    """A line where the state was frozen, which it stays for the rest of an epoch and of the run."""
    epoch = _steps_per_epoch(log)
    at = next((step - share * epoch for step, share in log.get("frozen") if share > 0), None)
    if at is not None:
        axes.axvline(at / epoch, color=COLORS[3], linewidth=1.5, linestyle="--", label="state frozen")


def _blocks(values: np.ndarray, axis: int, most: int) -> np.ndarray:
    """Means of at most `most` blocks along an axis, all of the same length up to one."""
    edges = np.linspace(0, values.shape[axis], min(most, values.shape[axis]) + 1).astype(int)
    sizes = np.expand_dims(np.diff(edges), 1 - axis)
    return np.add.reduceat(values, edges[:-1], axis) / sizes


def _with_room(centres: np.ndarray, sizes: list[int], room: float) -> list[int]:
    """Indices of what can be named, the largest first, so that names are at least `room` apart."""
    chosen: list[int] = []
    for index in np.argsort(sizes, kind="stable")[::-1]:
        if all(abs(centres[index] - centres[other]) >= room for other in chosen):
            chosen.append(int(index))
    return sorted(chosen)
