import numpy as np
import pytest

from tfprune.experiments.imp.figures.mask_images import (
    SEPARATOR,
    mask_images,
    select_units,
    tile,
    upscale,
    weight_images,
)


def lightness(image):
    return image @ [0.299, 0.587, 0.114]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_more_connected_channels_are_darker_on_white(channels):
    mask = np.zeros((channels, 1, channels + 1), dtype=bool)
    for connected in range(channels + 1):
        mask[:connected, 0, connected] = True
    image = mask_images(mask.reshape(-1, 1), (channels, 1, channels + 1))
    assert image.dtype == np.uint8 and image.shape == (1, 1, channels + 1, 3)
    assert image[0, 0, 0].tolist() == [255, 255, 255]
    levels = lightness(image[0, 0])
    assert (np.diff(levels) < 0).all() and levels[1] < 190  # a single dot is seen, in grey too


def test_weights_lie_about_grey_for_each_unit():
    weights = np.array([[2.0, 0.1], [-2.0, 0.0], [0.0, -0.05], [1.0, 0.0]])
    first, second = weight_images(weights, (1, 2, 2))
    grey = second[0, 1]
    assert np.ptp(grey.astype(int)) < 4 and (weight_images(np.zeros((4, 1)), (1, 2, 2)) == grey).all()
    assert first[1, 0].tolist() == grey.tolist()
    positive, negative = first[0]
    assert lightness(positive) > lightness(first[1, 1]) > lightness(grey) > lightness(negative)
    assert negative[2] > negative[0] and positive[0] > positive[2]  # blue below 0, yellow above
    assert second[0, 0].tolist() == positive.tolist()  # each unit has its own scale
    assert lightness(second[1, 0]) < lightness(grey)


def test_of_a_pixels_channels_the_largest_weight_is_shown():
    columns = np.array([[0.1], [0.5], [-1.0], [-0.2], [0.3], [0.0]])  # three channels of two pixels
    one, two = weight_images(columns, (3, 1, 2))[0, 0], weight_images(np.array([[-1.0], [0.5]]), (1, 1, 2))[0, 0]
    assert one.tolist() == two.tolist()


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
