"""Figures of filter pruning draw what they are given."""

import numpy as np
import pandas as pd

from tfprune.experiments.filters.figures import draw_accuracy, draw_training

TABLE = pd.DataFrame(
    [
        ("unpruned", "unpruned", 4e6, 9e8, 0.9),
        ("l2", "v1_75", 1e6, 3e8, 0.7),
        ("l2", "v1_25", 3e6, 7e8, 0.85),
        ("l2", "v2_25", 2e6, 5e8, 0.8),
        ("gm_norm", "v1_25", 3e6, 7e8, 0.84),
    ],
    columns=["scoring", "version", "parameters", "flops", "test_accuracy"],
)


def _line(figure, label):
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == label]
    return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()


def test_accuracy_over_size():
    figure = draw_accuracy(TABLE, "title")
    assert _line(figure, "l2, v1") == ([3e6, 1e6], [0.85, 0.7])
    assert _line(figure, "l2, v2") == ([2e6], [0.8])
    assert _line(figure, "gm_norm, v1") == ([3e6], [0.84])
    assert _line(figure, "unpruned") == ([4e6], [0.9])
    assert figure.axes[0].xaxis_inverted() and figure.axes[0].get_xscale() == "log"
    formatter = figure.axes[0].xaxis.get_major_formatter()
    assert [formatter(value, 0) for value in (2e6, 5e5, 20)] == ["2M", "500k", "20"]
    assert _line(draw_accuracy(TABLE, size="flops"), "l2, v1")[0] == [7e8, 3e8]


def test_colours_tell_scorings_and_markers_tell_layers_apart():
    lines = {line.get_label(): line for line in draw_accuracy(TABLE).axes[0].lines}
    first, second, other = lines["l2, v1"], lines["l2, v2"], lines["gm_norm, v1"]
    assert first.get_color() == second.get_color() != other.get_color()
    assert first.get_marker() == other.get_marker() != second.get_marker()


def test_accuracy_over_finetuning():
    rows = [(scoring, "v1_25", epoch, 0.1 * epoch) for scoring in ("unpruned", "l2") for epoch in (0, 1, 2)]
    curves = pd.DataFrame(rows, columns=["scoring", "version", "epoch", "test_accuracy"])
    figure = draw_training(curves)
    assert _line(figure, "v1_25") == ([0, 1, 2], [0, 0.1, 0.2])
    assert figure.axes[0].get_title(loc="left") == "l2"
    np.testing.assert_allclose(_line(figure, "unpruned")[1], 0.2)


def _looks(axes):
    return [
        (line.get_color(), line.get_linestyle(), line.get_marker())
        for line in axes.lines
        if line.get_label()[0] != "_" and line.get_label() != "unpruned"
    ]


def test_no_two_networks_look_alike():
    versions = [f"v{layers}_{percent}" for layers in range(1, 4) for percent in (25, 50, 75)]
    rows = [(scoring, version, 0, 0.5) for scoring in ("l2", "random") for version in ("unpruned", *versions)]
    curves = pd.DataFrame(rows, columns=["scoring", "version", "epoch", "test_accuracy"])
    curves.loc[curves["version"] == "unpruned", "scoring"] = "unpruned"
    first, second = draw_training(curves).axes
    assert len(set(_looks(first))) == len(versions) and _looks(first) == _looks(second)
    # Of one scoring, each set of layers has its own colour, line and marker.
    one, two = _looks(draw_accuracy(TABLE[TABLE["scoring"] != "gm_norm"]).axes[0])
    assert all(a != b for a, b in zip(one, two, strict=True))
    assert all(line.get_markersize() >= 6 for line in first.lines if line.get_marker() not in ("None", ""))


def test_any_column_is_a_size():
    axes = draw_accuracy(TABLE.assign(ms=[9, 2, 6, 5, 6.0]), size="ms", size_label="milliseconds").axes[0]
    assert axes.get_xlabel() == "milliseconds" and axes.xaxis_inverted()
    assert axes.get_xlim()[0] > 9 > 2 > axes.get_xlim()[1]


def test_nothing_to_draw():
    assert draw_accuracy(TABLE[:0]).axes[0].texts[0].get_text() == "no finished network"
    assert draw_training(pd.DataFrame()).axes[0].texts[0].get_text() == "no finished network"
