"""The compaction report against numbers worked out by hand."""

import keras
import numpy as np
import pytest
from keras import layers as L

import tfprune
from tfprune.errors import InputError


@pytest.fixture
def models():
    layers = [L.Conv2D(2, 3, name="conv"), L.BatchNormalization(name="norm"), L.Flatten(), L.Dense(2, name="dense")]
    model = keras.Sequential([keras.Input((4, 4, 1)), *layers])
    masks = {"conv/kernel": np.ones((3, 3, 1, 2), bool), "dense/kernel": np.ones((8, 2), bool)}
    masks["conv/kernel"][..., 1] = False
    return model, tfprune.compact(model, masks)


def test_sizes(models):
    """Channel 1 goes: half of everything but the output's bias. 4 positions of the image, one of the dense layer."""
    report = tfprune.compaction_report(*models)
    sizes = {path: (size.parameters, size.flops, size.bytes) for path, size in report.before_of.items()}
    assert sizes == {"conv": (20, 2 * 4 * 18, 80), "norm": (8, 0, 32), "dense": (18, 2 * 16, 72)}
    sizes = {path: (size.parameters, size.flops, size.bytes) for path, size in report.after_of.items()}
    assert sizes == {"conv": (10, 2 * 4 * 9, 40), "norm": (4, 0, 16), "dense": (10, 2 * 8, 40)}
    assert (report.before.parameters, report.after.parameters) == (46, 24)
    assert (report.before.flops, report.after.flops) == (176, 88)


def test_table_and_text(models):
    report = tfprune.compaction_report(*models)
    assert list(report.table.index) == ["conv", "norm", "dense", "total"]
    assert report.table.loc["total", "bytes before"] == 184
    assert str(report).endswith("parameters / 1.917, flops / 2")


def test_flops_are_those_of_the_sparsity_report(models):
    model, small = models
    report = tfprune.compaction_report(model, small)
    assert report.before.flops == tfprune.sparsity(model).flops.dense
    assert report.after.flops == tfprune.sparsity(small).flops.dense


def test_masks_are_no_parameters(models):
    model, small = models
    assert tfprune.compaction_report(tfprune.masked(model), small).before.parameters == 46


def test_models_with_other_layers_are_refused(models):
    other = keras.Sequential([keras.Input((3,)), L.Dense(2, name="dense")])
    with pytest.raises(InputError, match="different layers: conv"):
        tfprune.compaction_report(models[0], other)


def test_layers_made_of_layers_count_in_full():
    """Two blocks of attention: four projections each, of 4·2·3 weights, with biases of 6, 6, 6 and 4."""
    inputs = keras.Input((5, 4))
    x = L.MultiHeadAttention(2, 3, name="first")(inputs, inputs)
    x = L.LayerNormalization(name="norm")(x)
    x = L.MultiHeadAttention(2, 3, name="second")(x, x)
    model = keras.Model(inputs, L.Dense(3, name="out")(x))
    report = tfprune.compaction_report(model, tfprune.compact(model))
    sizes = {path: size.parameters for path, size in report.before_of.items()}
    assert sizes == {"first": 4 * 24 + 22, "norm": 8, "second": 4 * 24 + 22, "out": 15}
    assert report.after == report.before and report.before.parameters == model.count_params()
    assert report.before.bytes == 4 * model.count_params()
