"""Networks and stored values that several golden checks of effective sparsity share."""

import keras
import numpy as np
import pytest
from keras import layers

SHAPES = {
    "lenet300100": [(784, 300), (300, 100), (100, 10)],
    "lenet5": [(5, 5, 3, 6), (5, 5, 6, 16), (400, 120), (120, 84), (84, 10)],
}


def build(name, batchnorm=False):
    """LeNet-300-100 or LeNet-5 as the golden recipes have them; biases are zero."""
    model = keras.Sequential([keras.Input((28, 28, 1) if name == "lenet300100" else (32, 32, 3))])
    shapes = SHAPES[name]
    for index, shape in enumerate(shapes):
        if len(shape) == 2 and (index == 0 or len(shapes[index - 1]) == 4):
            model.add(layers.Flatten())
        model.add(layers.Dense(shape[1]) if len(shape) == 2 else layers.Conv2D(shape[3], shape[:2]))
        if batchnorm:
            model.add(layers.BatchNormalization())
        model.add(layers.Activation("softmax" if index == len(shapes) - 1 else "relu"))
        if len(shape) == 4:
            model.add(layers.AveragePooling2D(2))
    return model


def set_kernels(model, kernels):
    variables = [variable for variable in model.trainable_variables if variable.name == "kernel"]
    for variable, kernel in zip(variables, kernels, strict=True):
        variable.assign(kernel)
    return model


@pytest.fixture
def weighted_model():
    """name -> model with the weights of the golden recipe for magnitude and SynFlow, times `scale`."""

    def weighted(name, scale=1.0, batchnorm=False):
        rng = np.random.default_rng(7)
        kernels = [
            rng.normal(size=shape).astype("f4") * np.float32(1 + 0.1 * i) for i, shape in enumerate(SHAPES[name])
        ]
        return set_kernels(build(name, batchnorm), [kernel * np.float32(scale) for kernel in kernels])

    return weighted


@pytest.fixture
def seeded_model():
    """seed -> LeNet-300-100 with batch norm and the weights of the golden recipe for effective pruning."""

    def seeded(seed):
        rng = np.random.default_rng(100 + seed)
        kernels = [(rng.normal(size=shape) * np.sqrt(4 / sum(shape))).astype("f4") for shape in SHAPES["lenet300100"]]
        return set_kernels(build("lenet300100", batchnorm=True), kernels)

    return seeded


@pytest.fixture
def unpacked():
    """(packed bits, size) -> flat bool array."""
    return lambda packed, size: np.unpackbits(packed)[:size].astype(bool)


@pytest.fixture
def flat():
    """{path: array} -> one flat array in network order."""
    return lambda arrays: np.concatenate([array.ravel() for array in arrays.values()])
