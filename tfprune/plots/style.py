"""One look for all figures: sizes, colour-blind-safe colours, axes without pyplot's global state."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from tfprune.records.atomic import atomic_write

# Okabe & Ito's palette, told apart with any common colour blindness (black and yellow left out: text, poor contrast).
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
BASELINE_COLOR = "#6E6E6E"
MARKERS = "osD^vP"
LINES = ("-", "--", ":", "-.")
SEQUENTIAL = "viridis"
# Hues part at the middle, and lightness grows all the way, so that a grey print still tells the sides apart.
TWO_SIDED = LinearSegmentedColormap.from_list(
    "two_sided", [(0, "#0B2E6B"), (0.28, "#3D6FB3"), (0.5, "#949494"), (0.74, "#E8A33D"), (1, "#FFDF8C")]
)
DPI = 120
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")  # 0.01 instead of 10⁻² on log axes


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` × `height` inches that belongs to no window system."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    return figure


def sequence_colors(count: int) -> np.ndarray:
    """`count` colours, (count, 4), for ordered curves: viridis from dark on, without its end that fades on white."""
    return colormaps[SEQUENTIAL](np.linspace(0, 0.88, max(1, count)))[:count]


def amounts(levels: int | None = None) -> Colormap:
    """Colours of amounts in [0, 1] on white: 0 is white, anything else is seen at once, and more is darker.

    Args:
        levels: of whole amounts 0, ..., `levels`; None for any.
    """
    values = np.linspace(0, 1, 256 if levels is None else levels + 1)
    return ListedColormap(np.vstack([np.ones(4), colormaps[SEQUENTIAL](0.86 * (1 - values[1:]))]), "amounts")


def label(axes: Axes, title: str = "", x: str = "", y: str = "", grid: bool = True) -> Axes:
    """Titles and axis labels in the house's sizes; a faint grid behind the data and no box."""
    axes.set_title(title, fontsize=12, loc="left")
    axes.set_xlabel(x, fontsize=11)
    axes.set_ylabel(y, fontsize=11)
    axes.tick_params(labelsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    if grid:
        axes.grid(True, color="#E3E3E3", linewidth=0.8)
        axes.set_axisbelow(True)
    return axes


def legend(axes: Axes, **where) -> None:
    """A legend in the house's size, if anything is labelled."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=10, frameon=False, **where)


def picture(axes: Axes, image: np.ndarray, title: str = "", **how):
    """Show an image pixel by pixel, without ticks. Returns matplotlib's image."""
    shown = axes.imshow(image, interpolation="nearest", **how)
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xticks([])
    axes.set_yticks([])
    return shown


def message(axes: Axes, text: str) -> None:
    """Say on an otherwise empty plot why it is empty."""
    if not axes.has_data():
        axes.set_xticks([])
        axes.set_yticks([])
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=12, color=BASELINE_COLOR, transform=axes.transAxes)


def accuracy_axis(axes: Axes) -> None:
    """An axis of accuracies or errors fitted to what is drawn, without room or ticks outside [0, 1]."""
    low, high = axes.get_ylim()
    low, high = max(0.0, min(low, 1.0)), min(1.0, max(high, 0.0))
    if high - low < 0.01:
        low, high = max(0.0, low - 0.01), min(1.0, high + 0.01)
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PLAIN)
    for line in axes.lines:
        line.set_clip_on(False)  # a marker at 1 is seen whole


def log_axis(axis: Axis, values) -> None:
    """A logarithmic axis around positive values, with plain numbers for ticks, however close the values are."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    values = np.asarray(values, dtype=np.float64)
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return
    low, high = values.min(), values.max()
    room = max((high / low) ** 0.05, 1.05 if high / low > 3 else 2.5)
    axis.axes.set(**{f"{axis.axis_name}lim": (low / room, high * room)})
    subs = (1.0, 2.0, 5.0) if high / low < 60 else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(PLAIN)
    axis.set_minor_formatter(NullFormatter())


def iteration_ticks(axes: Axes) -> None:
    """Whole numbers only on an axis of iterations."""
    axes.xaxis.get_major_locator().set_params(integer=True)


def save_png(figure: Figure, path: str | os.PathLike) -> Path:
    """Write a figure as PNG under a temporary name and rename it, so that no half picture is ever found.

    The same figure gives the same bytes: no date or version is stored.
    """
    path = Path(path)
    canvas = FigureCanvasAgg(figure)  # draws once, where savefig draws a second time for the layout
    atomic_write(path, lambda file: canvas.print_png(file, metadata={"Software": None}))
    return path
