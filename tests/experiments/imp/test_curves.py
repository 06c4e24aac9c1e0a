import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from tfprune.errors import InputError
from tfprune.experiments.imp.figures.curves import (
    accuracy_figure,
    errors_figure,
    live_figure,
    local_fraction_figure,
    reevaluation_figure,
    running_mean,
    silencing_figure,
    thinned,
)
from tfprune.experiments.imp.figures.measures import summarise
from tfprune.plots import style

pytestmark = pytest.mark.filterwarnings("error")


def lines(axes):
    """label -> line of an axes."""
    return {line.get_label(): line for line in axes.get_lines()}


def drawn(figure):
    """Renders the figure, so that warnings come up; returns its axes."""
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure.axes


def legend_texts(place):
    legend = place.get_legend() if hasattr(place, "get_legend") else place.legends[0]
    return [text.get_text() for text in legend.get_texts()]


def test_accuracy_marks_the_best_and_shows_baselines():
    random = pd.DataFrame({"unpruned_fraction": [0.1, 1.0, 0.0], "accuracy": [0.4, 0.5, 0.1], "std": [0.01, 0.02, 0]})
    baselines = {"dense": 0.55, "random masks": random, "other": ([0.5, 0.25], [0.3, 0.2])}
    figure = accuracy_figure([1.0, 0.5, 0.25, 0.0], [0.5, 0.6, 0.58, 0.1], baselines)
    (axes,) = drawn(figure)
    by_label = lines(axes)
    assert by_label["iterative magnitude pruning"].get_xydata().tolist() == [[1, 0.5], [0.5, 0.6], [0.25, 0.58]]
    assert by_label["best: 0.600 at 0.5"].get_xydata().tolist() == [[0.5, 0.6]]
    assert by_label["dense"].get_ydata() == pytest.approx([0.55, 0.55])
    assert [c.get_label() for c in axes.containers] == ["random masks", "other"]
    assert axes.containers[0].lines[0].get_xydata().tolist() == [[1.0, 0.5], [0.1, 0.4]]
    assert axes.get_xscale() == "log"
    left, right = axes.get_xlim()
    assert left > 1 and right < 0.1  # dense on the left


def test_the_number_of_images_bounds_what_an_accuracy_says():
    figure = accuracy_figure([1.0, 0.5], [0.5, 0.8], {"random": ([0.5], [0.8])}, validation_images=100)
    (axes,) = drawn(figure)
    band = axes.collections[0].get_paths()[0].vertices
    at_half = band[np.isclose(band[:, 0], 0.5), 1]
    assert [at_half.min(), at_half.max()] == pytest.approx([0.76, 0.84])  # sqrt(0.8 * 0.2 / 100)
    assert any("one standard error of 100 validation images" in text for text in legend_texts(axes))
    assert not any("standard error" in text for text in legend_texts(drawn(accuracy_figure([1.0], [0.5]))[0]))


def test_accuracy_of_one_iteration_and_of_none():
    (axes,) = drawn(accuracy_figure([1.0], [0.5]))
    assert "best: 0.500 at 1" in lines(axes)
    (axes,) = drawn(accuracy_figure([0.0], [0.5]))
    assert "no validated iteration" in axes.texts[0].get_text()


def test_a_baseline_without_its_columns_is_named():
    with pytest.raises(InputError, match="'mine' table needs the columns unpruned_fraction, accuracy; found a"):
        accuracy_figure([1.0], [0.5], {"mine": pd.DataFrame({"a": [1]})})


def test_errors_show_each_iteration_smoothed(synthetic_run):
    run = synthetic_run((1, 4, 4), (3,), iterations=3, steps=300)
    figure = errors_figure(((k, run.iteration(k)) for k in run.iterations), window=5)
    train, validation = drawn(figure)
    record = run.records[1]
    assert list(lines(train)) == ["iteration 0", "iteration 1", "iteration 2"]
    assert np.allclose(lines(train)["iteration 1"].get_ydata(), running_mean(record.train_errors, 5))
    assert np.array_equal(lines(validation)["iteration 1"].get_xdata(), record.validation_steps)
    assert np.array_equal(lines(validation)["iteration 1"].get_ydata(), record.validation_errors)
    assert lines(validation)["iteration 1"].get_marker() == "o"  # what was measured is seen
    assert legend_texts(figure) == ["iteration 0", "iteration 1", "iteration 2"]
    assert train.get_xscale() == "linear"


def test_many_iterations_are_thinned_and_long_runs_get_a_log_axis(synthetic_run):
    run = synthetic_run((1, 4, 4), (3,), iterations=9, steps=2000)
    train, validation = drawn(errors_figure(((k, run.iteration(k)) for k in run.iterations), most_curves=3))
    assert validation.get_xscale() == "linear"  # on a log axis lines would cross decades without a measurement
    later = max(run.iteration(k).validation_errors[1:].max() for k in (0, 4, 8))
    assert later < validation.get_ylim()[1] < 1 and "start: above" in validation.get_title(loc="left")
    assert list(lines(train)) == ["iteration 0", "iteration 4", "iteration 8"]
    assert train.get_xscale() == "symlog"
    assert "running mean over 20 steps" in train.get_title(loc="left")


