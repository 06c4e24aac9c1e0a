"""The page about kept weights says of the rule what the rule says."""

from pathlib import Path

import pytest
from shown import table

from tfprune.engine.geometry import Geometry
from tfprune.engine.rule import pays

TEXT = (Path(__file__).parents[2] / "docs" / "faster.md").read_text().replace("\N{MULTIPLICATION SIGN}", "x")
GEOMETRIES = {
    "dense, 3072 x 1024": Geometry.dense(3072, 1024),
    "3x3, 64 to 64 channels, 32 x 32 pixels": Geometry.convolution((3, 3, 64, 64), (32, 32, 64), padding="same"),
    "3x3, 512 to 512 channels, 4 x 4 pixels": Geometry.convolution((3, 3, 512, 512), (4, 4, 512), padding="same"),
}
ROWS = [line.strip("| ").split(" | ") for line in TEXT.splitlines() if line.startswith(("| dense, ", "| 3x3, "))]


@pytest.mark.parametrize("kernel, batch, density", ROWS)
def test_densities_are_those_of_the_rule(kernel, batch, density):
    geometry, batch, density = GEOMETRIES[kernel], int(batch), float(density)
    assert len(table(TEXT, "kernel")) == 1 + len(ROWS) == 5
    assert pays(geometry, int(geometry.size * (density - 0.005)), batch)
    assert not pays(geometry, int(geometry.size * (density + 0.005)), batch)
