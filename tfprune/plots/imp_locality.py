"""Figures of where a layer's connections are: locality maps, numbers of connections per unit and per input pixel.

Figures of Pellegrini & Biroli 2021 (arXiv 2104.13343); the counting is in `tfprune.plots.locality`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from tfprune.plots import style
from tfprune.plots.locality import ConnectionGroup, LocalityMaps

_NO_PAIRS = "no unit has two connections"
_NAMES = ("same channel, $S^{sc}$", "different channels, $S^{dc}$")


def locality_figure(maps: LocalityMaps, random: LocalityMaps | None = None, title: str = "") -> Figure:
    """S^sc(d) and S^dc(d) as images on a logarithmic colour scale.

    Args:
        maps: counts of displacements.
        random: expectation for random connections; if given, the maps are shown relative to it, so that the shape of
            the image (small displacements fit in at more positions) drops out.
        title: of the whole figure.
    """
    shown = [values for values in _relative(maps, random) if values is not None]
    figure = style.new_figure(5.2 * len(shown) + 0.6, 4.6)
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    if title:
        figure.suptitle(title, fontsize=12)
    norm = _log_norm(shown)
    for axes, values, name in zip(panels, shown, _NAMES, strict=False):
        if norm is None:
            style.message(style.label(axes, name, grid=False), _NO_PAIRS)
            continue
        image = _draw_map(axes, values, norm, name)
        # What the white pixel in the middle of S^sc means is said once, here.
        heading = f"{name} (self-pairs left out)" if name == _NAMES[0] else name
        style.label(axes, heading, "Δx (pixels)", "Δy (pixels)", grid=False)
    if norm is not None:
        what = "pairs of connections" if random is None else "pairs / expected at random"
        _colorbar(figure, image, panels, what)
    return figure


def locality_by_connections_figure(groups: Sequence[ConnectionGroup], title: str = "") -> Figure:
    """S^sc(d) (upper row) and S^dc(d) (lower row) for units with few to many connections, in pairs per unit.

    Args:
        groups: from `locality_by_connections`.
        title: of the whole figure.
    """
    if not groups:
        figure = style.new_figure(6, 3)
        style.message(style.label(figure.add_subplot(), title, grid=False), _NO_PAIRS)
        return figure
    rows = 1 if groups[0].maps.different_channel is None else 2
    figure = style.new_figure(3.4 * len(groups) + 1.4, 3.3 * rows + 0.6)
    panels = figure.subplots(rows, len(groups), squeeze=False, sharex=True, sharey=True)
    if title:
        figure.suptitle(title, fontsize=12)
    for column, group in enumerate(groups):
        # Groups differ by orders of magnitude in pairs: each has its own scale, shared by its two maps.
        maps = [values / len(group.units) for values in group.maps if values is not None]
        norm = _log_norm(maps)
        for row, values in enumerate(maps):
            axes = panels[row, column]
            image = _draw_map(axes, values, norm, _NAMES[row])
            span = f"{group.fewest}" if group.fewest == group.most else f"{group.fewest} to {group.most}"
            heading = f"{span} connections\n({_units(len(group.units))})" if row == 0 else ""
            left = f"{_NAMES[row]}\nΔy (pixels)" if column == 0 else ""
            style.label(axes, heading, "Δx (pixels)" if row == rows - 1 else "", left, grid=False)
            axes.title.set_fontsize(11)
        _colorbar(figure, image, panels[:, column], "pairs per unit" if column == len(groups) - 1 else "")
    return figure


def connections_histogram(connections: np.ndarray, inputs: int, title: str = "") -> Figure:
    """Histogram of the number of connections per unit.

    Args:
        connections: (units,) number of connections; units without any are counted in the legend, not drawn.
        inputs: number of inputs of the layer, the largest possible number of connections.
        title: of the figure.
    """
    connections = np.asarray(connections)
    live = connections[connections > 0]
    figure = style.new_figure(7.5, 4.5)
    axes = style.label(figure.add_subplot(), title or "Connections per unit", "connections of a unit", "units")
    if not len(live):
        style.message(axes, f"all {_units(len(connections))} have lost all connections")
        return figure
    spread = live.max() >= 30 * live.min()
    low, high = int(live.min()), int(live.max())
    if spread:
        # Edges halfway between whole numbers, none closer than one connection.
        edges = np.unique(np.floor(np.geomspace(low, high + 1, 36))) - 0.5
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(style.PLAIN)
    else:
        step = max(1, -(-(high + 1 - low) // 40))
        edges = np.arange(low, high + step + 1, step) - 0.5
    dead = len(connections) - len(live)
    name = f"{_units(len(live))} with connections"
    axes.hist(live, bins=edges, color=style.COLORS[0], edgecolor="white", linewidth=0.5, label=name)
    mean = live.mean()
    axes.axvline(mean, color=style.COLORS[1], linestyle="--", label=f"mean {mean:.1f} of {inputs} inputs")
    if dead:
        axes.plot([], [], " ", label=f"{_units(dead)} without (not shown)")
    axes.margins(y=0.22)  # room for the legend
    if not spread:
        axes.set_xlim(low - 2 * step - 0.5, high + 2 * step + 0.5)
        axes.xaxis.get_major_locator().set_params(integer=True)
    axes.yaxis.get_major_locator().set_params(integer=True)
    style.legend(axes, loc="best")
    return figure


def input_connections_figure(mask: np.ndarray, image_shape: tuple[int, int, int], title: str = "") -> Figure:
    """Number of units connected to each input pixel, as an image for each channel, and in colour if there are three.

    Args:
        mask: (c·h·w, units).
        image_shape: (c, h, w).
        title: of the whole figure.
    """
    counts = np.count_nonzero(mask, axis=1).reshape(image_shape)
    channels = image_shape[0]
    colour = channels == 3
    panels_in_row = min(4, channels + colour)
    rows = -(-(channels + colour) // panels_in_row)
    figure = style.new_figure(3.4 * panels_in_row + 1.2, 3.3 * rows + 0.5)
    panels = figure.subplots(rows, panels_in_row, squeeze=False).ravel()
    if title:
        figure.suptitle(title, fontsize=12)
    names = ("red", "green", "blue") if colour else [f"channel {i + 1}" for i in range(channels)]
    norm = Normalize(0, max(1, counts.max()))
    for axes, values, name in zip(panels, counts, names, strict=False):
        image = style.picture(axes, values, name if channels > 1 else "", cmap=style.SEQUENTIAL, norm=norm)
    bar = figure.colorbar(image, ax=list(panels[:channels]), shrink=0.9, pad=0.02)
    bar.set_label("connected units", fontsize=11)
    bar.ax.yaxis.get_major_locator().set_params(integer=True)
    if colour:
        style.picture(panels[3], counts.transpose(1, 2, 0) / norm.vmax, f"all channels (1.0 = {norm.vmax:.0f} units)")
    for axes in panels[channels + colour :]:
        axes.set_axis_off()
    return figure


def _relative(maps: LocalityMaps, random: LocalityMaps | None) -> list[np.ndarray | None]:
    """Counts, or counts over their expectation where that isn't 0."""
    if random is None:
        return [None if values is None else values.astype(np.float64) for values in maps]
    return [
        None if values is None else np.divide(values, expected, out=np.zeros(values.shape), where=expected > 0)
        for values, expected in zip(maps, random, strict=True)
    ]


