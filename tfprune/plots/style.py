"""One look for all figures: sizes, colour-blind-safe colours, axes without pyplot's global state."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from tfprune.records.atomic import atomic_write

# Okabe & Ito's palette, told apart with any common colour blindness (black and yellow left out: text, poor contrast).
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
BASELINE_COLOR = "#6E6E6E"
SEQUENTIAL = "viridis"
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


def iteration_ticks(axes: Axes) -> None:
    """Whole numbers only on an axis of iterations."""
    axes.xaxis.get_major_locator().set_params(integer=True)


def save_png(figure: Figure, path: str | os.PathLike) -> Path:
    """Write a figure as PNG under a temporary name and rename it, so that no half picture is ever found.

    The same figure gives the same bytes: no date or version is stored.
    """
    path = Path(path)
    atomic_write(path, lambda file: figure.savefig(file, format="png", metadata={"Software": None}))
    return path
