"""All pictures of an iterative-magnitude-pruning run, drawn from its files into one folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tfprune.errors import InputError
from tfprune.experiments.imp.arch import weight_path
from tfprune.experiments.imp.figures import curves as imp_curves
from tfprune.experiments.imp.figures import locality as imp_locality
from tfprune.experiments.imp.figures import masks as imp_masks
from tfprune.experiments.imp.figures.autocorrelation import locality_by_connections, locality_maps, random_locality_maps
from tfprune.experiments.imp.figures.films import film_suffix, films_of_run
from tfprune.experiments.imp.figures.measures import RunSummary, summarise
from tfprune.experiments.imp.masks import unpruned_fraction
from tfprune.plots.style import save_png
from tfprune.records.atomic import atomic_folder

if TYPE_CHECKING:
    from tfprune.experiments.imp.files.iterations import ImpRun
    from tfprune.experiments.imp.files.records import IterationRecord

NOTES = "notes.txt"
MEASURES = "measures.csv"
_OURS = {".png", ".mp4", ".gif"}


def draw_run(
    run: ImpRun,
    out_folder: str | os.PathLike,
    reevaluation: pd.DataFrame | None = None,
    silencing: pd.DataFrame | None = None,
    baselines: Mapping[str, float | tuple[np.ndarray, np.ndarray] | pd.DataFrame] | None = None,
    summary: RunSummary | None = None,
    films: bool = True,
    iterations: Sequence[int] | None = None,
    progress: Callable[[str], None] | None = None,
    validation_images: int | None = None,
) -> list[Path]:
    """Draw every figure of a run, from files alone, into a folder that is complete as soon as it exists.

    The pictures are drawn in a hidden folder beside `out_folder`, which then takes its name. An earlier folder of
    pictures is replaced; anything else there is left alone.

    Args:
        run: the run, also one written by the original code.
        out_folder: folder to make or replace.
        reevaluation: columns `iteration`, `top1`, `top5`; None leaves its figure out.
        silencing: columns `order`, `units`, `accuracy` (see `silencing_figure`); None leaves its figure out.
        baselines, validation_images: for the accuracy figure, see `accuracy_figure`.
        summary: `summarise(run)` if already at hand.
        films: also make the two films.
        iterations: iterations whose connectivity is drawn; None takes the most accurate one, the middle one
            and the last.
        progress: called with a line of text before each piece of work.

    Returns:
        All files written, in order of drawing. `measures.csv` among them has the numbers per iteration (see
        `summarise`); `notes.txt` says what was left out and why, if anything was.

    Raises:
        InputError: the run has no iterations, an iteration asked for isn't there, or `out_folder` holds other things
            than pictures or cannot be made.
    """
    out_folder = Path(out_folder)
    say = progress or (lambda line: None)
    if not run.iterations:
        raise InputError(f"{run.folder}: no iterations to draw")
    unknown = sorted(set(iterations or ()) - set(run.iterations))
    if unknown:
        raise InputError(f"{run.folder}: no iteration {unknown[0]}; there are {_list(run.iterations)}")
    _check_replaceable(out_folder)
    try:
        out_folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out_folder}: cannot make this folder: {error.strerror or error}") from None
    with atomic_folder(out_folder) as drawing:
        summary = summary or summarise(run, progress=progress)
        if iterations is None:
            iterations = _telling_iterations(run, summary)
        figures = _figures(run, summary, iterations, reevaluation, silencing, baselines, validation_images)
        films = films and run.image_shape is not None
        # The films' encoder works beside the drawing.
        with films_of_run(run, drawing, progress=progress) if films else contextlib.nullcontext([]) as filmed:
            written = list(filmed)
            for name, figure in figures:
                say(f"drawing {name}")
                written.append(save_png(figure, drawing / f"{name}.png"))
        summary.iterations.to_csv(drawing / MEASURES, index=False)
        written.append(drawing / MEASURES)
        notes = [
            f"no {name} table: its figure is left out"
            for name, table in (("re-evaluation", reevaluation), ("silencing", silencing))
            if table is None or not len(table)
        ]
        if run.missing:
            notes.append(f"no files of iterations {_list(run.missing[:20])}: the figures show the others")
        if run.image_shape is None:
            notes.append("first layer isn't dense on square images: no figures or films of its masks")
        elif films and film_suffix() == ".gif":
            notes.append("no ffmpeg: films are GIF instead of MP4 (pip install imageio-ffmpeg brings it)")
        if notes:
            (drawing / NOTES).write_text("\n".join(notes) + "\n", encoding="utf-8")
            written.append(drawing / NOTES)
        _check_replaceable(out_folder)
    return [out_folder / path.name for path in written]


def _figures(run, summary, iterations, reevaluation, silencing, baselines, images) -> Iterator[tuple[str, Figure]]:
    """(file name without suffix, figure), one at a time so that only one is in memory."""
    rows = summary.iterations
    yield "accuracy", imp_curves.accuracy_figure(rows["unpruned_fraction"], rows["best_accuracy"], baselines, images)
    yield "errors", imp_curves.errors_figure((k, run.iteration(k)) for k in imp_curves.thinned(run.iterations))
    yield "live_structure", imp_curves.live_figure(summary.layers)
    if reevaluation is not None and len(reevaluation):
        yield "reevaluation", imp_curves.reevaluation_figure(reevaluation)
    if silencing is not None and len(silencing):
        yield "silencing", imp_curves.silencing_figure(silencing)
    if run.image_shape is not None:
        columns = rows["iteration"], rows["local_fraction"], rows["local_fraction_random"]
        yield "local_fraction", imp_curves.local_fraction_figure(*columns)
        for k in iterations:
            for name, figure in _connectivity_figures(run.iteration(k), k, run.image_shape):
                yield f"{name}_iter{k}", figure


def _connectivity_figures(record: IterationRecord, k: int, image: tuple[int, int, int]) -> Iterator[tuple[str, Figure]]:
    mask = record.masks[weight_path(0)]
    connections = np.count_nonzero(mask, axis=0)
    when = f"iteration {k}, {100 * unpruned_fraction(record.layers, record.masks):.3g} % of the weights unpruned"
    maps = locality_maps(mask, image)
    yield "locality_maps", imp_locality.locality_figure(maps, None, f"Displacements between connections\n{when}")
    random = random_locality_maps(connections, image)
    yield "locality_relative", imp_locality.locality_figure(maps, random, f"Displacements relative to random\n{when}")
    groups = locality_by_connections(mask, image)
    yield "locality_by_connections", imp_locality.locality_by_connections_figure(groups, image, f"Locality: {when}")
    histogram = imp_locality.connections_histogram(connections, len(mask), f"Connections per unit: {when}")
    yield "connections_histogram", histogram
    yield (
        "input_connections",
        imp_locality.input_connections_figure(mask, image, f"Connected units of each input pixel\n{when}"),
    )
    yield "masks", imp_masks.masks_figure(mask, image, title=f"First-layer masks: {when}")
    weights = record.weights[-1][weight_path(0)]
    yield "mask_weights", imp_masks.masks_figure(mask, image, weights, title=f"First-layer masked weights: {when}")
    if len(record.layers) > 1:
        yield "deep_masks", imp_masks.deep_masks_figure(record, image, title=f"Products of masks: {when}")


def _telling_iterations(run: ImpRun, summary: RunSummary) -> list[int]:
    best = summary.best_iteration
    chosen = {run.iterations[len(run.iterations) // 2], run.iterations[-1]}
    return sorted(chosen if best is None else chosen | {best})


def _check_replaceable(folder: Path) -> None:
    """Refuse to delete what isn't ours: the folder is replaced as a whole."""
    if not folder.exists() and not folder.is_symlink():
        return
    if folder.is_symlink() or not folder.is_dir():
        raise InputError(f"{folder}: pictures need a folder of their own; this is something else")
    ours = {path for path in folder.iterdir() if path.suffix in _OURS or path.name in (NOTES, MEASURES)}
    foreign = sorted(path.name for path in folder.iterdir() if path not in ours or path.is_dir())
    if foreign:
        raise InputError(f"{folder}: pictures replace a folder of pictures only; this one also holds {foreign[0]}")


def _list(iterations: Sequence[int]) -> str:
    return ", ".join(map(str, iterations))
