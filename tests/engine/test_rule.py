"""Where the engine pays: estimates by hand, the densities that the docstring names, and what never pays."""

import pytest

from tfprune.engine.geometry import Geometry
from tfprune.engine.rule import goes_along, pays, pays_normalized, rows_in_group


def _break_even(geometry, batch, rule=pays):
    """The highest density that pays, in whole percent."""
    paying = [percent for percent in range(101) if rule(geometry, geometry.size * percent // 100, batch)]
    assert paying == list(range(len(paying)))
    return len(paying) - 1


def _same(size, channels, outputs, pixels, **way):
    return Geometry.convolution((size, size, channels, outputs), (pixels, pixels, channels), padding="same", **way)


def test_an_estimate_by_hand():
    """100 examples of 3000 inputs and 500 outputs.

    Dense: 1.5e8 / 54 + 1.5e6 / 3 + 0.7 · 5e4 = 3,312,778 ns; kept: 200,000 + 0.5 · 3e5 + 1 · 5e4 = 400,000 ns, and
    3 + 112 / 32 = 6.5 ns a weight, as rows are read in groups: 1.2 times that is less up to
    (3,312,778 / 1.2 − 400,000) / 6.5 = 363,176.6.
    """
    geometry = Geometry.dense(3000, 500)
    assert pays(geometry, 363_176, 100)
    assert not pays(geometry, 363_177, 100)


@pytest.mark.parametrize(
    "geometry, batch, percent",
    [
        (Geometry.dense(3072, 1024), 500, 40),
        (Geometry.dense(3072, 1024), 1, 6),
        (_same(3, 64, 64, 32), 32, 40),
        (_same(3, 512, 512, 4), 1, 10),
    ],
)
def test_densities_that_the_docstring_names(geometry, batch, percent):
    assert f"{percent} %" in pays.__doc__
    assert _break_even(geometry, batch) == percent


@pytest.mark.parametrize(
    "geometry",
    [Geometry.dense(300, 10), _same(3, 3, 64, 32), _same(3, 576, 1, 6, depthwise=True), _same(1, 32, 192, 24)],
)
@pytest.mark.parametrize("batch", [1, 32, 500])
def test_what_never_pays(geometry, batch):
    assert _break_even(geometry, batch) == -1


def test_an_estimate_by_hand_of_what_normalises_its_inputs():
    """100 examples of 3000 inputs and 500 outputs.

    Dense: 3,312,778 + 2.5 · 3e5 = 4,062,778 ns; kept: 50,000 + 0.5 · 3e5 + 0.3 · 5e4 = 215,000 ns, and
    3 + 112 / 28 = 7 ns a weight: 1.2 times that is less up to (4,062,778 / 1.2 − 215,000) / 7 = 452,949.8.
    """
    geometry = Geometry.dense(3000, 500)
    assert pays_normalized(geometry, 452_949, 100)
    assert not pays_normalized(geometry, 452_950, 100)


@pytest.mark.parametrize("geometry, percent", [(Geometry.dense(256, 10), 100), (Geometry.dense(3072, 256), 52)])
def test_densities_that_its_docstring_names(geometry, percent):
    assert _break_even(geometry, 500, pays_normalized) == percent


def test_never_more_floats_than_numbers_of_32_bits_count():
    assert not pays_normalized(Geometry.dense(2**20, 2), 1000, 2**11)
    assert pays_normalized(Geometry.dense(2**20, 2), 1000, 2**10)


@pytest.mark.parametrize(
    "lines, kept, read, made, rows",
    [
        (1, 90_000, 3000, 100, 96),  # the first cache holds 96; 30 of 3000 connections with each: 2.9 with these
        (1, 100_000, 3000, 500, 225),  # 15 connections of 66.7 with 3000
        (1, 10, 3000, 500, 3000),
        (3, 18_000, 64, 64, 24),  # a tile with the lines above and below is four times as large
        (3, 2_000, 64, 64, 31),
        (1, 500, 20, 25, 20),
    ],
)
def test_rows_that_are_read_at_a_time(lines, kept, read, made, rows):
    assert rows_in_group(lines, kept, read, made) == rows


def test_an_estimate_by_hand_of_what_goes_along():
    """64 to 64 channels of 4 × 4 positions, 36,864 weights: 16 · 36,864 / 54 + 1.5 · 2 · 1,024 = 13,994.7 ns.

    16 / 40 = 0.4 ns a kept weight are less than that up to 34,986.7.
    """
    geometry = Geometry.convolution((3, 3, 64, 64), (4, 4, 64), padding="same")
    assert goes_along(geometry, 34_986) and not goes_along(geometry, 34_987)
    matrix = Geometry.convolution((4, 4, 64, 100), (4, 4, 64))
    assert goes_along(matrix, 20_000) and not goes_along(matrix, 20_001)
