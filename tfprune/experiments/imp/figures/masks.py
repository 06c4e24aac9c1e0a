"""Figures of single units: what each is connected to, with which weights, in the first layer and in deeper ones.

Figures of Pellegrini & Biroli 2021 (arXiv 2104.13343).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, Normalize
from matplotlib.figure import Figure

from tfprune.experiments.imp.figures.mask_images import mask_images, select_units, tile, weight_images
from tfprune.experiments.imp.figures.measures import effective_connectivity, layer_name
from tfprune.plots import style

if TYPE_CHECKING:
    from tfprune.experiments.imp.files.records import IterationRecord

_HEADINGS = {"most": "most connected", "sampled": "sampled", "least": "least connected"}


def masks_figure(
    mask: np.ndarray,
    image_shape: tuple[int, int, int],
    weights: np.ndarray | None = None,
    which: Sequence[str] = ("most", "sampled", "least"),
    count: int = 36,
    title: str = "",
    rng: np.random.Generator | None = None,
) -> Figure:
    """Masks (or masks × weights) of the most connected, sampled and least connected live units as grids of images.

    Args:
        mask: (c·h·w, units).
        image_shape: (c, h, w).
        weights: (c·h·w, units) float; None shows masks alone. With weights grey is 0, each unit has its own scale, and
            of a pixel's channels the weight that is largest in size is shown.
        which: the grids, of `most`, `sampled`, `least`.
        count: most units in each grid; small layers share their live units out, or all grids would look the same.
        title: of the whole figure.
        rng: draws the sample; None is a fixed draw.
    """
    mask = np.asarray(mask) != 0
    connections = np.count_nonzero(mask, axis=0)
    count = min(count, max(1, np.count_nonzero(connections) // len(which)))
    figure = style.new_figure(5.0 * len(which), 5.4)
    panels = figure.subplots(1, len(which), squeeze=False)[0]
    if title:
        figure.suptitle(title, fontsize=12)
    for axes, order in zip(panels, which, strict=True):
        units = select_units(connections, order, count, rng)
        if not len(units):
            _empty(axes, _HEADINGS[order], "no live unit")
            continue
        if weights is None:
            images = mask_images(mask[:, units], image_shape)
        else:
            images = weight_images(mask[:, units] * weights[:, units], image_shape)
        low, high = connections[units].min(), connections[units].max()
        span = f"{low}" if low == high else f"{low} to {high}"
        style.picture(axes, tile(images), f"{_HEADINGS[order]} ({span} connections)")
    if weights is None:
        _channels_scale(figure, panels, image_shape[0])
    else:
        _scale(
            figure, panels, ScalarMappable(Normalize(-1, 1), style.TWO_SIDED), "weight / largest |weight| of the unit"
        )
    return figure


def deep_masks_figure(
    record: IterationRecord,
    image_shape: tuple[int, int, int],
    layers: Sequence[int] | None = None,
    count: int = 36,
    title: str = "",
) -> Figure:
    """What units of each dense layer see of the input: products of masks, as grids of images.

    The darker a pixel, the more paths of kept weights lead from it to the unit, relative to the unit's largest number
    (mean over the pixel's channels). Shown are the units reached by the most inputs.

    Args:
        record: an iteration of a network that starts with dense layers.
        image_shape: (c, h, w).
        layers: positions from 0; None takes all dense layers from the start.
        count: units in each grid.
        title: of the whole figure.
    """
    if layers is None:
        layers = [i for i, layer in enumerate(record.layers) if layer.kind in ("f", "x")]
    in_row = min(4, len(layers))
    rows = -(-len(layers) // in_row)
    figure = style.new_figure(4.6 * in_row, 4.9 * rows + 0.4)
    panels = figure.subplots(rows, in_row, squeeze=False).ravel()
    if title:
        figure.suptitle(title, fontsize=12)
    for axes, layer in zip(panels, layers, strict=False):
        heading = layer_name(layer + 1, record.layers[layer])
        paths = effective_connectivity(record, layer)
        units = select_units(np.count_nonzero(paths, axis=0), "most", count)
        if not len(units):
            _empty(axes, heading, "no path from the input")
            continue
        axes.set_anchor("N")
        style.picture(axes, tile(mask_images(paths[:, units], image_shape)), heading)
    for axes in panels[len(layers) :]:
        axes.set_axis_off()
    paths = "paths to the unit / most of any pixel"
    _scale(figure, panels, ScalarMappable(Normalize(0, 1), style.amounts()), paths)
    return figure


def _channels_scale(figure: Figure, panels, channels: int) -> None:
    """One step of the scale for each number of connected channels."""
    colors = style.amounts()(np.arange(channels + 1) / channels)
    norm = BoundaryNorm(np.arange(channels + 2) - 0.5, channels + 1)
    bar = _scale(figure, panels, ScalarMappable(norm, ListedColormap(colors)), "connected channels of the pixel")
    bar.ax.minorticks_off()
    bar.set_ticks(range(channels + 1) if channels < 8 else [0, channels])
    if channels == 1:
        bar.set_label("")
        bar.ax.set_yticklabels(["pruned", "connected"])


def _scale(figure: Figure, panels, colors: ScalarMappable, text: str):
    bar = figure.colorbar(colors, ax=list(panels), shrink=0.75, pad=0.015, aspect=25)
    bar.set_label(text, fontsize=11)
    return bar


def _empty(axes, heading: str, text: str) -> None:
    style.label(axes, heading, grid=False)
    axes.set_axis_off()
    style.message(axes, text)
