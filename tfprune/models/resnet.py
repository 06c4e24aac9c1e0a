"""ResNet-18 for small images."""

from __future__ import annotations

import keras

from tfprune.models.blocks import Blocks


def resnet18(input_shape=(64, 64, 3), classes: int = 200, seed: int = 0) -> keras.Model:
    """A 3×3 convolution and four stages of two residual blocks, the last three stages halving the image.

    The first layer neither strides nor pools, as usual for small images. Where a block changes the size, the shortcut
    is a strided 1×1 convolution with batch normalisation.

    Args:
        input_shape: (height, width, channels).
        classes: number of classes.
        seed: seed of the kernels.

    Returns:
        Functional model, float32 (batch, *input_shape) to probabilities (batch, classes); 11,261,632 kernel weights by
        default.

    Reference: Vysogorets & Kempe 2021, arXiv 2107.02306 (their variant of He et al. 2015, arXiv 1512.03385).
    """
    blocks = Blocks(seed)
    inputs = keras.Input(input_shape, name="images")
    x = blocks.conv(inputs, 64, 3, "conv")
    for stage, filters in enumerate((64, 128, 256, 512), start=1):
        for block in (1, 2):
            strides = 2 if stage > 1 and block == 1 else 1
            convolutions = [(filters, 3, strides), (filters, 3, 1)]
            x = blocks.residual(x, convolutions, f"stage{stage}_block{block}_", "shortcut" if strides > 1 else None)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, blocks.dense(x, classes, "dense", "softmax"), name="resnet18")
