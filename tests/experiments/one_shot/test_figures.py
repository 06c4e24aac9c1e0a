"""Figures of one-shot pruning draw what they are given."""

import numpy as np
import pandas as pd
import pytest

from tfprune.experiments.one_shot.compressions import draw_accuracies, draw_compressions, draw_gap
from tfprune.experiments.one_shot.figures import draw_densities, draw_training


def _runs():
    rows = [(t, t * 0.5, t * f, a) for t in (10, 100) for f, a in ((1.0, 0.9), (0.8, 0.7))]
    return pd.DataFrame(rows, columns=["target", "direct", "effective", "accuracy"])


def test_means_and_bands():
    axes = draw_accuracies({"snip": _runs()}, np.array([0.97, 0.99])).axes[0]
    direct, effective, dense = axes.lines
    np.testing.assert_allclose(direct.get_xdata(), [5, 50])
    np.testing.assert_allclose(effective.get_xdata(), [9, 90])
    np.testing.assert_allclose(effective.get_ydata(), [0.8, 0.8])
    assert dense.get_ydata()[0] == pytest.approx(0.98)
    band = axes.collections[1].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (pytest.approx(0.7), pytest.approx(0.9))


def _texts(axis):
    axis.axes.figure.draw_without_rendering()
    low, high = sorted(axis.get_view_interval())
    return [
        label.get_text()
        for at, label in zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
        if low <= at <= high
    ]


def test_one_run_has_plain_ticks_and_no_accuracy_above_one():
    run = _runs()[:1].assign(direct=10.005, effective=10.005, target=10.005, accuracy=0.999)
    axes = draw_accuracies({"snip": run}, np.array([])).axes[0]
    assert axes.get_ylim()[1] <= 1 and max(axes.get_yticks()[axes.get_yticks() <= axes.get_ylim()[1]]) <= 1
    assert _texts(axes.xaxis) == ["5", "10", "20"]
    left, right = axes.get_xlim()
    assert left < 10 < right
    for figure in (draw_compressions({"snip": run}), draw_gap({"direct pruning": run})):
        assert _texts(figure.axes[0].xaxis) == _texts(figure.axes[0].yaxis) == ["5", "10", "20"]


def test_disconnected_networks_are_left_out():
    runs = _runs()
    runs.loc[runs["target"] == 100, "effective"] = np.inf
    axes = draw_compressions({"snip": runs}).axes[0]
    assert axes.lines[0].get_xdata().tolist() == [10]
    assert draw_gap({"direct pruning": runs}).axes[0].lines[0].get_xdata().tolist() == [10, 10]
    runs["effective"] = np.inf
    assert draw_accuracies({"snip": runs}, np.array([])).axes
    assert "no network" in draw_compressions({"snip": runs}).axes[0].texts[0].get_text()
    assert draw_training([0.5, 1.0], [1.0, 0.5], steps=1000).axes[0].get_ylim()[1] <= 1


def test_training_ends_at_the_last_step():
    left, _ = draw_training([0.1, 0.8, 0.9], [2.0, 1.0, 0.5], steps=1500).axes
    assert left.lines[0].get_xdata().tolist() == [0, 1000, 1500]


def test_densities():
    table = pd.DataFrame(
        {
            "layer": ["a/kernel", "b/kernel", "total"],
            "weights": [100, 50, 150],
            "direct sparsity": [0.9, 0.5, 0.7667],
            "effective sparsity": [1.0, 0.6, 0.8667],
        }
    )
    axes = draw_densities(table).axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["a", "b"]
    heights = [bar.get_height() for bar in axes.patches]
    np.testing.assert_allclose(heights[:2] + heights[3:], [0.1, 0.5, 0.4])
    assert [text.get_text() for text in axes.texts] == ["0"]
