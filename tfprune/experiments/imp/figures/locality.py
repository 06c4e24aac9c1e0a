"""Figures of where a layer's connections are: locality maps, numbers of connections per unit and per input pixel.

Figures of Pellegrini & Biroli 2021 (arXiv 2104.13343); the counting is in `autocorrelation`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator

from tfprune.experiments.imp.figures.autocorrelation import ConnectionGroup, LocalityMaps, random_locality_maps
from tfprune.plots import style

_NO_PAIRS = "no unit has two connections"
_NAMES = ("pairs within a channel, $S^{sc}$", "pairs between channels, $S^{dc}$")
_MEANING = (
    "Δx, Δy: from one connection of a unit to another of the same unit.\n"
    "White: no pair lies like this (within a channel none can lie at 0, 0)."
)
_CHANNELS = ("red channel", "green channel", "blue channel")
_MOST = 10.0  # times as often, or as rarely, as at random: where the colours of ratios end


def locality_figure(maps: LocalityMaps, random: LocalityMaps | None = None, title: str = "") -> Figure:
    """S^sc(d) and S^dc(d) as images on a logarithmic colour scale.

    Args:
        maps: counts of displacements.
        random: expectation for random connections; if given, the maps are shown relative to it, so that the shape of
            the image (small displacements fit in at more positions) drops out: in colours that part at 1.
        title: of the whole figure.
    """
    shown = [values for values in _relative(maps, random) if values is not None]
    figure = style.new_figure(5.2 * len(shown) + 0.6, 5.0)
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    if title:
        figure.suptitle(title, fontsize=12)
    norm = _log_norm(shown) if random is None else _ratio_norm(shown)
    for axes, values, name in zip(panels, shown, _NAMES, strict=False):
        if norm is None:
            style.message(style.label(axes, name, grid=False), _NO_PAIRS)
            continue
        image = _draw_map(axes, values, norm, random is not None)
        _label_map(axes, name, "Δx (pixels)", "Δy (pixels)" if axes is panels[0] else "")
    if norm is not None:
        figure.supxlabel(_MEANING, fontsize=9)
        if random is None:
            _colorbar(figure, image, panels, "pairs of connections")
        else:
            _ratio_colorbar(figure, image, panels)
    return figure


def locality_by_connections_figure(
    groups: Sequence[ConnectionGroup], image_shape: tuple[int, int, int], title: str = ""
) -> Figure:
    """S^sc(d) (upper row) and S^dc(d) (lower row) for units with few to many connections, relative to random ones.

    Groups differ by orders of magnitude in pairs; relative to as many pairs at random they all have one scale.

    Args:
        groups: from `locality_by_connections`.
        image_shape: (c, h, w).
        title: of the whole figure.
    """
    if not groups:
        figure = style.new_figure(6, 3)
        style.message(style.label(figure.add_subplot(), title, grid=False), _NO_PAIRS)
        return figure
    rows = 1 if groups[0].maps.different_channel is None else 2
    figure = style.new_figure(3.1 * len(groups) + 1.4, 3.2 * rows + 0.9)
    panels = figure.subplots(rows, len(groups), squeeze=False, sharex=True, sharey=True)
    if title:
        figure.suptitle(title, fontsize=12)
    maps = [_relative(group.maps, _as_many_at_random(group.maps, image_shape)) for group in groups]
    norm = _ratio_norm([values for both in maps for values in both if values is not None])
    for column, (group, both) in enumerate(zip(groups, maps, strict=True)):
        for row, values in enumerate(both[:rows]):
            axes = panels[row, column]
            image = _draw_map(axes, values, norm, True)
            span = f"{group.fewest}" if group.fewest == group.most else f"{group.fewest} to {group.most}"
            heading = f"{span} connections\n({_units(len(group.units))})" if row == 0 else ""
            left = f"{_NAMES[row]}\nΔy (pixels)" if column == 0 else ""
            _label_map(axes, heading, "Δx (pixels)" if row == rows - 1 else "", left)
            axes.yaxis.label.set_fontsize(10)
    figure.supxlabel(_MEANING, fontsize=9)
    _ratio_colorbar(figure, image, panels.ravel())
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
        axes.set_xlim(max(0, low - 2 * step) - 0.5, high + 2 * step + 0.5)
        axes.xaxis.get_major_locator().set_params(integer=True)
    axes.yaxis.get_major_locator().set_params(integer=True)
    style.legend(axes, loc="best")
    return figure


def input_connections_figure(mask: np.ndarray, image_shape: tuple[int, int, int], title: str = "") -> Figure:
    """Number of units connected to each input pixel, as an image for each channel, all on one scale.

    Args:
        mask: (c·h·w, units).
        image_shape: (c, h, w).
        title: of the whole figure.
    """
    counts = np.count_nonzero(mask, axis=1).reshape(image_shape)
    channels = image_shape[0]
    panels_in_row = min(4, channels)
    rows = -(-channels // panels_in_row)
    figure = style.new_figure(3.4 * panels_in_row + 1.2, 3.3 * rows + 0.5)
    panels = figure.subplots(rows, panels_in_row, squeeze=False).ravel()
    if title:
        figure.suptitle(title, fontsize=12)
    names = _CHANNELS if channels == 3 else [f"channel {i + 1}" for i in range(channels)]
    norm = Normalize(0, max(1, counts.max()))
    for axes, values, name in zip(panels, counts, names, strict=False):
        image = style.picture(axes, values, name if channels > 1 else "", cmap=style.SEQUENTIAL, norm=norm)
    bar = figure.colorbar(image, ax=list(panels[:channels]), shrink=0.9, pad=0.02)
    bar.set_label("connected units", fontsize=11)
    bar.ax.yaxis.get_major_locator().set_params(integer=True)
    for axes in panels[channels:]:
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


def _ratio_norm(maps: Sequence[np.ndarray]) -> LogNorm | None:
    """A logarithmic scale with 1 in its middle; None if nothing is positive. Rare pairs beyond `_MOST` are cut."""
    values = np.concatenate([m.ravel() for m in maps])
    values = values[values > 0]
    if not len(values):
        return None
    span = float(np.clip(max(values.max(), 1 / values.min()), 2.0, _MOST))
    return LogNorm(1 / span, span)


def _as_many_at_random(maps: LocalityMaps, image_shape: tuple[int, int, int]) -> LocalityMaps:
    """What as many pairs would be at random: whatever units they come from, each is a random pair of inputs."""
    two = random_locality_maps([2], image_shape)
    return LocalityMaps(*(None if values is None else values * (maps.pairs / two.pairs) for values in two))


def _draw_map(axes, values: np.ndarray, norm: LogNorm, two_sided: bool):
    """A map with displacement 0 in the middle; displacements that don't occur are white."""
    height, width = (n // 2 for n in values.shape)
    cmap = style.TWO_SIDED if two_sided else colormaps[style.SEQUENTIAL]
    extent = (-width - 0.5, width + 0.5, height + 0.5, -height - 0.5)
    shown = np.ma.masked_equal(values, 0)
    return axes.imshow(
        shown, cmap=cmap.with_extremes(bad="white"), norm=norm, extent=extent, interpolation="nearest", aspect="equal"
    )


def _label_map(axes, title: str, x: str, y: str) -> None:
    style.label(axes, "", x, y, grid=False)
    # Its height is told: matplotlib would look for ticks to stay clear of, at every measuring, and there are none.
    axes.set_title(title, fontsize=12, loc="left", y=1.0)


def _ratio_colorbar(figure: Figure, image, panels) -> None:
    bar = figure.colorbar(image, ax=list(panels), shrink=0.85, pad=0.02, extend="both")
    bar.set_label("pairs / expected at random\n(below 1: rarer, above 1: more frequent)", fontsize=11)
    ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10) if image.norm.vmin <= tick <= image.norm.vmax]
    bar.ax.yaxis.set_major_locator(FixedLocator(ticks))
    bar.ax.yaxis.set_major_formatter(style.PLAIN)
    bar.ax.yaxis.set_minor_locator(NullLocator())


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
