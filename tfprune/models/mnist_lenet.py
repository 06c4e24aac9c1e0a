"""`mnist_lenet_A_B_...`: dense layers of any sizes, without normalisation."""

from __future__ import annotations

import keras

from tfprune.models.blocks import Blocks, Style


def mnist_lenet(name: str, sizes: tuple[int, ...], input_shape, classes: int, seed: int, style: Style) -> keras.Model:
    """`fc_layers.0`, `fc_layers.1`, ... with ReLU, then `fc`; all with biases.

    Reference: Frankle & Carbin 2019, arXiv 1803.03635 (their LeNet is `mnist_lenet_300_100`).
    """
    blocks = Blocks(seed, style)
    inputs = keras.Input(input_shape, name="images")
    x = keras.layers.Flatten(name="flatten")(inputs)
    for index, units in enumerate(sizes):
        x = blocks.affine(x, units, f"fc_layers.{index}", "relu")
    return keras.Model(inputs, blocks.affine(x, classes, "fc"), name=name)
