"""A function is traced again exactly when something in the model has changed."""

import gc
import weakref

import keras
import numpy as np
import pytest
from keras import layers as L

from tfprune.layers.traced import traced


class Listed(L.Layer):
    """Reads numbers of its own: of a list, and of an array that is changed in place."""

    def __init__(self):
        super().__init__()
        self.numbers, self.table = [1, 2], np.zeros(3)

    def call(self, x):
        return x * self.numbers[0] + self.table


def _model():
    model = keras.Sequential([keras.Input((4, 3)), L.Dense(3, activation="relu"), L.LSTM(3, dropout=0.1), Listed()])
    model.add(keras.Sequential([keras.Input((3,)), L.Dense(2, kernel_regularizer="l2", activity_regularizer="l2")]))
    model.add(L.ReLU())
    return model


def _used(model):
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 4, 3)), np.zeros((4, 2)), verbose=0)
    model.predict(np.ones((4, 4, 3)), verbose=0)
    keras.Model(model.inputs, model.layers[0].output)
    model.set_weights([weight + 1 for weight in model.get_weights()])


def _quantized(model):
    model.layers[0].quantize("int8")


CHANGES = {
    "activation": lambda model: setattr(model.layers[0], "activation", keras.activations.softmax),
    "in a cell": lambda model: setattr(model.layers[1].cell, "recurrent_activation", keras.activations.relu),
    "in a nested model": lambda model: setattr(model.layers[3].layers[0], "trainable", False),
    "a list": lambda model: model.layers[2].numbers.append(3),
    "an array": lambda model: model.layers[2].table.fill(1),
    "fewer layers": lambda model: model.pop(),
    "other variables": _quantized,
    "lora": lambda model: model.layers[0].enable_lora(1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_a_trace(change):
    model = _model()
    first = traced(model, ("key",), object)
    assert traced(model, ("key",), object) is first is not traced(model, ("other",), object)
    CHANGES[change](model)
    second = traced(model, ("key",), object)
    assert second is not first and traced(model, ("key",), object) is second


def test_use_changes_nothing():
    model = _model()
    model(np.ones((1, 4, 3)))  # builds what is still to be built
    first = traced(model, (), object)
    _used(model)
    assert traced(model, (), object) is first


def test_nothing_is_kept_alive():
    model = _model()
    traced(model, (), object)
    ends = [weakref.ref(one) for one in (model, *model.layers)]
    del model
    gc.collect()
    assert [end() for end in ends] == [None] * len(ends)
