"""The details of the runs of the results page: what many runs share is stored once, curves are thinned."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from urllib.parse import quote

import numpy as np

from tfprune.overview.details import Details
from tfprune.overview.page_runs import rounded


def thinned(details: Details, points: int) -> Details:
    """The details with at most `points` of each curve."""
    return replace(details, curves={name: curve[_spread(curve, points)] for name, curve in details.curves.items()})


def packed_details(runs: Sequence[Details], points: int, folder: Path) -> dict:
    """Details of all runs, as JSON values.

    Args:
        runs: one each.
        points: at most so many of each curve are kept, the first and the last among them.
        folder: of the page, from which figures are linked.

    Returns:
        `runs`: dicts with places in the tables `settings` (name, value), `layers` (name, weights), `steps` and `names`
        (of curves), in which equal values are stored once.
    """
    tables: dict[str, dict[str, int]] = {name: {} for name in ("settings", "layers", "steps", "names")}

    def place(table: str, value: object) -> int:
        return tables[table].setdefault(json.dumps(value), len(tables[table]))

    @cache
    def place_of_bytes(steps: bytes) -> int:
        return place("steps", [rounded(step) for step in np.frombuffer(steps).tolist()])

    def place_of_steps(steps: np.ndarray) -> int:
        return place_of_bytes(steps.astype(np.float64).tobytes())

    def packed(details: Details) -> dict:
        run: dict = {"settings": [place("settings", pair) for pair in _pairs(details.settings)]}
        if details.layers:
            run["layers"] = place("layers", [(layer.name, layer.weights) for layer in details.layers])
            run["kept"] = [rounded(layer.density) for layer in details.layers]
            run["effective"] = [rounded(layer.effective_density) for layer in details.layers]
        run["curves"] = [
            (place("names", name), place_of_steps(curve[:, 0]), [rounded(value) for value in curve[:, 1].tolist()])
            for name, curve in thinned(details, points).curves.items()
        ]
        run["figures"] = [(name, _link(path, folder)) for name, path in details.figures.items()]
        return {name: value for name, value in run.items() if value != []}

    packed_runs = [packed(details) for details in runs]
    return {"runs": packed_runs, **{name: [json.loads(text) for text in table] for name, table in tables.items()}}


def _spread(curve: np.ndarray, points: int) -> np.ndarray:
    """Places of at most `points` of ascending steps, evenly over their range, with the first and the last."""
    steps = curve[:, 0]
    if len(steps) <= points:
        return np.arange(len(steps))
    wanted = np.linspace(steps[0], steps[-1], points)
    return np.unique(np.clip(np.searchsorted(steps, wanted), 0, len(steps) - 1))


def _pairs(settings: Mapping, above: str = "") -> Iterable[tuple[str, str]]:
    """Name, `group.name` within groups, and value as text."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _pairs(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value if isinstance(value, str) else json.dumps(value, default=str)


def _link(path: Path, folder: Path) -> str:
    """How the page names a file: from its own folder, where there is a way."""
    try:
        return quote(os.fsencode(Path(os.path.relpath(path, folder)).as_posix()))
    except ValueError:  # on another drive
        return Path(path).absolute().as_uri()
