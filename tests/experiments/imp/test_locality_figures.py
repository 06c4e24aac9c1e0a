import io

import numpy as np
import pytest

from tfprune.experiments.imp.figures.autocorrelation import locality_by_connections, locality_maps, random_locality_maps
from tfprune.experiments.imp.figures.locality import (
    connections_histogram,
    input_connections_figure,
    locality_by_connections_figure,
    locality_figure,
)

pytestmark = pytest.mark.filterwarnings("error")


def drawn(figure):
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure.axes


def images(figure):
    return [axes.images[0] for axes in figure.axes if axes.images]


def a_mask(image_shape, units=12, density=0.3, seed=0):
    return np.random.default_rng(seed).random((int(np.prod(image_shape)), units)) < density


def test_maps_are_shown_around_displacement_zero():
    maps = locality_maps(a_mask((3, 5, 4)), (3, 5, 4))
    figure = locality_figure(maps, title="iteration 1")
    drawn(figure)
    same, different = images(figure)
    assert same.get_extent() == [-3.5, 3.5, 4.5, -4.5]
    values = same.get_array()
    assert np.ma.is_masked(values[4, 3]) or np.isnan(values[4, 3])  # pairs of an input with itself don't exist
    positive = maps.same_channel > 0
    assert np.array_equal(values[positive], maps.same_channel[positive])
    assert np.array_equal(different.get_array()[positive], maps.different_channel[positive])


def test_absent_displacements_are_white_and_the_figure_says_so():
    mask = np.zeros((9, 1))
    mask[[0, 1]] = 1
    maps = locality_maps(mask, (1, 3, 3))
    for figure in (locality_figure(maps), locality_figure(maps, random_locality_maps([2], (1, 3, 3)))):
        (image,) = images(figure)
        colours = image.cmap(image.norm(image.get_array()))
        assert colours[0, 0].tolist() == [1, 1, 1, 1] == colours[2, 2].tolist()
        assert colours[2, 3].tolist() != [1, 1, 1, 1]
        assert "White: no pair" in figure.get_supxlabel()


def test_a_ratio_of_one_is_the_middle_of_two_hues_in_growing_lightness():
    maps = locality_maps(a_mask((3, 5, 4)), (3, 5, 4))
    figure = locality_figure(maps, random_locality_maps([20] * 12, (3, 5, 4)))
    *_, bar = drawn(figure)
    norm, cmap = images(figure)[0].norm, images(figure)[0].cmap
    assert norm(1.0) == pytest.approx(0.5) and norm.vmin == pytest.approx(1 / norm.vmax) and norm.vmax <= 10
    red, green, blue, _ = cmap(norm(1.0))
    assert max(red, green, blue) - min(red, green, blue) < 0.03
    (low_red, _, low_blue, _), (high_red, _, high_blue, _) = cmap(0.1), cmap(0.9)
    assert low_blue > low_red and high_red > high_blue
    lightness = cmap(np.linspace(0, 1, 50))[:, :3] @ [0.299, 0.587, 0.114]
    assert (np.diff(lightness) > 0).all()
    assert "expected at random" in bar.get_ylabel() and "1" in [text.get_text() for text in bar.get_yticklabels()]


def test_relative_maps_of_full_units_are_one():
    maps = locality_maps(np.ones((48, 3)), (3, 4, 4))
    figure = locality_figure(maps, random_locality_maps([48] * 3, (3, 4, 4)))
    drawn(figure)
    for image in images(figure):
        values = np.ma.masked_invalid(image.get_array()).compressed()
        assert np.allclose(values, 1.0)


@pytest.mark.parametrize("image_shape", [(1, 8, 8), (3, 4, 6)])
def test_without_pairs_the_figures_say_so(image_shape):
    mask = np.zeros((int(np.prod(image_shape)), 4))
    axes = drawn(locality_figure(locality_maps(mask, image_shape)))
    assert {a.texts[0].get_text() for a in axes} == {"no unit has two connections"}
    assert len(axes) == (1 if image_shape[0] == 1 else 2)
    (axes,) = drawn(locality_by_connections_figure(locality_by_connections(mask, image_shape), image_shape))
    assert axes.texts[0].get_text() == "no unit has two connections"


@pytest.mark.parametrize("image_shape", [(1, 8, 8), (3, 4, 6)])
def test_groups_have_a_column_each_on_one_scale(image_shape):
    mask = a_mask(image_shape, 20)
    groups = locality_by_connections(mask, image_shape, groups=3)
    figure = locality_by_connections_figure(groups, image_shape)
    axes = drawn(figure)
    shown = images(figure)
    rows = 1 if image_shape[0] == 1 else 2
    assert len(shown) == rows * len(groups) == len(axes) - 1  # one colour bar for all
    assert {(image.norm.vmin, image.norm.vmax) for image in shown} == {(shown[0].norm.vmin, shown[0].norm.vmax)}
    first, same = shown[0].get_array(), groups[0].maps.same_channel
    random = random_locality_maps(mask[:, groups[0].units].sum(axis=0), image_shape).same_channel
    assert np.allclose(first[same > 0], same[same > 0] / random[same > 0])


@pytest.mark.parametrize("live", [[1, 1, 2], [5, 9, 9, 30], [1, 40, 40, 900], [64]])
def test_histogram_holds_every_live_unit_once(live):
    (axes,) = drawn(connections_histogram(np.array([*live, 0, 0]), inputs=1000))
    assert sum(patch.get_height() for patch in axes.patches) == len(live)
    assert axes.get_xlim()[0] >= -0.5  # no unit has fewer than no connections
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert "2 units without (not shown)" in texts
    # Wider bins than one connection are whole numbers of connections wide.
    assert all(patch.get_width() == pytest.approx(round(patch.get_width())) for patch in axes.patches)


def test_histogram_of_a_dead_layer():
    (axes,) = drawn(connections_histogram(np.zeros(7, int), inputs=10))
    assert axes.texts[0].get_text() == "all 7 units have lost all connections"


@pytest.mark.parametrize("image_shape", [(1, 8, 8), (3, 4, 6), (2, 3, 3), (5, 3, 3)])
def test_connections_of_each_input_pixel(image_shape):
    mask = a_mask(image_shape)
    figure = input_connections_figure(mask, image_shape, "iteration 2")
    drawn(figure)
    shown = images(figure)
    channels = image_shape[0]
    counts = mask.sum(axis=1).reshape(image_shape)
    assert len(shown) == channels
    for image, expected in zip(shown, counts, strict=True):
        assert np.array_equal(image.get_array(), expected)
    drawn(input_connections_figure(np.zeros_like(mask), image_shape))
