"""A small network with everything that scoring could disturb: batch norm, dropout, a frozen layer, an optimizer."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

sys.path.append(str(Path(__file__).parent))  # for `channel_networks`


@pytest.fixture(scope="session")
def network():
    """(compiled functional model with branches, (inputs, labels)), made once: nothing may change it."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, padding="same", name="stem")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    y = layers.SeparableConv2D(6, 3, padding="same", name="separable")(x)
    x = layers.Add()([x, y])
    x = layers.MaxPooling2D(2)(x)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.Dropout(0.3)(layers.Flatten()(x))
    frozen = layers.Dense(12, "tanh", name="frozen")
    frozen.trainable = False
    outputs = layers.Dense(4, "softmax", name="head")(frozen(x))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(), "sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    data = rng.normal(size=(20, 8, 8, 3)).astype("f4"), rng.integers(0, 4, 20)
    model.fit(*data, batch_size=10, verbose=0)  # fills the optimizer and the averages
    return model, data