def test_thinned_keeps_the_first_and_the_last():
    assert thinned([4, 5, 7], 3) == [4, 5, 7]
    assert thinned(range(9), 3) == [0, 4, 8]
    assert thinned(range(20)) == [0, 4, 8, 11, 15, 19]


def test_running_mean_by_hand():
    assert running_mean([0, 3, 6, 3], 3).tolist() == [1.5, 3, 4, 4.5]
    assert running_mean([1, 2], 1).tolist() == [1, 2]
    assert running_mean([], 4).tolist() == []


def test_live_structure_lines_are_fractions(synthetic_run):
    run = synthetic_run((3, 8, 8), (20, 6), iterations=8)
    layers = summarise(run).layers
    units, inputs, density = drawn(live_figure(layers))
    assert list(lines(units)) == ["layer 1 (dense)", "layer 2 (dense)", "layer 3 (output)"]
    first = layers[layers["layer"] == 1]
    assert lines(units)["layer 1 (dense)"].get_ydata() == pytest.approx((first["live_units"] / 20).tolist())
    assert lines(inputs)["layer 1 (dense)"].get_ydata() == pytest.approx((first["live_inputs"] / 192).tolist())
    assert lines(density)["layer 1 (dense)"].get_ydata() == pytest.approx((first["kept"] / 3840).tolist())
    assert density.get_yscale() == "symlog"


def test_local_fraction_with_its_baseline():
    (axes,) = drawn(local_fraction_figure([0, 1, 2], [0.1, 0.2, np.nan], [0.05] * 3, distance=2.5))
    assert lines(axes)["pruned by magnitude"].get_ydata()[:2].tolist() == [0.1, 0.2]
    assert lines(axes)["expected at random"].get_ydata() == pytest.approx([0.05] * 3)
    assert "within 2.5 pixels" in axes.get_ylabel()
    (axes,) = drawn(local_fraction_figure([0], [np.nan], [0.05]))
    assert axes.texts[0].get_text() == "no unit has two connections"


def test_reevaluation_is_sorted_by_iteration():
    (axes,) = drawn(reevaluation_figure(pd.DataFrame({"iteration": [1, 0], "top1": [0.3, 0.2], "top5": [0.8, 0.7]})))
    assert lines(axes)["top-1"].get_xydata().tolist() == [[0, 0.2], [1, 0.3]]
    assert lines(axes)["top-5"].get_xydata().tolist() == [[0, 0.7], [1, 0.8]]
    near = pd.DataFrame({"iteration": [0, 1], "top1": [0.97, 0.98], "top5": [1.0, 0.999]})
    (axes,) = drawn(reevaluation_figure(near))
    low, high = axes.get_ylim()
    assert 0.95 < low < 0.97 and high == 1.0
    with pytest.raises(InputError, match="found iteration, top1"):
        reevaluation_figure(pd.DataFrame({"iteration": [1], "top1": [0.3]}))


def test_silencing_averages_draws():
    rows = [("random", 4, 0.2), ("random", 4, 0.4), ("random", 0, 0.5), ("most", 0, 0.5), ("most", 4, 0.1)]
    (axes,) = drawn(silencing_figure(pd.DataFrame(rows, columns=["order", "units", "accuracy"])))
    assert legend_texts(axes) == ["most connected first", "random order"]
    most, random = axes.containers
    assert most.lines[0].get_xydata().tolist() == [[0, 0.5], [4, 0.1]]
    assert random.lines[0].get_ydata() == pytest.approx([0.5, 0.3])
    low, high = random.lines[1]
    assert low.get_ydata() == pytest.approx([0.5, 0.2]) and high.get_ydata() == pytest.approx([0.5, 0.4])


def test_silencing_takes_a_given_spread_and_refuses_other_orders():
    table = pd.DataFrame({"order": ["random"] * 2, "units": [0, 1], "accuracy": [0.5, 0.4], "std": [0.0, 0.05]})
    (axes,) = drawn(silencing_figure(table))
    assert axes.containers[0].lines[1][0].get_ydata() == pytest.approx([0.5, 0.35])
    with pytest.raises(InputError, match="'best'"):
        silencing_figure(table.assign(order="best"))


def test_colours_of_a_sequence_are_distinct_and_counted():
    colors = [to_hex(color) for color in style.sequence_colors(6)]
    assert len(set(colors)) == 6
    assert len(style.sequence_colors(0)) == 0


def test_pngs_are_whole_and_repeatable(tmp_path):
    paths = [style.save_png(accuracy_figure([1.0], [0.5]), tmp_path / name) for name in ("a.png", "b.png")]
    first, second = (path.read_bytes() for path in paths)
    assert first.startswith(b"\x89PNG") and first == second
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]