def _log_norm(maps: Sequence[np.ndarray]) -> LogNorm | None:
    """One logarithmic scale for several maps; None if nothing is positive."""
    values = np.concatenate([m.ravel() for m in maps])
    values = values[values > 0]
    if not len(values):
        return None
    # At most four decades: the rare largest displacements would take most of the colours otherwise.
    low, high = max(values.min(), values.max() * 1e-4), values.max()
    return LogNorm(low, high) if high > low else LogNorm(low / 2, high * 2)


def _draw_map(axes, values: np.ndarray, norm: LogNorm, name: str):
    """A map with displacement 0 in the middle; displacements that don't occur are black, S^sc(0) is left white."""
    height, width = (n // 2 for n in values.shape)
    cmap = colormaps[style.SEQUENTIAL].with_extremes(under="black", bad="white")
    shown = values.copy()
    if name == _NAMES[0]:
        shown[height, width] = np.nan
    # LogNorm takes 0 for "bad"; just below the scale instead.
    shown[shown == 0] = norm.vmin / 10
    extent = (-width - 0.5, width + 0.5, height + 0.5, -height - 0.5)
    return axes.imshow(shown, cmap=cmap, norm=norm, extent=extent, interpolation="nearest", aspect="equal")


def _colorbar(figure: Figure, image, panels, text: str) -> None:
    bar = figure.colorbar(image, ax=list(panels), shrink=0.85, pad=0.02)
    bar.set_label(text, fontsize=11)
    bar.ax.tick_params(labelsize=9)
    if image.norm.vmax < 30 * image.norm.vmin:
        # Powers of ten alone are too few here.
        bar.ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        bar.ax.yaxis.set_major_formatter(style.PLAIN)
        bar.ax.yaxis.set_minor_formatter(NullFormatter())


def _units(count: int) -> str:
    return f"{count} unit" if count == 1 else f"{count} units"
