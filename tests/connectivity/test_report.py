"""The sparsity report against numbers worked out by hand."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfprune.connectivity.report import sparsity
from tfprune.errors import InputError
from tfprune.layers.convert import masked, strip
from tfprune.layers.masks import Masks


@pytest.fixture
def model():
    """3×3 convolution (one position of 4×4 images each, 4 positions), then 8 inputs to 2 outputs."""
    layers = [L.Conv2D(2, 3, name="conv"), L.BatchNormalization(), L.Flatten(), L.Dense(2, name="dense")]
    return keras.Sequential([keras.Input((4, 4, 1)), *layers])


@pytest.fixture
def masks(model):
    conv = np.zeros((3, 3, 1, 2), bool)
    conv[0, 0, 0, 0] = conv[1, 1, 0, 0] = True  # the second channel is dead
    dense = np.zeros((8, 2), bool)
    dense[[0, 1, 3], 0] = True  # rows 0, 2, 4, 6 belong to the first channel
    return Masks({"conv/kernel": conv, "dense/kernel": dense})


def test_counts(model, masks):
    report = sparsity(model, masks)
    assert (report.weights.dense, report.weights.kept, report.weights.effective) == (34, 5, 3)
    conv, dense = report.weights_of["conv/kernel"], report.weights_of["dense/kernel"]
    assert (conv.dense, conv.kept, conv.effective) == (18, 2, 2)
    assert (dense.dense, dense.kept, dense.effective) == (16, 3, 1)
    assert report.direct == pytest.approx(1 - 5 / 34)
    assert report.effective == pytest.approx(1 - 3 / 34)
    assert report.weights.effective_compression == pytest.approx(34 / 3)
    assert report.parameters == 34 + 2 + 2 + 4 * 2
    assert report.effective_masks.counts == {"conv/kernel": 2, "dense/kernel": 1}


def test_flops(model, masks):
    flops = sparsity(model, masks).flops_of
    assert (flops["conv/kernel"].dense, flops["conv/kernel"].kept) == (2 * 4 * 18, 2 * 4 * 2)
    assert (flops["dense/kernel"].dense, flops["dense/kernel"].effective) == (2 * 16, 2 * 1)
    assert sparsity(model, masks).flops.effective == 2 * 4 * 2 + 2


def test_masks_default_to_the_models_own(model, masks):
    table = sparsity(model, masks).table
    sparse = masked(model, masks)
    assert sparsity(sparse).table.equals(table)
    assert sparsity(sparse).parameters == sparsity(model).parameters  # masks are no parameters
    assert sparsity(strip(sparse)).table.equals(table)
    assert sparsity(model).direct == 0


def test_table_and_text(model, masks):
    report = sparsity(model, masks)
    assert list(report.table.index) == ["conv/kernel", "dense/kernel", "total"]
    assert report.table.loc["total", "kept"] == 5
    assert report.table["FLOPs dense"].iloc[:-1].sum() == report.table.loc["total", "FLOPs dense"]
    text = str(report)
    assert "dense/kernel" in text
    assert "6.8 direct, 11.33 effective" in text


def test_nothing_left(model, masks):
    report = sparsity(model, {path: np.zeros_like(mask) for path, mask in masks.items()})
    assert report.effective == 1
    assert report.weights.direct_compression == np.inf
    assert "inf" in str(report)


def test_wrong_masks(model):
    with pytest.raises(InputError, match="no such kernel"):
        sparsity(model, {"nowhere/kernel": np.ones((2, 2), bool)})
