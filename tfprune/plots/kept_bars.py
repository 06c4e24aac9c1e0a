"""What is left of each kernel, as bars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from tfprune.plots import style


def kept_bars(names: Sequence[str], kept: Sequence[float], effective: Sequence[float]) -> Figure:
    """A bar for each kernel, from the input on top to the output: fractions that are effective, kept without effect
    and pruned.

    Args:
        names: of the kernels.
        kept, effective: fractions of each kernel's weights, in [0, 1], `effective` ≤ `kept`.
    """
    figure = style.new_figure(8, 1.2 + 0.26 * len(names))
    axes = style.label(figure.subplots(), "", "fraction of the kernel's weights")
    places, kept, effective = np.arange(len(names)), np.asarray(kept), np.asarray(effective)
    axes.barh(places, 1.0, color="#ECECEC", label="pruned")
    axes.barh(places, kept, color=style.COLORS[4], label="kept without effect")
    axes.barh(places, effective, color=style.COLORS[0], label="effective")
    axes.set_yticks(places, names, fontsize=9)
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.4, -0.6))
    axes.grid(False, axis="y")
    axes.xaxis.set_major_formatter(style.PLAIN)
    style.legend(axes, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return figure
