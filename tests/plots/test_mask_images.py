import numpy as np
import pytest

from tfprune.plots.mask_images import SEPARATOR, mask_images, select_units, tile, upscale, weight_images


def test_channels_become_colours():
    mask = np.zeros((3, 2, 2), dtype=bool)
    mask[0, 0, 1] = True
    mask[:, 1, 0] = True
    image = mask_images(mask.reshape(12, 1), (3, 2, 2))
    assert image.dtype == np.uint8 and image.shape == (1, 2, 2, 3)
    assert image[0, 0, 1].tolist() == [255, 0, 0]
    assert image[0, 1, 0].tolist() == [255, 255, 255]
    assert image[0, 1, 1].tolist() == [0, 0, 0]


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_numbers_of_channels_are_grey(channels):
    mask = np.zeros((channels, 2, 3), dtype=bool)
    mask[0, 1, 2] = True
    image = mask_images(mask.reshape(-1, 1), (channels, 2, 3))[0]
    assert image[1, 2].tolist() == [round(255 / channels)] * 3
    assert image.sum() == 3 * round(255 / channels)


def test_weights_are_symmetric_about_grey_for_each_unit():
    weights = np.array([[2.0, 0.1], [-2.0, 0.0], [0.0, -0.05], [1.0, 0.0]])
    image = weight_images(weights, (1, 2, 2))[..., 0]
    assert image[0].tolist() == [[255, 1], [128, 192]]
    assert image[1].tolist() == [[255, 128], [64, 128]]
    assert (weight_images(np.zeros((4, 1)), (1, 2, 2)) == 128).all()


def test_tiles_lie_row_by_row():
    images = np.stack([np.full((2, 3, 3), value, dtype=np.uint8) for value in (10, 20, 30)])
    grid = tile(images, columns=2)
    assert grid.shape == (7, 9, 3)
    assert grid[1, 1, 0] == 10 and grid[1, 5, 0] == 20 and grid[4, 1, 0] == 30
    assert (grid[0] == SEPARATOR).all() and (grid[4:, 4:] == SEPARATOR).all()
    assert tile(np.zeros((0, 2, 3, 3), np.uint8)).shape == (4, 5, 3)
    assert upscale(grid, 3).shape == (21, 27, 3)


def test_selection_order_and_ties():
    connections = np.array([3, 0, 5, 5, 1])
    assert select_units(connections, "most", 3).tolist() == [2, 3, 0]
    assert select_units(connections, "least", 2).tolist() == [4, 0]
    assert select_units(connections, "most", 9, live=False).tolist() == [2, 3, 0, 4, 1]
    sample = select_units(connections, "sampled", 3)
    assert len(sample) == 3 and 1 not in sample
    assert np.array_equal(connections[sample], np.sort(connections[sample]))
    with pytest.raises(ValueError, match="best"):
        select_units(connections, "best", 1)
