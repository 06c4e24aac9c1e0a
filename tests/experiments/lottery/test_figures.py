"""Figures of lottery runs draw what they are given."""

import numpy as np
import pandas as pd

from tfprune.experiments.lottery.figures import (
    branch_name,
    draw_accuracy,
    draw_equal_training,
    draw_shuffled,
    draw_training,
)


def _summary():
    rows = [("main", 1.0, 0.9, 0.01), ("main", 0.25, 0.8, 0.02), ("main", 0.5, 0.85, np.nan), ("x", 0.5, 0.6, np.nan)]
    rows.append(("x", np.nan, 0.5, 0.1))
    columns = ["branch", "density", "test_accuracy_mean", "test_accuracy_std"]
    return pd.DataFrame(rows, columns=columns).assign(level=0)


def test_accuracy_over_density():
    figure = draw_accuracy(_summary(), "title")
    axes = figure.axes[0]
    main, branch = axes.lines
    assert main.get_xdata().tolist() == [1, 0.5, 0.25]
    assert main.get_ydata().tolist() == [0.9, 0.85, 0.8]
    assert branch.get_xdata().tolist() == [0.5]
    assert axes.get_xscale() == "log" and axes.xaxis_inverted()
    (band,) = axes.collections
    heights = band.get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([heights.min(), heights.max()], [0.78, 0.91])
    assert axes.xaxis.get_majorticklocs().tolist() == [1, 0.5, 0.25]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dense network", "x"]


def test_legends_speak_the_words_of_the_field():
    levels = pd.Series([0, 1, 2])
    names = {
        "main": "winning ticket",
        "randomly_prune seed=0": "random mask, the ticket's initial weights (seed=0)",
        "randomly_reinitialize": "the ticket's mask, new weights",
        "oneshot strategy=snip10": "one-shot (strategy=snip10)",
    }
    for branch, name in names.items():
        assert branch_name(branch, levels) == name
    assert branch_name("main", levels[:1]) == "dense network"


def test_ticks_have_room():
    densities = 0.8 ** np.arange(30)
    table = pd.DataFrame({"density": densities, "test_accuracy_mean": 0.5, "test_accuracy_std": 0.0, "branch": "main"})
    table["level"] = np.arange(30)
    figure = draw_accuracy(table)
    assert 5 <= len(figure.axes[0].xaxis.get_majorticklocs()) <= 10
    assert not figure.legends and not figure.axes[0].collections


def test_accuracy_over_training():
    rows = [(level, r, i, 0.1 * i + 0.1 * r) for level in (0, 2) for r in (0, 1) for i in (0, 1, 2)]
    curves = pd.DataFrame(rows, columns=["level", "replicate", "iteration", "test_accuracy"])
    axes = draw_training(curves).axes[0]
    assert [line.get_label() for line in axes.lines] == ["level 0", "level 2"]
    np.testing.assert_allclose(axes.lines[1].get_ydata(), [0.05, 0.15, 0.25])
    assert len(axes.collections) == 2


def test_nothing_to_draw():
    for figure in (draw_accuracy(_summary()[:0]), draw_training(pd.DataFrame({"level": [], "test_accuracy": []}))):
        assert [text.get_text() for text in figure.axes[0].texts] == ["no finished run"]
        assert not figure.axes[0].lines


def test_shuffled_against_scored():
    rows = [("snip", False, 0.5, 0.9), ("snip", False, 0.5, 0.8), ("snip", False, 0.1, 0.7), ("snip", True, 0.5, 0.6)]
    rows.append(("random", False, 0.5, 0.5))
    table = pd.DataFrame(rows, columns=["score", "shuffled", "density", "test_accuracy"])
    figure = draw_shuffled(table, dense=0.95, title="title")
    first, second = figure.axes
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["snip", "random"]
    scored, shuffled, dense = first.lines
    assert scored.get_xdata().tolist() == [0.1, 0.5]
    np.testing.assert_allclose(scored.get_ydata(), [0.3, 0.15])
    np.testing.assert_allclose(shuffled.get_ydata(), [0.4])
    np.testing.assert_allclose(dense.get_ydata(), 0.05)
    assert first.get_yscale() == "log" and first.xaxis_inverted() and second.xaxis_inverted()
    assert draw_shuffled(table[:0]).axes[0].texts[0].get_text() == "no finished run"


def test_equal_training_in_two_readings():
    rows = [("dense", "last", 1.0, 0.9), ("a", "last", 0.1, 0.8), ("a", "last", 0.1, 0.6), ("a", "last", 0.05, 0.5)]
    rows += [("a", "total", 0.1, 0.75), ("b", "last", 0.1, 0.4), ("b", "total", 0.05, 0.2)]
    table = pd.DataFrame(rows, columns=["pruner", "reading", "density", "accuracy"])
    figure = draw_equal_training(table, "title")
    last, total = figure.axes
    a, b, dense = last.lines
    assert a.get_xdata().tolist() == [0.05, 0.1]
    np.testing.assert_allclose(a.get_ydata(), [0.5, 0.3])
    np.testing.assert_allclose(b.get_ydata(), [0.6])
    np.testing.assert_allclose(dense.get_ydata(), 0.1)
    band = last.collections[0].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([band.min(), band.max()], [0.2, 0.5])
    np.testing.assert_allclose(total.lines[0].get_ydata(), [0.25])
    assert last.get_yscale() == "log" and last.xaxis_inverted() and total.xaxis_inverted()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "dense"]
