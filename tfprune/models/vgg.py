"""VGG-16 and VGG-19 for small images, with batch normalisation and one dense layer."""

from __future__ import annotations

import keras

from tfprune.models.blocks import Blocks

_FILTERS = (64, 128, 256, 512, 512)


def vgg16(input_shape=(32, 32, 3), classes: int = 10, seed: int = 0) -> keras.Model:
    """Blocks of 2, 2, 3, 3, 3 convolutions (3×3, padded), each block followed by a 2×2 max-pool, then a dense layer.

    Args:
        input_shape: (height, width, channels), at least 32×32.
        classes: number of classes.
        seed: seed of the kernels.

    Returns:
        Functional model, float32 (batch, *input_shape) to probabilities (batch, classes); 14,715,584 kernel weights by
        default.

    Reference: Vysogorets & Kempe 2021, arXiv 2107.02306 (their variant of Simonyan & Zisserman 2014, arXiv 1409.1556).
    """
    return _vgg("vgg16", (2, 2, 3, 3, 3), input_shape, classes, seed)


def vgg19(input_shape=(32, 32, 3), classes: int = 100, seed: int = 0) -> keras.Model:
    """As `vgg16`, with blocks of 2, 2, 4, 4, 4 convolutions: 20,070,080 kernel weights by default."""
    return _vgg("vgg19", (2, 2, 4, 4, 4), input_shape, classes, seed)


def _vgg(name: str, plan: tuple[int, ...], input_shape, classes: int, seed: int) -> keras.Model:
    blocks = Blocks(seed)
    inputs = x = keras.Input(input_shape, name="images")
    number = 0
    for stage, (convolutions, filters) in enumerate(zip(plan, _FILTERS, strict=True), start=1):
        for _ in range(convolutions):
            number += 1
            x = blocks.conv(x, filters, 3, f"conv{number}")
        x = keras.layers.MaxPooling2D(2, name=f"pool{stage}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    return keras.Model(inputs, blocks.dense(x, classes, "dense", "softmax"), name=name)
