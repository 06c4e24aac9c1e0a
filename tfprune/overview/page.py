"""The results page: all runs in one HTML file that needs no network, to be filtered, compared and looked into.

Its plots and its table are Bokeh's, the library of this kind whose script can be put into a page by its own Python
package (Plotly's has no table that draws the rows in sight alone, Altair's takes its scripts from a network): log axes,
bands, hovering, choosing of points, and a table of any length. `page_figures` makes them empty. What is ours is the
page around them: `page.html`, `page.css`, and `page.js`, which filters the runs and gives the plots what to draw.

The page's policy (Content-Security-Policy) names the digests of its scripts, and forbids any connection: what a file
says, a label that holds HTML say, is text, and could neither run nor load anything if it were not.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd

from tfprune.errors import InputError
from tfprune.overview.details import Details
from tfprune.overview.page_details import packed_details, thinned
from tfprune.overview.page_figures import plots, table_model
from tfprune.overview.page_runs import columns_of, packed_runs
from tfprune.overview.summary import repeated
from tfprune.records.atomic import atomic_write_text
from tfprune.records.extras import extra

MOST_BYTES = 15_000_000
"""Curves are thinned further where the page would become larger."""
_POINTS = (60, 30, 15, 8)
_BUNDLES = ("bokeh", "bokeh-widgets", "bokeh-tables")
_FOLDER = Path(__file__).parent


def write_page(
    path: str | os.PathLike,
    table: pd.DataFrame,
    details: Callable[[Mapping[str, Any]], Details] | None = None,
    title: str = "Results",
    watch: Callable[[int], None] | None = None,
) -> Path:
    """Writes the page of some runs.

    Args:
        path: the file to make or replace.
        table: of `tfprune.overview.table.overview_table`.
        details: of a row: `tfprune.overview.details.details`, which reads the run's files. None: settings alone.
        title: of the page.
        watch: is called with the number of runs whose details are read.

    Returns:
        The file.

    Raises:
        InputError: Bokeh is missing, there are no runs, or the file cannot be written.
    """
    path = Path(path)
    extra("bokeh", "the results page")
    if not len(table):
        raise InputError(f"{path}: there are no runs to show")
    columns = columns_of(table)
    kept = []
    longest = 0
    for number, row in enumerate(table.to_dict("records"), 1):
        of_run = details(row) if details else Details(settings=row["settings"])
        longest = max([longest, *map(len, of_run.curves.values())])
        kept.append(thinned(of_run, _POINTS[0]))
        if watch:
            watch(number)
    runs = _json(packed_runs(table, columns))
    figures = _json(_embedded({**plots(), "table": table_model(columns)}))
    for points in _POINTS:
        packed = _json(packed_details(kept, points, path.absolute().parent))
        page = _page(title, runs, packed, figures, _left_out(points, longest), _repeated(table))
        if len(page.encode()) <= MOST_BYTES:
            break
    atomic_write_text(path, page)
    return path


def _left_out(points: int, longest: int) -> str:
    said = "Numbers that are not whole are rounded to five significant digits."
    if longest > points:
        said += f" Curves are thinned to at most {points} points, evenly over their steps; the longest has {longest:,}."
    return said


def _repeated(table: pd.DataFrame) -> str:
    again = repeated(table)
    if not again:
        return ""
    said = f"{again:,} of all runs have the settings and seed of another one: means and bands count both."
    return f'<p class="note">{said}</p>'


def _page(title: str, runs: str, details: str, figures: str, left_out: str, repeated: str) -> str:
    script = "\n" + (_FOLDER / "page.js").read_text("utf-8").strip() + "\n"
    libraries = ["\n" + text + "\n" for text in _bokeh_scripts()]
    digests = " ".join(f"'sha256-{_digest(text)}'" for text in (*libraries, script))
    policy = f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
    return Template((_FOLDER / "page.html").read_text("utf-8")).substitute(
        title=escape(title),
        policy=policy,
        css=(_FOLDER / "page.css").read_text("utf-8"),
        left_out=escape(left_out),
        repeated=repeated,
        runs=runs,
        details=details,
        figures=figures,
        bokeh="\n".join(f"<script>{text}</script>" for text in libraries),
        js=script.strip(),
    )


def _bokeh_scripts() -> list[str]:
    from bokeh.resources import Resources

    return Resources(mode="inline", components=list(_BUNDLES)).js_raw[: len(_BUNDLES)]


def _embedded(models: Mapping[str, Any]) -> dict[str, Any]:
    from bokeh.embed import json_item

    return {name: json_item(model, f"plot_{name}") for name, model in models.items()}


def _json(value: object) -> str:
    """JSON that ends no script element, whatever its texts hold; ASCII, for names of files need be no proper text."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
