"""Curves of an iterative-magnitude-pruning run: accuracy, errors, live structure and locality.

Figures of Pellegrini & Biroli 2021 (arXiv 2104.13343) and those of the original's notebook. Accuracies, errors and
fractions are in [0, 1] throughout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from tfprune.errors import InputError
from tfprune.experiments.imp.figures.measures import layer_name
from tfprune.plots import style

if TYPE_CHECKING:
    from tfprune.experiments.imp.files.records import IterationRecord

_ERROR_TEXT = "bands: one standard error of {:,} validation images;\none seed: differences within them say little"
MOST_CURVES = 6  # of errors in one plot
ORDERS = {"most": "most connected first", "least": "least connected first", "random": "random order"}


def accuracy_figure(
    unpruned: np.ndarray,
    accuracy: np.ndarray,
    baselines: Mapping[str, float | tuple[np.ndarray, np.ndarray] | pd.DataFrame] | None = None,
    validation_images: int | None = None,
    title: str = "Accuracy of the pruned network",
) -> Figure:
    """Best validation accuracy against the fraction of unpruned weights, the best iteration marked.

    One run has one seed. What a second one would change is not known; how far the number of images alone lets
    an accuracy be trusted is, and is drawn as bands of one standard error √(a (1 − a) / n).

    Args:
        unpruned: (iterations,), in [0, 1]; fractions of 0 have no place on the log axis and are left out.
        accuracy: (iterations,), in [0, 1].
        baselines: label -> what to compare with: a number (horizontal line, e.g. a dense network), a pair of arrays
            (unpruned fraction, accuracy), or a table with columns `unpruned_fraction`, `accuracy` and optionally `std`.
        validation_images: n, the number of images that every accuracy is on; None leaves the bands out.
        title: of the figure.
    """
    unpruned, accuracy = np.asarray(unpruned, dtype=np.float64), np.asarray(accuracy, dtype=np.float64)
    figure = style.new_figure(7.5, 4.8)
    axes = style.label(
        figure.add_subplot(),
        title,
        "fraction of weights unpruned",
        "best validation accuracy",
    )
    shown = (unpruned > 0) & np.isfinite(accuracy)
    x, y = unpruned[shown], accuracy[shown]
    _standard_error(axes, x, y, validation_images, style.COLORS[0])
    axes.plot(x, y, "o-", color=style.COLORS[0], markersize=6, label="iterative magnitude pruning")
    if len(y):
        best = int(np.argmax(y))
        name = f"best: {y[best]:.3f} at {x[best]:.3g}"
        axes.plot(x[best], y[best], "*", color=style.COLORS[1], markersize=17, markeredgecolor="white", label=name)
    else:
        style.message(axes, "no validated iteration with unpruned weights")
    ends = [x]
    for color, (name, baseline) in zip(_baseline_colors(), (baselines or {}).items(), strict=False):
        if np.isscalar(baseline):
            axes.axhline(float(baseline), color=color, linestyle="--", linewidth=1.5, label=name)
        else:
            at, value, spread = _baseline_curve(name, baseline)
            _standard_error(axes, at, value, validation_images if spread is None else None, color)
            axes.errorbar(at, value, yerr=spread, fmt="s--", color=color, markersize=5, capsize=3, label=name)
            ends.append(at)
    _fraction_axis(axes, np.concatenate(ends))
    style.accuracy_axis(axes)
    if validation_images and len(y):
        axes.fill_between(
            [], [], [], color=style.BASELINE_COLOR, alpha=0.25, linewidth=0, label=_ERROR_TEXT.format(validation_images)
        )
    style.legend(axes, loc="best")
    return figure


def errors_figure(
    records: Iterable[tuple[int, IterationRecord]], window: int | None = None, most_curves: int = MOST_CURVES
) -> Figure:
    """Training error (running mean) and validation error against the training step, one colour for each iteration.

    Args:
        records: (iteration, record) pairs; consumed one by one, only their curves are kept.
        window: steps in the running mean of the training error; None takes a hundredth of the steps.
        most_curves: more iterations than this are `thinned`.
    """
    curves = [
        (k, record.steps, record.train_errors, record.validation_steps, record.validation_errors)
        for k, record in records
    ]
    curves = thinned(curves, most_curves)
    figure = style.new_figure(11, 4.6)
    # Validation is measured at even steps: on a logarithmic axis its lines would cross decades where nothing is known.
    train, validation = figure.subplots(1, 2)
    style.label(train, "Training", "training step", "error (fraction of images)")
    style.label(validation, "Validation (measured at the markers)", "training step", "error (fraction of images)")
    # Iterations are ordered, so their colours are too.
    colors = style.sequence_colors(len(curves))
    for color, (k, steps, train_errors, validation_steps, validation_errors) in zip(colors, curves, strict=True):
        width = window or max(1, len(steps) // 100)
        train.plot(steps, running_mean(train_errors, width), color=color, linewidth=1.3, label=f"iteration {k}")
        validation.plot(
            validation_steps, validation_errors, "o-", color=color, linewidth=0.7, markersize=4, label=f"iteration {k}"
        )
        train.set_title(
            f"Training (running mean over {width} steps)" if width > 1 else "Training", fontsize=12, loc="left"
        )
    last = max((max(curve[1], default=0) for curve in curves), default=0)
    if last > 1000:
        # Most happens early: equal room for each power of ten, step 0 included.
        train.set_xscale("symlog", linthresh=max(1, last / 1000))
        train.set_xlim(0, last)
        train.xaxis.set_major_formatter(style.PLAIN)
    if curves:
        train.set_ylim(0, min(1.0, train.get_ylim()[1]))
        _leave_out_the_start(validation, [curve[4] for curve in curves])
    figure.legend(*train.get_legend_handles_labels(), fontsize=10, frameon=False, loc="outside right upper")
    return figure


def live_figure(layers: pd.DataFrame) -> Figure:
    """Live units, live inputs and density of each layer against the iteration.

    Args:
        layers: `RunSummary.layers`. A unit is live if any incoming weight is kept, an input if any outgoing one is.
    """
    figure = style.new_figure(13, 4.2)
    panels = figure.subplots(1, 3)
    columns = (
        ("Units with incoming weights", "live_units", "units", "fraction of the layer's units"),
        ("Inputs with outgoing weights", "live_inputs", "inputs", "fraction of the layer's inputs"),
        ("Density", "kept", "weights", "fraction of the layer's weights kept"),
    )
    for axes, (title, part, whole, y) in zip(panels, columns, strict=True):
        style.label(axes, title, "iteration", y)
        markers = "os^Dv<>p"
        for i, ((position, kind), rows) in enumerate(layers.groupby(["layer", "kind"])):
            look = {"color": style.COLORS[i % len(style.COLORS)], "marker": markers[i % len(markers)]}
            fraction = rows[part] / rows[whole]
            line = style.LINES[i % len(style.LINES)]
            axes.plot(rows["iteration"], fraction, line, markersize=5, label=layer_name(position, kind), **look)
        axes.set_ylim(-0.03, 1.05)
        style.iteration_ticks(axes)
    # Densities fall geometrically with the iterations; exact zeros (dead layers) still need a place.
    smallest = (layers["kept"] / layers["weights"])[layers["kept"] > 0].min() if len(layers) else 1.0
    if smallest < 0.1:
        panels[2].set_yscale("symlog", linthresh=10.0 ** np.floor(np.log10(smallest)), linscale=0.3)
        panels[2].yaxis.set_major_formatter(style.PLAIN)
        panels[2].set_ylim(0, 1.5)
    style.legend(panels[0], loc="lower left")
    return figure


def local_fraction_figure(
    iterations: np.ndarray, fraction: np.ndarray, random_fraction: np.ndarray, distance: float = 3.0
) -> Figure:
    """Fraction of local pairs of connections against the iteration, with the expectation of random connections.

    Args:
        iterations: (iterations,) whole numbers.
        fraction, random_fraction: (iterations,), in [0, 1]; NaN where no unit has two connections.
        distance: pixels within which a pair of the same channel was counted as local; for the axis label.
    """
    figure = style.new_figure(7.5, 4.5)
    axes = style.label(
        figure.add_subplot(),
        "Locality of the first layer",
        "iteration",
        f"pairs in one channel within {distance:g} pixels\n(fraction of all pairs of a unit)",
    )
    axes.plot(iterations, fraction, "o-", color=style.COLORS[0], markersize=5, label="pruned by magnitude")
    axes.plot(iterations, random_fraction, "--", color=style.BASELINE_COLOR, label="expected at random")
    if not np.isfinite(np.asarray(fraction, dtype=np.float64)).any():
        style.message(axes, "no unit has two connections")
    axes.set_ylim(bottom=0)
    style.iteration_ticks(axes)
    style.legend(axes, loc="best")
    return figure


def reevaluation_figure(table: pd.DataFrame) -> Figure:
    """Top-1 and top-5 accuracy against the iteration.

    Args:
        table: columns `iteration`, `top1`, `top5` (accuracies in [0, 1]).
    """
    _need(table, "re-evaluation", "iteration", "top1", "top5")
    table = table.sort_values("iteration")
    figure = style.new_figure(7.5, 4.5)
    axes = style.label(figure.add_subplot(), "Re-evaluation from the files", "iteration", "accuracy")
    for column, name, marker, color in (("top1", "top-1", "o", 0), ("top5", "top-5", "s", 1)):
        axes.plot(table["iteration"], table[column], f"{marker}-", color=style.COLORS[color], markersize=5, label=name)
    style.accuracy_axis(axes)
    style.iteration_ticks(axes)
    style.legend(axes, loc="best")
    return figure


def silencing_figure(table: pd.DataFrame) -> Figure:
    """Accuracy after silencing the n most, least or randomly connected units.

    Args:
        table: columns `order` (`most`, `least` or `random`), `units` (number silenced), `accuracy`; rows with the same
            order and units (several draws) are averaged, with their standard deviation as bars, unless a column `std`
            gives it.
    """
    _need(table, "silencing", "order", "units", "accuracy")
    unknown = sorted(set(table["order"]) - set(ORDERS))
    if unknown:
        raise InputError(f"silencing table: order must be one of {', '.join(ORDERS)}; found {unknown[0]!r}")
    figure = style.new_figure(7.5, 4.5)
    axes = style.label(figure.add_subplot(), "Silencing units of the first layer", "units silenced", "accuracy")
    for color, marker, (order, name) in zip(style.COLORS, "os^", ORDERS.items(), strict=False):
        rows = table[table["order"] == order]
        if len(rows):
            groups = rows.groupby("units")
            mean = groups["accuracy"].mean()
            spread = groups["std"].mean() if "std" in rows else groups["accuracy"].std(ddof=0)
            bars = spread.to_numpy() if (spread.fillna(0) > 0).any() else None
            axes.errorbar(
                mean.index, mean, yerr=bars, fmt=f"{marker}-", color=color, markersize=5, capsize=3, label=name
            )
    axes.set_ylim(bottom=0)
    style.legend(axes, loc="best")
    return figure


def thinned(values: Sequence, most: int = MOST_CURVES) -> Sequence:
    """At most so many of the values, evenly spaced, first and last kept."""
    if len(values) <= most:
        return values
    return [values[i] for i in np.unique(np.linspace(0, len(values) - 1, most).round().astype(int))]


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Centred running mean; at the ends over the part of the window that exists.

    Args:
        values: (n,).
        window: number of values averaged, at least 1.

    Returns:
        float64, (n,).
    """
    values = np.asarray(values, dtype=np.float64)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    low = np.maximum(at - (window - 1) // 2, 0)
    high = np.minimum(at + window // 2 + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)


def _leave_out_the_start(axes, errors: Sequence[np.ndarray]) -> None:
    """Limits that show what training does; the error before it is far above and would leave no room for that."""
    rest = np.concatenate([np.asarray(values, dtype=np.float64)[1:] for values in errors])
    rest = rest[np.isfinite(rest)]
    first = [values[0] for values in errors if len(values)]
    if len(rest) and np.nanmax(first) > (high := rest.max() + 0.1 * np.ptp(rest)):
        axes.set_ylim(max(0.0, rest.min() - 0.1 * np.ptp(rest)), high)
        axes.set_title("Validation at the markers (start: above)", fontsize=12, loc="left")


def _standard_error(axes, x: np.ndarray, accuracy: np.ndarray, images: int | None, color) -> None:
    if images:
        spread = np.sqrt(accuracy * (1 - accuracy) / images)
        axes.fill_between(x, accuracy - spread, accuracy + spread, color=color, alpha=0.18, linewidth=0)


def _fraction_axis(axes, fractions: np.ndarray) -> None:
    """Log axis from dense on the left to sparse on the right, with plain numbers on the ticks."""
    axes.set_xscale("log")
    fractions = fractions[fractions > 0]
    low, high = (fractions.min(), fractions.max()) if len(fractions) else (0.1, 1.0)
    axes.set_xlim(high * 1.15, low / 1.15)
    span = high / low
    subs = (1.0, 2.0, 3.0, 5.0, 7.0) if span < 12 else (1.0, 3.0) if span < 1000 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(style.PLAIN)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))


def _baseline_colors() -> list[str]:
    return [style.BASELINE_COLOR, *style.COLORS[2:]] * 8


def _baseline_curve(name: str, baseline) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Sorted x, y and optional spread of one baseline; points without a place on a log axis are left out."""
    if isinstance(baseline, pd.DataFrame):
        _need(baseline, f"baseline {name!r}", "unpruned_fraction", "accuracy")
        columns = [baseline["unpruned_fraction"], baseline["accuracy"], baseline.get("std")]
    else:
        columns = [*baseline, None]
    x, y, spread = (None if c is None else np.asarray(c, dtype=np.float64) for c in columns)
    order = np.argsort(-x)
    order = order[x[order] > 0]
    return x[order], y[order], None if spread is None else spread[order]


def _need(table: pd.DataFrame, what: str, *columns: str) -> None:
    missing = [column for column in columns if column not in table]
    if missing:
        raise InputError(
            f"{what} table needs the columns {', '.join(columns)}; found {', '.join(map(str, table.columns))}"
        )
