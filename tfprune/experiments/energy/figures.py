"""What became of states and network over a run, and of several runs beside each other. Loads no TensorFlow."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tfprune.experiments.energy import files
from tfprune.plots import style
from tfprune.plots.style import COLORS, label
from tfprune.records.metric_log import MetricLog
from tfprune.records.result import read_result, result_path

_ACCURACIES = {
    "train_accuracy": ("training", COLORS[0], "-"),
    "valid_accuracy": ("validation, top 1", COLORS[1], "-"),
    "valid_top3": ("validation, top 3", COLORS[1], "--"),
    "valid_top5": ("validation, top 5", COLORS[1], ":"),
}
_COSTS = {"edropout": "cost (-10 · margin of logits)", "ipruning": "cost (Ising energy)"}
_SIZES = {"kept": "fraction of the weights kept", "ms": "latency of a batch, compacted (ms)"}
_MOST_DROPS, _MOST_POINTS, _MOST_BLOCKS, _FEW_LAYERS, _IN_ROW = 12, 25, 1000, 12, 3
_NAME_ROOM = 0.016  # of the width of the states' image: what an upright name takes


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
    states, stretches = files.read_states(folder / f"states_{name}.npz")
    settings = result.settings
    title = f"{settings['nnmodel']} on {Path(settings['dataset']).name or settings['dataset']}, {result.label}"
    searched = "best_cost" in log.names
    drawn = {"costs": draw_costs(log, title, _COSTS[settings["cost"]])} if searched else {}
    drawn |= {"training": draw_training(log, title), "states": draw_states(states, stretches, title)}
    # Of this layout, nothing reads the bits of the first layer and those of the classes.
    unread = (stretches[0][0], stretches[-1][0]) if settings["states"] == "current" else ()
    return drawn | {"kept_filters": draw_kept_filters(states[-1], stretches, title, unread)}


def draw_costs(log: MetricLog, title: str = "", cost: str = "cost") -> Figure:
    """Mean and least cost of the population after each batch, and below, its diversity, the mean of each epoch.

    Args:
        log: of a run that searched states.
        title: of the figure.
        cost: what the costs are, for their axis.
    """
    figure, upper, lower = _two_panels(log, title, cost, "diversity\n(fraction of bits)")
    _line(upper, log, "average_cost", label="mean of the population", color=COLORS[5], linewidth=1)
    _line(upper, log, "best_cost", label="best state", color=COLORS[0])
    _line(lower, log, "diversity", color=COLORS[2])
    lower.set_ylim(0, 1.1 * max(*log.values("diversity"), 0.01))
    _mark_frozen(log, upper, lower)
    style.legend(upper)
    return figure


def draw_training(log: MetricLog, title: str = "") -> Figure:
    """Accuracy, and below, the fraction of the weights that the best state keeps, at the end of each epoch.

    Args:
        log: of a run.
        title: of the figure.
    """
    figure, upper, lower = _two_panels(log, title, "accuracy", "weights kept")
    for metric, (what, color, kind) in _ACCURACIES.items():
        _line(upper, log, metric, label=what, color=color, linestyle=kind)
    style.accuracy_axis(upper)
    _line(lower, log, "best_kept", color=COLORS[0])
    lower.set_ylim(0, 1.05)
    lower.yaxis.set_major_formatter(PercentFormatter(1, 0, " %"))
    drops = [at for (at, rate), (_, after) in pairwise(log.get("lr")) if not np.isclose(rate, after)]
    for drop in drops if len(drops) <= _MOST_DROPS else ():  # one that falls all the time would cover the panels
        how = {"color": style.BASELINE_COLOR, "linewidth": 0.8, "linestyle": ":", "label": "learning rate falls"}
        upper.axvline(drop / _steps_per_epoch(log), **how)
        lower.axvline(drop / _steps_per_epoch(log), **how)
    _mark_frozen(log, upper, lower)
    _legend_below(figure)
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
    figure = style.new_figure(10, 5.5)
    axes = label(figure.subplots(), title, f"bits ({bits:,})", "epoch", grid=False)
    image = _blocks(_blocks(states.astype(np.float32), 0, _MOST_BLOCKS // 2), 1, _MOST_BLOCKS)
    whole = image.shape == states.shape
    how = {"vmin": 0, "vmax": 1, "aspect": "auto", "interpolation": "nearest", "extent": (0, bits, epochs + 0.5, 0.5)}
    shown = axes.imshow(image, cmap=style.amounts(1 if whole else None), **how)
    axes.yaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.spines[["top", "right"]].set_visible(True)
    bar = figure.colorbar(shown, fraction=0.03, pad=0.01)
    if whole:
        bar.set_ticks([0.25, 0.75], labels=["off", "on"])
    else:
        bar.set_label("fraction of bits on", fontsize=11)
    sizes = np.array([size for _, size in stretches])
    ends = np.cumsum(sizes)
    for end in ends[:-1] if len(ends) <= _FEW_LAYERS else ():  # more lines would cover the bits
        axes.axvline(end, color=COLORS[1], linewidth=1)
    centres = ends - sizes / 2
    named = _with_room(centres, sizes, bits * _NAME_ROOM)
    names = axes.secondary_xaxis("top")
    names.set_xticks(centres[named], [stretches[index][0] for index in named], rotation=90, fontsize=8)
    names.set_xticks(ends[:-1], minor=True)
    names.tick_params(length=2, pad=6)
    names.tick_params(which="minor", length=5, color=COLORS[1])
    return figure


def draw_kept_filters(
    state: np.ndarray, stretches: list[tuple[str, int]], title: str = "", unread: Collection[str] = ()
) -> Figure:
    """How many filters of each layer a state keeps, of dense layers: how many inputs; bars are fractions.

    Args:
        state: bool (D,).
        stretches: name and number of bits of each layer.
        title: of the figure.
        unread: layers whose bits change nothing, and are left out.
    """
    parts = np.split(state, np.cumsum([size for _, size in stretches])[:-1])
    layers = [(name, part) for (name, _), part in zip(stretches, parts, strict=True) if name not in unread]
    names, few = [name for name, _ in layers], len(layers) <= _FEW_LAYERS
    figure = style.new_figure(max(8.0, 0.17 * len(layers) + 1.5), 5)
    axes = label(figure.subplots(), title, y="fraction of filters kept\n(dense layers: of inputs)")
    axes.bar(range(len(layers)), 1, color="#E3E3E3")
    axes.bar(range(len(layers)), [part.mean() for _, part in layers], color=COLORS[0])
    for place, (_, part) in enumerate(layers):
        how = {"fontsize": 10} if few else {"fontsize": 7.5, "rotation": 90}
        color = "black" if part.any() else COLORS[1]  # a layer of which nothing is left cuts the network
        axes.text(place, 1.01, f"{part.sum()}/{len(part)}", ha="center", va="bottom", color=color, **how)
    upright = len(names) * max(map(len, names)) > 80
    axes.set_xticks(range(len(names)), names, **({"rotation": 90, "fontsize": 8} if upright else {}))
    axes.set(xlim=(-0.7, len(layers) - 0.3), ylim=(0, 1.08 if few else 1.27), yticks=np.linspace(0, 1, 5))
    axes.grid(False, axis="x")
    return figure


def draw_comparison(table: pd.DataFrame, size: str = "kept") -> Figure:
    """Test accuracy of several runs against what is left of the network; a panel for each network and data set.

    A small marker is a run, a large hollow one the mean of those of its mode.

    Args:
        table: columns `dataset`, `network`, `mode` (how it was trained), `accuracy` and that of `size`; a row for each
            seed.
        size: the column of the horizontal axis: `kept`, fraction of the weights, or `ms`, latency.
    """
    groups = list(table.groupby(["dataset", "network"], sort=False))
    columns = max(1, min(_IN_ROW, len(groups)))
    rows = max(1, -(-len(groups) // columns))
    figure = style.new_figure(6.5 if columns == 1 else 4.4 * columns, 4 * rows + 0.4)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    if not groups:
        style.message(label(panels[0], "", _SIZES[size], "test accuracy"), "no finished run")
    modes = list(dict.fromkeys(table["mode"]))
    for index, (axes, ((dataset, network), part)) in enumerate(zip(panels, groups, strict=False)):
        label(axes, f"{network} on {dataset}", _SIZES[size], "" if index % columns else "test accuracy")
        for mode, runs in part.groupby("mode", sort=False):
            at = modes.index(mode)
            color, marker = COLORS[at % len(COLORS)], style.MARKERS[(at + at // len(COLORS)) % len(style.MARKERS)]
            look = {"color": color, "marker": marker, "linestyle": ""}
            axes.plot(runs[size], runs["accuracy"], **look, markersize=5, markeredgecolor="white")
            mean = {"markersize": 15, "markerfacecolor": "none", "markeredgewidth": 1.8, "label": f"{mode}, mean"}
            axes.plot(runs[size].mean(), runs["accuracy"].mean(), **look, **mean)
        axes.margins(0.12)
        style.accuracy_axis(axes)
    for axes in panels[max(1, len(groups)) :]:
        axes.set_axis_off()
    _legend_below(figure)
    return figure


def _two_panels(log: MetricLog, title: str, upper_label: str, lower_label: str) -> tuple[Figure, Axes, Axes]:
    """Empty panels over epochs, the upper one larger."""
    figure = style.new_figure(8, 6)
    upper, lower = figure.subplots(2, sharex=True, height_ratios=(2, 1))
    label(upper, title, y=upper_label)
    label(lower, x="epochs", y=lower_label)
    lower.set_xlim(0, 1.02 * log.end / _steps_per_epoch(log))
    style.iteration_ticks(lower)
    return figure, upper, lower


def _mark_frozen(log: MetricLog, *panels: Axes) -> None:
    """A line after the batch in which the state was frozen, which it stays for the rest of the epoch and the run."""
    epoch = _steps_per_epoch(log)
    frozen = next((end - round(share * epoch) + 1 for end, share in log.get("frozen") if share > 0), None)
    for axes in panels if frozen is not None else ():
        axes.axvline(frozen / epoch, color=COLORS[3], linewidth=1.5, linestyle="--", label="state frozen")


def _line(axes: Axes, log: MetricLog, metric: str, **look) -> None:
    """Values over epochs; those of every batch are numbered from 0, others by the batches done."""
    steps, values = zip(*log.get(metric), strict=True)
    done = np.array(steps) + (1 if steps[0] == 0 else 0)
    marker = "o" if len(steps) <= _MOST_POINTS else None
    axes.plot(done / _steps_per_epoch(log), values, **{"linewidth": 1.8, "marker": marker, "markersize": 5, **look})


def _steps_per_epoch(log: MetricLog) -> int:
    return log.get("train_loss")[0][0]


def _legend_below(figure: Figure) -> None:
    """One entry for each label of all panels."""
    shown = {text: line for axes in figure.axes for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    if shown:
        how = {"loc": "outside lower center", "ncols": 4 if len(shown) == 4 else 3, "fontsize": 10, "frameon": False}
        figure.legend(shown.values(), shown, **how)


def _blocks(values: np.ndarray, axis: int, most: int) -> np.ndarray:
    """Means of at most `most` blocks along an axis, all of the same length up to one."""
    edges = np.linspace(0, values.shape[axis], min(most, values.shape[axis]) + 1).astype(int)
    return np.add.reduceat(values, edges[:-1], axis) / np.expand_dims(np.diff(edges), 1 - axis)


def _with_room(centres: np.ndarray, sizes: np.ndarray, room: float) -> list[int]:
    """Indices of what can be named, the largest first, so that names are at least `room` apart."""
    chosen: list[int] = []
    for index in np.argsort(-sizes, kind="stable").tolist():
        if all(abs(centres[index] - centres[other]) >= room for other in chosen):
            chosen.append(index)
    return sorted(chosen)
