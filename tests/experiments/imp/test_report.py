import os
from dataclasses import replace

import matplotlib.image
import pandas as pd
import pytest

from tfprune.errors import InputError
from tfprune.experiments.imp.figures import report as imp_report
from tfprune.experiments.imp.figures.measures import summarise
from tfprune.experiments.imp.figures.report import draw_run
from tfprune.experiments.imp.files.iterations import ImpRun
from tfprune.layers.masks import Masks

CURVES = ["accuracy.png", "errors.png", "live_structure.png"]
PER_ITERATION = [
    "locality_maps",
    "locality_relative",
    "locality_by_connections",
    "connections_histogram",
    "input_connections",
    "masks",
    "mask_weights",
]


def expected_names(iterations, deep=True):
    each = [*PER_ITERATION, "deep_masks"] if deep else PER_ITERATION
    return [*CURVES, "local_fraction.png", *(f"{name}_iter{k}.png" for k in iterations for name in each)]


def check(written, folder):
    """All files are there, nothing else is, and every PNG is a picture."""
    assert sorted(written) == sorted(folder.iterdir())
    for path in written:
        if path.suffix == ".png":
            picture = matplotlib.image.imread(path)
            assert picture.ndim == 3 and min(picture.shape[:2]) >= 300 and picture[..., :3].std() > 0
    return [path.name for path in written]


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_the_originals_own_run(golden, tmp_path):
    run = ImpRun(golden / "imp/original_run")
    written = draw_run(run, tmp_path / "deep/figures", iterations=[2], films=False)
    names = check(written, tmp_path / "deep/figures")
    assert names == [*expected_names([2]), "measures.csv", "notes.txt"]


def test_everything_at_once(synthetic_run, tmp_path):
    run = synthetic_run((1, 8, 8), (12, 5), iterations=3)
    again = pd.DataFrame({"iteration": [0, 1, 2], "top1": [0.3, 0.4, 0.5], "top5": [0.6, 0.7, 0.8]})
    silenced = pd.DataFrame({"order": ["most", "least"], "units": [0, 0], "accuracy": [0.5, 0.5]})
    lines = []
    summary = summarise(run)
    run.reads.clear()
    written = draw_run(run, tmp_path / "figures", again, silenced, {"dense": 0.5}, summary, progress=lines.append)
    names = check(written, tmp_path / "figures")
    # The middle iteration and the last, which is also the best.
    films = [name for name in names if name.startswith("film_")]
    others = {"reevaluation.png", "silencing.png", "measures.csv"}
    assert set(names) - set(films) - {"notes.txt"} == {*expected_names([1, 2]), *others}
    measured = pd.read_csv(tmp_path / "figures/measures.csv")
    assert measured["local_fraction"].tolist() == summary.iterations["local_fraction"].tolist()
    assert len(films) == 2
    assert "drawing accuracy" in lines and not any("measuring" in line for line in lines)


def dead(record, layers):
    masks = {path: mask & (int(path[len("layer_")]) not in layers) for path, mask in record.masks.items()}
    return replace(record, masks=Masks(masks))


@pytest.mark.slow_beyond(1)
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("layers", [(0,), (1,), (0, 1, 2)])
def test_dead_layers(layers, synthetic_run, tmp_path):
    run = synthetic_run((3, 6, 6), (8, 4), iterations=2)
    run.records[1] = dead(run.records[1], layers)
    names = check(draw_run(run, tmp_path / "figures", iterations=[1], films=True), tmp_path / "figures")
    assert "masks_iter1.png" in names and any(name.startswith("film_weights") for name in names)


@pytest.mark.filterwarnings("error")
def test_a_single_iteration_of_one_layer(synthetic_run, tmp_path):
    run = synthetic_run((1, 5, 5), (), iterations=1)
    names = check(draw_run(run, tmp_path / "figures", films=False), tmp_path / "figures")
    assert names[:-2] == expected_names([0], deep=False)


@pytest.mark.filterwarnings("error")
def test_a_convolution_first_leaves_mask_figures_out_and_says_so(convolutional_run, tmp_path):
    written = draw_run(convolutional_run, tmp_path / "figures")
    assert check(written, tmp_path / "figures") == [*CURVES, "measures.csv", "notes.txt"]
    notes = written[-1].read_text().splitlines()
    assert notes[0] == "no re-evaluation table: its figure is left out"
    assert "no figures or films of its masks" in notes[2]


def test_an_earlier_folder_of_pictures_is_replaced(convolutional_run, tmp_path):
    again = pd.DataFrame({"iteration": [0, 1], "top1": [0.3, 0.4], "top5": [0.6, 0.7]})
    earlier = draw_run(convolutional_run, tmp_path / "figures", again)
    assert "reevaluation.png" in [path.name for path in earlier]
    written = draw_run(convolutional_run, tmp_path / "figures")
    check(written, tmp_path / "figures")
    assert [p.name for p in tmp_path.iterdir()] == ["figures"]


def test_foreign_files_are_never_replaced(convolutional_run, tmp_path):
    (tmp_path / "IMP_itdata_0.pkl").write_bytes(b"hours of work")
    with pytest.raises(InputError, match=r"also holds IMP_itdata_0\.pkl"):
        draw_run(convolutional_run, tmp_path)
    folder = tmp_path / "folder"
    (folder / "more").mkdir(parents=True)
    with pytest.raises(InputError, match="also holds more"):
        draw_run(convolutional_run, folder)
    os.symlink(folder, tmp_path / "link")
    with pytest.raises(InputError, match="something else"):
        draw_run(convolutional_run, tmp_path / "link")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["IMP_itdata_0.pkl", "folder", "link"]


def test_a_failure_leaves_the_earlier_folder(convolutional_run, tmp_path, monkeypatch):
    written = draw_run(convolutional_run, tmp_path / "figures")

    def fail(*_):
        raise RuntimeError("no ink")

    monkeypatch.setattr(imp_report.imp_curves, "errors_figure", fail)
    with pytest.raises(RuntimeError, match="no ink"):
        draw_run(convolutional_run, tmp_path / "figures")
    check(written, tmp_path / "figures")
    assert [p.name for p in tmp_path.iterdir()] == ["figures"]


def test_a_folder_that_cannot_be_made_is_named(convolutional_run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make this folder"):
        draw_run(convolutional_run, tmp_path / "file/figures")


def test_unknown_iterations_are_named(synthetic_run, tmp_path):
    run = synthetic_run((1, 5, 5), (4,), iterations=2)
    with pytest.raises(InputError, match="no iteration 7; there are 0, 1"):
        draw_run(run, tmp_path / "figures", iterations=[1, 7])
    with pytest.raises(InputError, match="no iterations"):
        draw_run(replace(run, records={}), tmp_path / "figures")
    assert list(tmp_path.iterdir()) == []
