import keras
import numpy as np
import pytest
from keras import layers

from tfprune.errors import InputError
from tfprune.layers.convert import masked
from tfprune.layers.weights import set_weights, weights_of


def _model(seed):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((6, 6, 2))
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(3, 3, name="conv.0")(inputs))
    x = layers.Dropout(0.5)(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(4, name="fc")(x))


def test_plain_and_masked_models_exchange_weights():
    first, second = _model(0), masked(_model(1))
    weights = weights_of(first)
    norm = [f"norm/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")]
    assert list(weights) == ["conv.0/kernel", "conv.0/bias", *norm, "fc/kernel", "fc/bias"]
    assert list(weights_of(second)) == list(weights)
    set_weights(second, weights)
    images = np.random.default_rng(0).normal(size=(5, 6, 6, 2)).astype("f4")
    np.testing.assert_array_equal(first(images), second(images))


def test_copies_do_not_follow_the_model():
    model = _model(0)
    weights = weights_of(model)
    before = weights["fc/bias"].copy()
    model.get_layer("fc").bias.assign(np.ones(4))
    np.testing.assert_array_equal(weights["fc/bias"], before)


@pytest.mark.parametrize("change", ["missing", "unknown", "shape"])
def test_weights_of_another_model_change_nothing(change):
    model = _model(0)
    weights = weights_of(_model(1))
    if change == "missing":
        del weights["fc/bias"]
    elif change == "unknown":
        weights["other/bias"] = np.zeros(4, "f4")
    else:
        weights["fc/bias"] = np.zeros(5, "f4")
    before = weights_of(model)
    with pytest.raises(InputError, match=r"weight '(fc|other)/bias'"):
        set_weights(model, weights)
    assert all(np.array_equal(before[path], array) for path, array in weights_of(model).items())
