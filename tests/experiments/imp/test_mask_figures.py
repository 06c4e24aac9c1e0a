import io
from dataclasses import replace

import numpy as np
import pytest

from tfprune.experiments.imp.figures.mask_images import mask_images, tile, weight_images
from tfprune.experiments.imp.figures.masks import deep_masks_figure, masks_figure
from tfprune.layers.masks import Masks

pytestmark = pytest.mark.filterwarnings("error")


def drawn(figure):
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure.axes


def shown(axes):
    return np.asarray(axes.images[0].get_array())


def test_grids_show_the_most_and_the_least_connected(synthetic_run):
    record = synthetic_run((3, 6, 6), (30,), iterations=4).records[3]
    mask, weights = record.masks["layer_0/kernel"], record.weights[-1]["layer_0/kernel"]
    order = np.argsort(-mask.sum(axis=0), kind="stable")
    most, sampled, least, bar = drawn(masks_figure(mask, (3, 6, 6), count=4, title="iteration 3"))
    assert bar.get_ylabel() == "connected channels of the pixel"
    assert [text.get_text() for text in bar.get_yticklabels()] == ["0", "1", "2", "3"]
    assert np.array_equal(shown(most), tile(mask_images(mask[:, order[:4]], (3, 6, 6))))
    connections = mask.sum(axis=0)
    low = np.sort(connections[connections > 0])[[0, 3]]
    assert least.get_title(loc="left") == f"least connected ({low[0]} to {low[1]} connections)"
    assert sampled.images
    only, bar = drawn(masks_figure(mask, (3, 6, 6), weights, which=("most",), count=4))
    assert np.array_equal(shown(only), tile(weight_images((mask * weights)[:, order[:4]], (3, 6, 6))))
    assert "largest |weight|" in bar.get_ylabel() and bar.get_ylim() == (-1, 1)


def test_small_layers_share_their_units_out():
    *axes, bar = drawn(masks_figure(np.tri(16, 6, dtype=bool), (1, 4, 4)))
    assert [text.get_text() for text in bar.get_yticklabels()] == ["pruned", "connected"]
    assert all(shown(a).shape == tile(np.zeros((2, 4, 4, 3), np.uint8)).shape for a in axes)


def test_a_dead_layer_says_so():
    *axes, _ = drawn(masks_figure(np.zeros((16, 6)), (1, 4, 4)))
    assert [a.texts[0].get_text() for a in axes] == ["no live unit"] * 3


def test_deeper_layers_show_products_of_masks(synthetic_run):
    record = synthetic_run((1, 2, 2), (3, 2), classes=2, iterations=1).records[0]
    first = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]], dtype=bool)
    second = np.array([[1, 0], [1, 0], [0, 0]], dtype=bool)
    third = np.zeros((2, 2), dtype=bool)
    record = replace(record, masks=Masks({f"layer_{i}/kernel": mask for i, mask in enumerate((first, second, third))}))
    one, two, three, bar = drawn(deep_masks_figure(record, (1, 2, 2), title="iteration 0"))
    assert one.get_title(loc="left") == "layer 1 (dense)"
    assert np.array_equal(shown(two), tile(mask_images(np.array([[1], [1], [0], [0]]), (1, 2, 2))))
    assert three.texts[0].get_text() == "no path from the input"
    assert bar.get_ylabel() == "paths to the unit / most of any pixel" and bar.get_ylim() == (0, 1)
