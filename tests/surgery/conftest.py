"""Models with weights that leave no term of any layer at 0 or 1, and the comparison of outputs."""

import keras
import numpy as np
import pytest

from tfprune.layers.convert import masked
from tfprune.layers.weights import weights_of
from tfprune.surgery.compact import compact


def _lively(model, seed=0, off=0.0):
    """Draws all weights; a share `off` of biases, offsets and scales is exactly 0. Returns the model."""
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers(include_self=False, recursive=True):
        for variable in [] if layer._layers else layer.weights:
            shape, kept = variable.shape, rng.random(variable.shape) >= off
            if variable.name == "moving_variance":
                variable.assign(rng.uniform(0.5, 1.5, shape))
            elif variable.name in ("gamma", "alpha"):
                variable.assign(rng.uniform(0.5, 1.5, shape) * kept)
            elif variable.name in ("moving_mean", "bias", "beta"):
                variable.assign(rng.normal(0, 0.5, shape) * kept)
            elif "kernel" in variable.name:
                fan_in = np.prod(shape[:-1]) if "depthwise" not in layer.name else np.prod(shape[:-2])
                variable.assign(rng.normal(0, np.sqrt(2 / fan_in), shape))
    return model


def _images(model, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(3, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs]


def _check(model, masks=None):
    """Compacts, checks what holds for every model, and returns the small model."""
    before = weights_of(model)
    small = compact(model, masks)
    assert all(np.array_equal(array, before[path]) for path, array in weights_of(model).items())
    given = _images(model)
    given = given[0] if len(given) == 1 else given
    expected = keras.tree.flatten((model if masks is None else masked(model, masks))(given))
    found = keras.tree.flatten(small(given))
    assert small.output_shape == model.output_shape and small.input_shape == model.input_shape
    for one, other in zip(found, expected, strict=True):
        one, other = one.numpy(), other.numpy()
        assert np.abs(one - other).max() <= 1e-5 * np.abs(other).max()
    again, first = weights_of(compact(small)), weights_of(small)
    assert list(again) == list(first)
    for path, array in again.items():
        np.testing.assert_array_equal(array, first[path], path)
    return small


@pytest.fixture
def lively():
    return _lively


@pytest.fixture
def check():
    return _check
