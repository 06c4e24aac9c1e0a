"""Figures of energy-based pruning draw what a run has left."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from tfprune.errors import InputError
from tfprune.experiments.energy import files
from tfprune.experiments.energy.figures import draw_all, draw_comparison, draw_costs, draw_kept_filters, draw_states
from tfprune.plots.style import save_png
from tfprune.records.metric_log import MetricLog
from tfprune.records.result import Result, result_path, write_result

EPOCH, EPOCHS = 4, 3
STRETCHES = [("conv1", 2), ("conv2", 4), ("fc", 10)]
STATES = np.random.default_rng(0).random((EPOCHS, 16)) < 0.5
COSTS = np.arange(EPOCH * EPOCHS)[::-1] - 5.0


def _log(searched=True) -> MetricLog:
    log = MetricLog()
    for batch, cost in enumerate(COSTS if searched else ()):
        log.add("average_cost", batch, cost + 2)
        log.add("best_cost", batch, cost)
    for epoch, rate in enumerate((1, 1, 0.1), 1):
        measures = {"train_loss": 1, "train_accuracy": 0.2 * epoch, "lr": rate, "best_kept": 1 / epoch}
        tops = {"valid_accuracy": 0.1 * epoch, "valid_top3": 0.2 * epoch, "valid_top5": 0.3 * epoch}
        # Frozen in the third batch of the second epoch.
        found = {"diversity": 0.5 / epoch, "frozen": (0, 0.5, 1)[epoch - 1]} if searched else {}
        for name, value in {**measures, **tops, **found}.items():
            log.add(name, epoch * EPOCH, value)
    return log


def _run(folder, stretches=STRETCHES, best=STATES, searched=True, **settings):
    _log(searched).write(folder / files.LOG)
    files.write_states(folder / "states_run.npz", best, stretches)
    given = {"nnmodel": "lenet", "dataset": "a/place/birds", "cost": "edropout", "states": "default", **settings}
    write_result(result_path(folder), Result(family="energy", label="ising edropout", settings=given))
    return draw_all(folder, "run")


def _line(axes, label=None):
    (line,) = [line for line in axes.lines if label in (None, line.get_label())][:1]
    return np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)


def _marks(axes, label):
    return [line.get_xdata()[0] for line in axes.lines if line.get_label() == label]


def test_a_run_that_searched_states(tmp_path):
    drawn = _run(tmp_path)
    assert list(drawn) == ["costs", "training", "states", "kept_filters"]
    for name, figure in drawn.items():
        assert figure.axes[0].get_title(loc="left") == "lenet on birds, ising edropout"
        save_png(figure, tmp_path / f"{name}.png")


@pytest.mark.parametrize("cost, unit", [("edropout", "margin of logits"), ("ipruning", "Ising energy")])
def test_costs_of_batches_and_diversity_of_epochs(tmp_path, cost, unit):
    upper, lower = _run(tmp_path, cost=cost)["costs"].axes
    at, values = _line(upper, "best state")
    np.testing.assert_allclose(at, np.arange(1, 13) / EPOCH)
    np.testing.assert_allclose(values, COSTS)
    np.testing.assert_allclose(_line(upper, "mean of the population")[1], COSTS + 2)
    np.testing.assert_allclose(_line(lower), [[1, 2, 3], [0.5, 0.25, 0.5 / 3]])
    assert lower.get_ylim() == pytest.approx((0, 0.55)) and unit in upper.get_ylabel()
    # After the third batch of the second epoch.
    assert _marks(upper, "state frozen") == _marks(lower, "state frozen") == [1.75]


def test_costs_that_are_infinite_do_not_hide_the_others(tmp_path):
    log = _log()
    log.add("average_cost", 0, float("inf"))
    axes = draw_costs(log).axes[0]
    assert -10 < axes.get_ylim()[0] < COSTS.min() and COSTS.max() < axes.get_ylim()[1] < 20
    save_png(axes.figure, tmp_path / "costs.png")


def test_training_over_epochs(tmp_path):
    upper, lower = _run(tmp_path)["training"].axes
    np.testing.assert_allclose(_line(upper, "training"), [[1, 2, 3], [0.2, 0.4, 0.6]])
    np.testing.assert_allclose(_line(upper, "validation, top 1")[1], [0.1, 0.2, 0.3])
    np.testing.assert_allclose(_line(upper, "validation, top 3")[1], [0.2, 0.4, 0.6])
    np.testing.assert_allclose(_line(upper, "validation, top 5")[1], [0.3, 0.6, 0.9])
    np.testing.assert_allclose(_line(lower), [[1, 2, 3], [1, 1 / 2, 1 / 3]])
    # The third epoch is the first one with a lower rate.
    assert _marks(upper, "learning rate falls") == _marks(lower, "learning rate falls") == [2]
    assert _marks(upper, "state frozen") == [1.75]


def test_where_no_states_are_searched(tmp_path):
    drawn = _run(tmp_path, searched=False, model="random")
    assert list(drawn) == ["training", "states", "kept_filters"]
    assert not _marks(drawn["training"].axes[0], "state frozen")


def _image(figure):
    (image,) = figure.axes[0].images
    return np.asarray(image.get_array(), float), image.get_extent()


def _names(figure):
    (names,) = figure.axes[0].child_axes
    return {tick.get_text(): at for at, tick in zip(names.get_xticks(), names.get_xticklabels(), strict=True)}


def test_states_over_time(tmp_path):
    figure = _run(tmp_path)["states"]
    image, extent = _image(figure)
    np.testing.assert_array_equal(image, STATES)
    assert extent == [0, 16, 3.5, 0.5]
    assert _names(figure) == {"conv1": 1, "conv2": 4, "fc": 11}
    assert [line.get_xdata()[0] for line in figure.axes[0].lines] == [2, 6]


def test_one_epoch_has_one_tick():
    axes = draw_states(STATES[:1], STRETCHES).axes[0]
    assert [tick for tick in axes.get_yticks() if 0.5 <= tick <= 1.5] == [1]


def test_many_bits_and_epochs_are_drawn_as_fractions():
    bits, epochs = 58_560, 1200
    states = np.zeros((epochs, bits), bool)
    states[600:, : bits // 2] = True
    states[:, -bits // 4 :: 2] = True
    stretches = [(f"layer{number}", bits // 120) for number in range(120)]
    figure = draw_states(states, stretches)
    image, extent = _image(figure)
    assert image.shape == (500, 1000) and extent == [0, bits, epochs + 0.5, 0.5]
    assert image.mean() == pytest.approx(states.mean(), abs=1e-3)
    np.testing.assert_array_equal(image[:250, :500], 0)
    np.testing.assert_array_equal(image[250:, :500], 1)
    np.testing.assert_allclose(image[:, 751:], 0.5, atol=0.02)
    places = sorted(_names(figure).values())
    assert 30 < len(places) <= 62 and np.diff(places).min() >= 0.016 * bits
    assert figure.axes[1].get_ylabel() == "fraction of bits on"


def _bars(figure):
    bars = figure.axes[0].patches
    kept = [bar.get_height() for bar in bars[len(bars) // 2 :]]
    texts = [text.get_text() for text in figure.axes[0].texts]
    return [tick.get_text() for tick in figure.axes[0].get_xticklabels()], kept, texts


def test_kept_filters_of_the_last_state(tmp_path):
    states = np.zeros((2, 16), bool)
    states[1, [2, 4, 5, *range(6, 16)]] = True
    figure = _run(tmp_path, best=states)["kept_filters"]
    assert _bars(figure) == (["conv1", "conv2", "fc"], [0, 0.75, 1], ["0/2", "3/4", "10/10"])
    cut, whole, _ = (text.get_color() for text in figure.axes[0].texts)
    assert cut != whole


def test_bits_that_nothing_reads_are_no_filters(tmp_path):
    stretches = [("layer1.0.conv2", 2), ("fc", 4), ("classes", 10)]
    figure = _run(tmp_path, stretches, np.ones((1, 16), bool), states="current")["kept_filters"]
    assert _bars(figure) == (["fc"], [1], ["4/4"])


def test_each_of_many_layers_has_its_name_and_room_for_it():
    stretches = [(f"layer3.{number}.downsample.0", 64) for number in range(105)]
    figure = draw_kept_filters(np.ones(105 * 64, bool), stretches)
    assert _bars(figure)[0] == [name for name, _ in stretches]
    assert figure.get_figwidth() / 105 > 0.16
    assert {tick.get_rotation() for tick in figure.axes[0].get_xticklabels()} == {90}


def _compared() -> pd.DataFrame:
    rows = [
        (dataset, network, mode, seed, 0.9 + 0.01 * seed, kept, 2 * kept)
        for dataset, network in (("mnist", "lenet"), ("cifar10", "resnet18"))
        for mode, kept in (("ising", 0.4), ("random", 0.4), ("simple", 1.0))
        for seed in range(3)
    ]
    return pd.DataFrame(rows, columns=["dataset", "network", "mode", "seed", "accuracy", "kept", "ms"])


def test_runs_beside_each_other():
    first, second = draw_comparison(_compared()).axes
    assert [axes.get_title(loc="left") for axes in (first, second)] == ["lenet on mnist", "resnet18 on cifar10"]
    seeds, mean = first.lines[:2]
    np.testing.assert_allclose([seeds.get_xdata(), seeds.get_ydata()], [[0.4] * 3, [0.9, 0.91, 0.92]])
    assert mean.get_label() == "ising, mean"
    np.testing.assert_allclose([*mean.get_xdata(), *mean.get_ydata()], [0.4, 0.91])
    looks = {(line.get_color(), line.get_marker()) for line in first.lines}
    assert len(looks) == 3 and len(first.lines) == 6
    assert first.get_ylim()[1] <= 1


def test_runs_beside_each_other_by_latency():
    (axes,) = draw_comparison(_compared()[:9], "ms").axes
    assert "ms" in axes.get_xlabel()
    assert axes.lines[0].get_xdata() == pytest.approx([0.8] * 3)
    assert draw_comparison(_compared()[:0]).axes[0].texts[0].get_text() == "no finished run"


def test_missing_files_are_told(tmp_path):
    with pytest.raises(InputError, match="result"):
        draw_all(tmp_path, "run")


def test_figures_load_no_tensorflow():
    loaded = "any(name in sys.modules for name in ('tensorflow', 'keras'))"
    code = f"import sys, tfprune.experiments.energy.figures; sys.exit({loaded})"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
