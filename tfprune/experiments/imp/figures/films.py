"""Films over the iterations of a run: the most connected first-layer masks, and the weights under them.

MP4 (H.264) where ffmpeg is there (the extra `films` brings it), GIF elsewhere.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import imageio
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tfprune.errors import InputError
from tfprune.experiments.imp.arch import weight_path
from tfprune.experiments.imp.figures.mask_images import (
    grid_columns,
    mask_images,
    select_units,
    tile,
    upscale,
    weight_images,
)
from tfprune.experiments.imp.masks import unpruned_fraction
from tfprune.records.atomic import atomic_copy, temporary_folder

if TYPE_CHECKING:
    from tfprune.experiments.imp.files.iterations import ImpRun

UNITS = 225  # 15 × 15, as in arXiv 2104.13343
FRAMES_PER_SECOND = 2
_WIDTH = 1000  # pixels; smaller grids are enlarged by the whole factor that comes closest
_STRIP_PER_WIDTH = 0.05
_DPI = 100


def film_suffix() -> str:
    """`.mp4` if ffmpeg can be run, else `.gif`."""
    try:
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return ".gif"
    return ".mp4"


def masks_film(
    run: ImpRun, path: str | os.PathLike, units: int = UNITS, progress: Callable[[str], None] | None = None
) -> Path:
    """A film of the first-layer masks of the units that are most connected in the run's last iteration.

    Units keep their place; each frame names its iteration and the fraction of unpruned weights. One iteration is in
    memory at a time.

    Args:
        run: the run; its first layer must be dense on square images.
        path: where to write; the suffix is replaced by that of the format (`film_suffix`).
        units: largest number of units shown; smaller layers give a smaller grid.
        progress: called with a line of text for each frame.

    Returns:
        The path of the film.

    Raises:
        InputError: the run has no iteration, or its first layer isn't dense on square images.
    """
    return write_film(_frames(run, units, False, progress), path)


def weights_film(
    run: ImpRun, path: str | os.PathLike, units: int = UNITS, progress: Callable[[str], None] | None = None
) -> Path:
    """As `masks_film`, of masks × weights at the last recorded step, in the colours of `mask_images.weight_images`."""
    return write_film(_frames(run, units, True, progress), path)


@contextlib.contextmanager
def films_of_run(
    run: ImpRun, folder: str | os.PathLike, units: int = UNITS, progress: Callable[[str], None] | None = None
) -> Iterator[list[Path]]:
    """Both films, `film_masks` and `film_weights` in a folder, of records that are read once; as `films_in_making`."""
    frames = {f"film_{name}": _frames(run, units, name == "weights", progress) for name in ("masks", "weights")}
    with films_in_making({Path(folder, name): each for name, each in frames.items()}) as paths:
        yield paths


def write_film(
    frames: Iterable[np.ndarray], path: str | os.PathLike, frames_per_second: float = FRAMES_PER_SECOND
) -> Path:
    """Write frames as MP4 or GIF; the file appears under its name only when it is complete.

    Args:
        frames: uint8 (height, width, 3), all of one size, even in both directions (H.264 with 4:2:0 colour needs that).
        path: where to write; its suffix is replaced by that of the format.
        frames_per_second: speed.

    Returns:
        The path written.
    """
    with films_in_making({path: frames}, frames_per_second) as (written,):
        return written


@contextlib.contextmanager
def films_in_making(
    films: Mapping[str | os.PathLike, Iterable[np.ndarray]], frames_per_second: float = FRAMES_PER_SECOND
) -> Iterator[list[Path]]:
    """As `write_film`, of several films at once: all frames are made before the block, the films are there after it.

    Args:
        films: where to write each film, and its frames; as many of each, made in turn.
        frames_per_second: speed.

    Yields:
        The paths that will be written.
    """
    suffix = film_suffix()
    paths = [Path(path).with_suffix(suffix) for path in films]
    if suffix == ".mp4":
        # crf 16: pictures of single pixels suffer visibly from the default compression.
        how = {"format": "FFMPEG", "fps": frames_per_second, "codec": "libx264", "macro_block_size": 2}
        how["output_params"] = ["-crf", "16", "-movflags", "+faststart"]
        how["ffmpeg_log_level"] = "error"
    else:
        how = {"format": "GIF-PIL", "duration": 1000 / frames_per_second, "loop": 0}
    # ffmpeg wants a real file name of its own, so the films are made elsewhere and then put in place in one step each.
    with temporary_folder() as folder:
        made = [folder / path.name for path in paths]
        with contextlib.ExitStack() as stack:
            writers = [stack.enter_context(imageio.get_writer(path, mode="I", **how)) for path in made]
            for frames in zip(*films.values(), strict=True):
                for writer, frame in zip(writers, frames, strict=True):
                    writer.append_data(frame)
            # Of short films ffmpeg encodes nearly all once it has the last frame: the threads only wait for it.
            threads = stack.enter_context(ThreadPoolExecutor(len(writers)))
            closing = [threads.submit(writer.close) for writer in writers]
            yield paths
            for closed in closing:
                closed.result()
        for source, path in zip(made, paths, strict=True):
            atomic_copy(source, path)


def film_frame(images: np.ndarray, text: str) -> np.ndarray:
    """One frame: a grid of images, enlarged by a whole factor if small, under a strip with a line of text.

    Args:
        images: uint8, (n, h, w, 3).
        text: the line.

    Returns:
        uint8, (even height, even width, 3); the size depends on the images' shape and number only.
    """
    grid = tile(images, grid_columns(len(images)))
    grid = upscale(grid, max(1, round(_WIDTH / grid.shape[1])))
    # Black edge for even sizes.
    grid = np.pad(grid, ((0, grid.shape[0] % 2), (0, grid.shape[1] % 2), (0, 0)))
    return np.concatenate([_strip(text, grid.shape[1]), grid])


def _frames(run: ImpRun, count: int, weighted: bool, progress: Callable[[str], None] | None) -> Iterator[np.ndarray]:
    if not run.iterations:
        raise InputError(f"{run.folder}: no iteration to film")
    if run.image_shape is None:
        raise InputError(f"{run.folder}: films need a first layer that is dense on square images")
    connections = np.count_nonzero(run.iteration(run.iterations[-1]).masks[weight_path(0)], axis=0)
    # Units that are dead at the end fill up the grid: at the start of the film they are not.
    units = select_units(connections, "most", count, live=False)
    for k in run.iterations:
        if progress:
            progress(f"filming {'weights' if weighted else 'masks'} of iteration {k}")
        record = run.iteration(k)
        mask = record.masks[weight_path(0)][:, units]
        if weighted:
            images = weight_images(mask * record.weights[-1][weight_path(0)][:, units], run.image_shape)
            colors = "     grey: 0, blue: negative, yellow: positive"
        else:
            images = mask_images(mask, run.image_shape)
            colors = "     darker: more channels connected" if run.image_shape[0] > 1 else ""
        percent = 100 * unpruned_fraction(record.layers, record.masks)
        text = f"iteration {k}     {percent:.3g} % of the weights unpruned{colors}"
        yield film_frame(images, text)


def _strip(text: str, width: int) -> np.ndarray:
    """White strip of `width` pixels with a line of text: uint8, (even height, width, 3)."""
    height = 2 * round(width * _STRIP_PER_WIDTH / 2)
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    figure.text(0.5, 0.46, text, ha="center", va="center", fontsize=0.36 * height * 72 / _DPI)
    canvas.draw()
    strip = np.asarray(canvas.buffer_rgba())[..., :3]
    return strip[:height, :width]
