"""The plots and the table of the results page: Bokeh's models, empty; `page.js` gives them what is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfprune.overview.page_runs import Column
from tfprune.plots.style import BASELINE_COLOR, COLORS

_GRID, _TEXT = "#E3E3E3", "#222222"
UNKNOWN = "\N{EN DASH}"
_FONT = "system-ui, sans-serif"
_WIDEST = 300
_TABLE = f"""
.slick-header-column, .slick-cell {{ font: 13px/1.4 {_FONT}; color: {_TEXT} }}
.slick-header-column {{ font-weight: 600 }}
.slick-cell {{ font-variant-numeric: tabular-nums }}
.slick-cell.selected {{ background: #cfe3f1 }}
.slick-header-column:focus-visible {{ outline: 3px solid {COLORS[0]}; outline-offset: -3px }}
"""
# What a sub-tick is worth where thousands are written as k, millions as M.
_UNITS = {0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P"}


def plots() -> dict[str, Any]:
    """Name of a place in `page.html` -> the plot in it."""
    accuracy = "Test accuracy"
    return {
        "direct": _trade_off("direct", "Direct compression (weights / kept weights)", accuracy),
        "effective": _trade_off("effective", "Effective compression (weights / effective weights)", accuracy),
        "front": _trade_off("front", "Cost", accuracy),
        "accuracy_curves": _curves("accuracy_curves", "Accuracy or error"),
        "loss_curves": _curves("loss_curves", "Loss"),
    }


def table_model(columns: Sequence[Column]) -> Any:
    """The table of all runs, in these columns; draws the rows in sight alone."""
    from bokeh import models

    shown = [
        models.TableColumn(
            field=column.name,
            title=column.title,
            width=_width(column),
            formatter=_formatter(column),
            sorter=None if column.number_format is None else models.NanCompare(),
        )
        for column in columns
        if column.shown
    ]
    return models.DataTable(
        name="table",
        view=models.CDSView(filter=models.IndexFilter(name="table_shown", indices=[])),
        source=models.ColumnDataSource({column.name: [] for column in columns if column.shown}, name="table_source"),
        columns=shown,
        autosize_mode="none",
        index_position=None,
        height=600,
        row_height=28,
        sizing_mode="stretch_width",
        reorderable=False,
        stylesheets=[models.InlineStyleSheet(css=_TABLE)],
    )


def _trade_off(name: str, x: str, y: str) -> Any:
    """Accuracy over something that is compared by its ratios: bands, lines, points, a ring around the chosen one."""
    from bokeh import models

    # Ranges that Bokeh found by itself would have everything drawn twice.
    figure = _figure(name, x, y, x_axis_type="log", tools="", x_range=(1, 10), y_range=(0, 1))
    source = models.ColumnDataSource
    figure.xaxis.ticker = models.FixedTicker(name=f"{name}_ticker", ticks=[])
    figure.xgrid.ticker = figure.xaxis[0].ticker
    bands = source({"xs": [], "ys": [], "color": []}, name=f"{name}_bands")
    figure.patches("xs", "ys", source=bands, fill_color="color", fill_alpha=0.16, line_color=None)
    points = source({key: [] for key in ("x", "y", "color", "marker", "what", "shown_x")}, name=f"{name}_points")
    dots = figure.scatter(
        "x",
        "y",
        name=f"{name}_dots",
        source=points,
        marker="marker",
        size=6,
        fill_color="color",
        fill_alpha=0.5,
        line_color=None,
        nonselection_fill_alpha=0.5,
    )
    lines = source({"xs": [], "ys": [], "color": [], "dash": []}, name=f"{name}_lines")
    figure.multi_line("xs", "ys", source=lines, line_color="color", line_width=2.2, line_dash="dash")
    means = source({"x": [], "y": [], "color": [], "marker": []}, name=f"{name}_means")
    figure.scatter("x", "y", source=means, marker="marker", size=8, color="color", line_color="white")
    chosen = source({"x": [], "y": []}, name=f"{name}_chosen")
    figure.scatter("x", "y", source=chosen, size=17, fill_color=None, line_color=_TEXT, line_width=2.5)

    hover = models.HoverTool(
        renderers=[dots],
        tooltips=[("run", "@what"), ("accuracy", "@y{0.0000}"), (name if name != "front" else "cost", "@shown_x")],
        limit=4,
    )
    zoom = [models.BoxZoomTool(), models.PanTool(), models.WheelZoomTool(), models.ResetTool()]
    figure.add_tools(hover, models.TapTool(renderers=[dots]), *zoom, models.SaveTool(filename=name))
    # A finger that moves over a plot scrolls the page until one of the tools is chosen.
    figure.toolbar.active_drag = figure.toolbar.active_scroll = None
    return figure


def _curves(name: str, y: str) -> Any:
    from bokeh import models

    figure = _figure(name, "Training step", y, tools="", height=230)
    lines = models.ColumnDataSource({"xs": [], "ys": [], "color": [], "dash": []}, name=f"{name}_lines")
    figure.multi_line("xs", "ys", source=lines, line_color="color", line_width=2, line_dash="dash")
    return figure


def _figure(name: str, x: str, y: str, height: int = 330, **how) -> Any:
    from bokeh import models
    from bokeh.plotting import figure

    made = figure(name=name, height=height, sizing_mode="stretch_width", x_axis_label=x, y_axis_label=y, **how)
    made.toolbar.logo = None
    made.toolbar.autohide = False
    made.outline_line_color = None
    made.grid.grid_line_color = _GRID
    made.min_border_right = 14
    for axis in made.axis:
        axis.axis_label_text_font = axis.major_label_text_font = _FONT
        axis.axis_label_text_font_size, axis.major_label_text_font_size = "13px", "12px"
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_color = axis.major_label_text_color = _TEXT
        axis.axis_line_color = axis.major_tick_line_color = BASELINE_COLOR
        axis.minor_tick_line_color = None
    made.yaxis.formatter = models.NumeralTickFormatter(format="0.[0000]")
    made.xaxis.formatter = models.NumeralTickFormatter(format="0,0.[00]")
    made.xaxis.major_label_overrides = _plain_ticks()
    return made


def _plain_ticks() -> dict[int, str]:
    """1, 2, ..., 9 times a power of ten, as they are written on an axis: 200, 5k, 1M."""
    ticks = {}
    for power in range(3, 15):
        thousands = 3 * (power // 3)
        for first in range(1, 10):
            ticks[first * 10**power] = f"{first * 10 ** (power - thousands)}{_UNITS[thousands]}"
    return ticks


def _width(column: Column) -> int:
    """In pixels: of what is longer, name or texts."""
    return round(max(64, 28 + 7.5 * len(column.title), min(_WIDEST, 18 + 7.6 * column.width)))


def _formatter(column: Column) -> Any:
    from bokeh import models

    if column.number_format is None:
        return models.StringFormatter()
    return models.NumberFormatter(format=column.number_format, nan_format=UNKNOWN, text_align="right")
