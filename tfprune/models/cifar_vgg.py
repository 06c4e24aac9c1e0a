"""`cifar_vgg_{11,13,16,19}`: VGG networks for CIFAR-10 with batch normalisation and one dense layer."""

from __future__ import annotations

import keras

from tfprune.models.blocks import Blocks, Style

_FILTERS = (64, 128, 256, 512, 512)
_PLANS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def cifar_vgg(name: str, sizes: tuple[int, ...], input_shape, classes: int, seed: int, style: Style) -> keras.Model:
    """Five stages of 3×3 convolutions with biases, a 2×2 max-pool between them, the mean of each channel, `fc`.

    Layers are numbered with the pools counted: `layers.0.conv`, `layers.0.bn`, ..., `layers.2` (a pool), ...

    Reference: OpenLTH's variant of Simonyan & Zisserman 2014, arXiv 1409.1556. Its last pool averages 2×2 pixels, all
    that is left of a 32×32 image; here all that is left is averaged, whatever the image's size.
    """
    blocks = Blocks(seed, style)
    inputs = x = keras.Input(input_shape, name="images")
    index = 0
    for stage, (count, filters) in enumerate(zip(_PLANS[sizes[0]], _FILTERS, strict=True)):
        if stage:
            x = blocks.max_pool(x, 2, 2, f"layers.{index}")
            index += 1
        for _ in range(count):
            x = blocks.conv(x, filters, 3, f"layers.{index}.conv", bias=True)
            index += 1
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, blocks.affine(x, classes, "fc"), name=name)
