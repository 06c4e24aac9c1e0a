import sys
from dataclasses import replace

import imageio
import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.experiments.imp.figures import films
from tfprune.experiments.imp.figures.mask_images import mask_images, tile, upscale, weight_images
from tfprune.layers.masks import Masks


@pytest.fixture(params=[".mp4", ".gif"])
def suffix(request, monkeypatch):
    """Films are made both ways, whether or not ffmpeg is there."""
    if request.param == ".mp4" and films.film_suffix() != ".mp4":
        pytest.skip("imageio-ffmpeg is absent (extra `films`)")
    monkeypatch.setattr(films, "film_suffix", lambda: request.param)
    return request.param


def frames_of(path):
    with imageio.get_reader(path) as reader:
        return [np.asarray(frame)[..., :3] for frame in reader]


def test_frames_show_the_last_iterations_most_connected_units(suffix, synthetic_run, tmp_path):
    run = synthetic_run((3, 5, 7), (12,), iterations=3)
    path = films.masks_film(run, tmp_path / "film.any", units=9)
    assert path == tmp_path / f"film{suffix}"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    frames = frames_of(path)
    assert len(frames) == 3
    last = run.records[2].masks["layer_0/kernel"]
    order = np.argsort(-last.sum(axis=0), kind="stable")[:9]
    for k, frame in enumerate(frames):
        assert frame.shape[0] % 2 == frame.shape[1] % 2 == 0
        grid = tile(mask_images(run.records[k].masks["layer_0/kernel"][:, order], (3, 5, 7)))
        factor = frame.shape[1] // grid.shape[1]
        grid = upscale(grid, factor)
        strip = (frame.shape[0] - grid.shape[0]) // 2 * 2
        seen = frame[strip : strip + grid.shape[0], : grid.shape[1]]
        # Compression blurs edges; a wrong unit or iteration would differ by far more.
        assert np.abs(seen.astype(float) - grid).mean() < 8


def test_weights_are_scaled_about_grey(suffix, synthetic_run, tmp_path):
    run = synthetic_run((1, 8, 8), (4,), iterations=2)
    frames = frames_of(films.weights_film(run, tmp_path / "weights"))
    assert len(frames) == 2
    none = Masks({path: np.zeros_like(mask) for path, mask in run.records[1].masks.items()})
    dead = replace(run.records[1], masks=none)
    run.records[1] = dead
    last = frames_of(films.weights_film(run, tmp_path / "dead"))[-1]
    # All weights pruned: grey inside the cells (their middles, away from the separators).
    height, width = last.shape[:2]
    assert (
        np.abs(last[height // 3, width // 4].astype(int) - weight_images(np.zeros((1, 1)), (1, 1, 1))[0, 0, 0]).max()
        <= 4
    )


def test_one_iteration_at_a_time(synthetic_run, tmp_path, monkeypatch):
    monkeypatch.setattr(films, "film_suffix", lambda: ".gif")
    run = synthetic_run((1, 4, 4), (3,), iterations=4)
    lines = []
    films.masks_film(run, tmp_path / "film", progress=lines.append)
    assert run.reads == [3, 0, 1, 2, 3]
    assert lines == [f"filming masks of iteration {k}" for k in range(4)]


@pytest.mark.parametrize("image_shape, units", [((3, 32, 32), 225), ((3, 64, 64), 225), ((1, 8, 8), 7), ((1, 3, 2), 1)])
def test_frame_sizes(image_shape, units):
    images = mask_images(np.ones((int(np.prod(image_shape)), units)), image_shape)
    frame = films.film_frame(images, "iteration 3     12.5 % of the weights unpruned")
    other = films.film_frame(images, "")
    assert frame.dtype == np.uint8 and frame.shape == other.shape
    assert frame.shape[0] % 2 == frame.shape[1] % 2 == 0
    assert 600 <= frame.shape[1] <= 1400
    assert not np.array_equal(frame, other)  # the text is there


def test_without_ffmpeg_films_are_gif(monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert films.film_suffix() == ".gif"


def test_a_failing_frame_leaves_nothing(suffix, tmp_path):
    def frames():
        yield np.zeros((64, 64, 3), np.uint8)
        raise RuntimeError("broken record")

    with pytest.raises(RuntimeError, match="broken record"):
        films.write_film(frames(), tmp_path / "film")
    assert list(tmp_path.iterdir()) == []


def test_convolutional_runs_are_refused(convolutional_run, tmp_path):
    with pytest.raises(InputError, match="dense on square images"):
        films.masks_film(convolutional_run, tmp_path / "film")


def test_both_films_take_each_record_once_and_are_there_after_the_block(suffix, synthetic_run, tmp_path):
    run = synthetic_run((1, 4, 4), (3,), iterations=4)
    lines = []
    with films.films_of_run(run, tmp_path, progress=lines.append) as paths:
        assert list(tmp_path.iterdir()) == []
    assert paths == [tmp_path / f"film_masks{suffix}", tmp_path / f"film_weights{suffix}"]
    assert sorted(tmp_path.iterdir()) == paths
    # In turn: of a run that keeps two records each file is read once.
    assert lines == [f"filming {what} of iteration {k}" for k in range(4) for what in ("masks", "weights")]
    assert [len(frames_of(path)) for path in paths] == [4, 4]
    alone = films.masks_film(run, tmp_path / "alone")
    assert alone.read_bytes() == paths[0].read_bytes()


def test_a_failing_block_leaves_no_film(suffix, synthetic_run, tmp_path):
    run = synthetic_run((1, 4, 4), (3,), iterations=2)
    with pytest.raises(RuntimeError, match="no ink"), films.films_of_run(run, tmp_path):
        raise RuntimeError("no ink")
    assert list(tmp_path.iterdir()) == []
