"""LeNet-300-100 and LeNet-5 with batch normalisation."""

from __future__ import annotations

import keras

from tfprune.models.blocks import Blocks


def lenet300100(input_shape=(28, 28, 1), classes: int = 10, seed: int = 0) -> keras.Model:
    """Dense layers of 300, 100 and `classes` units on flattened images: 266,200 kernel weights by default.

    Args:
        input_shape: (height, width, channels); any shape without the batch axis will do.
        classes: number of classes.
        seed: seed of the kernels.

    Returns:
        Functional model, float32 (batch, *input_shape) to probabilities (batch, classes).

    Reference: Vysogorets & Kempe 2021, arXiv 2107.02306 (their variant of LeCun et al. 1998).
    """
    blocks = Blocks(seed)
    inputs = keras.Input(input_shape, name="images")
    x = keras.layers.Flatten(name="flatten")(inputs)
    x = blocks.dense(x, 300, "dense1")
    x = blocks.dense(x, 100, "dense2")
    return keras.Model(inputs, blocks.dense(x, classes, "dense3", "softmax"), name="lenet300100")


def lenet5(input_shape=(32, 32, 3), classes: int = 10, seed: int = 0) -> keras.Model:
    """Two unpadded 5×5 convolutions with 2×2 average pools, three dense layers: 61,770 kernel weights by default.

    Args, Returns and Reference as for `lenet300100`; images must be at least 16×16.
    """
    blocks = Blocks(seed)
    inputs = x = keras.Input(input_shape, name="images")
    for index, filters in enumerate((6, 16), start=1):
        x = blocks.conv(x, filters, 5, f"conv{index}", padding="valid")
        x = keras.layers.AveragePooling2D(2, name=f"pool{index}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = blocks.dense(x, 120, "dense1")
    x = blocks.dense(x, 84, "dense2")
    return keras.Model(inputs, blocks.dense(x, classes, "dense3", "softmax"), name="lenet5")
